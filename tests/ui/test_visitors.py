"""Whose request it is: by cookie, over HTTP and inside Gradio's events."""

import stat
from collections.abc import Callable
from pathlib import Path

import gradio as gr
import pytest
from fastapi import FastAPI, Request
from gradio_client import Client
from starlette.testclient import TestClient

from blockmerge.errors import SettingsError
from blockmerge.ui.visitors import COOKIE, Visitors, owner_of, read_key
from tests.ui.conftest import serving

KEY = b"k" * 32


def _app() -> FastAPI:
    app = FastAPI()

    @app.get("/whose")
    def whose(request: Request) -> str:
        return owner_of(request)

    return app


def _browser(key: bytes | None = KEY, scheme: str = "http", environ: dict[str, str] | None = None) -> TestClient:
    return TestClient(Visitors(_app(), key, environ or {}), base_url=f"{scheme}://box.example")


def test_a_browser_is_the_same_owner_each_time_and_another_one_is_another() -> None:
    with _browser() as one, _browser() as other:
        owners = [one.get("/whose").json(), one.get("/whose").json(), other.get("/whose").json()]

    assert owners[0] == owners[1] != owners[2]
    assert owners[0].startswith("browser:")


def test_where_only_this_machine_asks_everything_is_the_local_user_s_and_there_is_no_cookie() -> None:
    with _browser(None) as client:
        answer = client.get("/whose")

    assert answer.json() == "local"
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "forge", [lambda value: "0" + value[1:], lambda value: value[:-1], lambda _: "0" * 32, str.upper]
)
def test_a_cookie_that_this_page_did_not_sign_is_worth_nothing(forge: Callable[[str], str]) -> None:
    with _browser() as client:
        owner = client.get("/whose").json()
        value = client.cookies[COOKIE]
        client.cookies.clear()

        answer = client.get("/whose", headers={"Cookie": f"{COOKIE}={forge(value)}"})

    assert answer.json() != owner or forge(value) == value
    assert COOKIE in answer.headers["set-cookie"]


def test_the_cookie_is_kept_from_scripts_and_other_sites_and_behind_https_from_plain_connections() -> None:
    with _browser() as plain, _browser(scheme="https") as secure:
        cookies = [client.get("/whose").headers["set-cookie"] for client in (plain, secure)]
        proxied = plain.get("/whose", headers={"X-Forwarded-Proto": "https", "Cookie": ""}).headers["set-cookie"]

    assert cookies[0].endswith("; HttpOnly; SameSite=Lax")
    assert cookies[1].endswith("; HttpOnly; SameSite=Lax; Secure")
    assert proxied.endswith("; HttpOnly; SameSite=Lax; Secure")


def test_a_space_s_cookie_is_kept_although_it_stands_in_another_site_s_frame() -> None:
    with _browser(scheme="https", environ={"SPACE_ID": "org/name"}) as client:
        assert client.get("/whose").headers["set-cookie"].endswith("; HttpOnly; SameSite=None; Secure; Partitioned")


def test_an_event_of_the_page_knows_its_owner_too() -> None:
    def build() -> Visitors:
        app = FastAPI()
        with gr.Blocks() as blocks:
            text = gr.Textbox()

            def whose(_: str, request: gr.Request) -> str:
                return owner_of(request)

            gr.Button().click(whose, text, text, api_name="queued")
            gr.Button().click(whose, text, text, api_name="direct", queue=False)
        gr.mount_gradio_app(app, blocks, path="/")
        return Visitors(app, KEY, {})

    with serving(build) as port:
        client = Client(f"http://127.0.0.1:{port}/", verbose=False)
        owners = {client.predict("", api_name=name) for name in ("/queued", "/direct")}

    assert all(owner.startswith("browser:") for owner in owners)


def test_the_key_is_made_once_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    key = read_key(tmp_path / "home")

    assert len(key) == 32
    assert read_key(tmp_path / "home") == key
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["visitors.key"]
    assert stat.S_IMODE((tmp_path / "home" / "visitors.key").stat().st_mode) == 0o600


def test_a_key_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "visitors.key").write_bytes(b"short")

    with pytest.raises(SettingsError, match=r"visitors\.key holds 5 bytes, 32 were expected\. Delete it"):
        read_key(tmp_path)
