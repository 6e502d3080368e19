"""The password of the page, on a real server."""

import asyncio
import base64
import http.client
import subprocess
from collections.abc import Iterator

import pytest
from gradio_client import Client
from starlette.types import Message

from blockmerge.jobs.store import Store
from blockmerge.settings import Settings, environment_of, read_settings
from blockmerge.ui.password import MOST_WAITING, Password
from blockmerge.ui.web import build_app
from tests.ui.conftest import serving

PASSWORD = "correct horse: ≥ 9"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    home = tmp_path_factory.mktemp("password")
    settings = read_settings({"BLOCKMERGE_HOME": str(home), "BLOCKMERGE_PASSWORD": PASSWORD})
    with Store(settings.queue) as store, serving(lambda: build_app(settings, store)) as number:
        yield number


def basic(password: str, user: str = "me") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def ask(port: int, path: str, authorization: str | None) -> tuple[int, str, str | None]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers={} if authorization is None else {"Authorization": authorization})
    response = connection.getresponse()
    answer = (response.status, response.read().decode(), response.headers["WWW-Authenticate"])
    connection.close()
    return answer


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/info", "/files/1/", "/assets/x.js", "/gradio_api/mcp/"])
def test_without_the_password_nothing_is_answered(port: int, path: str) -> None:
    status, text, asks = ask(port, path, None)

    assert (status, text) == (401, "This page has a password. Any user name will do.\n")
    assert asks == 'Basic realm="blockmerge", charset="UTF-8"'


@pytest.mark.parametrize("wrong", [basic("wrong"), basic(""), basic(PASSWORD + "x"), "Basic !!!", "Basic"])
def test_a_wrong_password_is_told(port: int, wrong: str) -> None:
    assert ask(port, "/config", wrong)[:2] == (401, "This is not the password.\n")


def test_another_scheme_is_no_password(port: int) -> None:
    assert ask(port, "/config", f"Bearer {PASSWORD}".encode().decode("latin-1"))[0] == 401


def test_the_password_opens_the_page_whatever_the_user_name(port: int) -> None:
    assert ask(port, "/config", basic(PASSWORD))[0] == 200
    assert ask(port, "/config", basic(PASSWORD, ""))[0] == 200


def test_a_health_check_needs_none(port: int) -> None:
    assert ask(port, "/healthz", None)[0] == 200


def test_curl_and_gradio_client_can_send_it(port: int) -> None:
    address = f"http://127.0.0.1:{port}"
    curl = ["curl", "-sf", "-u", f"me:{PASSWORD}", f"{address}/gradio_api/run/models", "-d", '{"data": []}']
    client = Client(address, headers={"Authorization": basic(PASSWORD)}, verbose=False, analytics_enabled=False)

    done = subprocess.run([*curl, "-H", "Content-Type: application/json"], capture_output=True, text=True, check=True)

    assert "example/lowercase" in done.stdout
    assert client.predict(api_name="/models") == ["example/lowercase", "example/capitals"]
    client.close()


def statuses(passwords: list[str], delay: float) -> list[int]:
    """The answers to requests with these passwords, sent at once."""

    async def application(_scope: object, _receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200})  # type: ignore[operator]

    async def send_one(page: Password, password: str) -> int:
        sent: list[Message] = []
        scope = {"type": "http", "path": "/", "headers": [(b"authorization", basic(password).encode())]}

        async def send(message: Message) -> None:
            sent.append(message)

        await page(scope, send, send)  # type: ignore[arg-type]
        return int(sent[0]["status"])

    async def send_all() -> list[int]:
        page = Password(application, PASSWORD, delay)
        return list(await asyncio.gather(*(send_one(page, password) for password in passwords)))

    return asyncio.run(send_all())


def test_guesses_are_slow_and_few_at_a_time() -> None:
    assert statuses(["guess"] * (MOST_WAITING + 2), 0.05) == [401] * MOST_WAITING + [429] * 2


def test_a_flood_of_guesses_learns_nothing_from_the_right_one() -> None:
    assert statuses(["guess"] * MOST_WAITING + [PASSWORD], 0.05)[-1] == 429


def test_a_right_password_does_not_wait_for_a_few_wrong_ones() -> None:
    assert statuses(["guess", PASSWORD, "guess"], 0.05) == [401, 200, 401]


def test_the_worker_learns_no_password(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings: Settings = read_settings({"BLOCKMERGE_PASSWORD": PASSWORD})

    assert settings.password == PASSWORD
    assert PASSWORD not in repr(settings)
    assert PASSWORD not in environment_of(settings).values()
