"""The guard on a real server: who is refused, and that the page and plain clients are not."""

import asyncio
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import gradio as gr
import pytest
from fastapi import FastAPI
from gradio_client import Client
from starlette.types import Message

from blockmerge.ui.guard import BODY_LIMIT, Guard, answered_hosts
from tests.ui.conftest import Bench, serving

Headers = dict[str, str]
Answer = tuple[int, str, http.client.HTTPMessage]


def ask(port: int, method: str, path: str, headers: Headers, body: bytes | Iterator[bytes] = b"") -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    chunked = not isinstance(body, bytes)
    for name, value in ({"Host": f"127.0.0.1:{port}"} | headers).items():
        connection.putheader(name, value)
    if chunked:
        connection.putheader("Transfer-Encoding", "chunked")
    elif body:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body or None, encode_chunked=chunked)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text, response.headers


@pytest.fixture
def bench(bench: Bench) -> Bench:
    """The same behind a proxy that calls it box.example."""
    return replace(bench, settings=replace(bench.settings, hosts=("box.example",)))


CALL = json.dumps({"data": [], "fn_index": 0, "session_hash": "s"}).encode()
UPLOAD = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\na\r\n--x--\r\n'
JOIN = "/gradio_api/queue/join"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7860",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "192.168.1.5",
        "0x7f.1",
        "user@127.0.0.1",
        "127.0.0.1:80:80",
        "",
    ],
)
def test_another_host_name_is_refused(port: int, host: str) -> None:
    status, text, _ = ask(port, "GET", "/healthz", {"Host": host})

    assert status == 400
    assert text == (
        "This page does not answer to that host name. Whoever runs it can allow the name with BLOCKMERGE_HOSTS.\n"
    )


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost:9", "LOCALHOST", "[::1]:7860", "box.example", "Box.Example:8443"]
)
def test_the_names_of_this_machine_and_of_the_settings_are_answered(port: int, host: str) -> None:
    assert ask(port, "GET", "/healthz", {"Host": host})[0] == 200


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        (JOIN, "application/json", CALL),
        ("/gradio_api/run/anything", "application/json", CALL),
        ("/gradio_api/upload", "multipart/form-data; boundary=x", UPLOAD),
        (JOIN, "text/plain", CALL),
        (JOIN, "application/x-www-form-urlencoded", b"a=b"),
    ],
)
@pytest.mark.parametrize(
    "sender",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://[bad"},
        {"Origin": "https://box.example:1"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_what_another_site_sends_is_refused(port: int, path: str, kind: str, body: bytes, sender: Headers) -> None:
    status, text, headers = ask(port, "POST", path, {"Content-Type": kind, **sender}, body)

    assert status == 403
    assert text == "Another web site made this request, so it was refused. Open the page itself.\n"
    assert not [name for name in headers if name.lower().startswith("access-control-")]


def test_a_preflight_of_another_site_is_refused(port: int) -> None:
    sender = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}

    status, _, headers = ask(port, "OPTIONS", JOIN, sender)

    assert status == 403
    assert "Access-Control-Allow-Origin" not in headers


def test_another_site_may_link_to_the_page_but_not_embed_its_parts(port: int) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    image = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}

    assert ask(port, "GET", "/healthz", link)[0] == 200
    assert ask(port, "GET", "/healthz", image)[0] == 403
    assert ask(port, "GET", "/healthz", {"Origin": "http://evil.example"})[0] == 403


def test_the_page_itself_and_a_proxy_with_a_known_name_may_send(port: int) -> None:
    own = {"Origin": f"http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"}
    proxied = {"Origin": "https://box.example", "Content-Type": "application/json"}

    assert ask(port, "POST", JOIN, own, CALL)[0] not in (400, 403, 413)
    assert ask(port, "POST", JOIN, proxied, CALL)[0] not in (400, 403, 413)


def test_no_answer_is_readable_by_other_sites_or_guessed_at(port: int) -> None:
    headers = ask(port, "GET", "/config", {"Origin": f"http://127.0.0.1:{port}"})[2]

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Content-Security-Policy"] == (
        "frame-ancestors 'self' https://huggingface.co; base-uri 'self'; form-action 'self'; object-src 'none'"
    )
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin-allow-popups"
    assert "camera=()" in headers["Permissions-Policy"]
    assert not [name for name in headers if name.lower().startswith("access-control-")]


@pytest.mark.parametrize("path", [JOIN, "/gradio_api/upload", "/healthz"])
def test_a_large_body_is_refused_with_and_without_a_declared_length(port: int, path: str) -> None:
    json_type = {"Content-Type": "application/json"}
    chunks = (b"x" * 100_000 for _ in range(30))

    declared = ask(port, "POST", path, json_type, b"x" * 3_000_000)
    streamed = ask(port, "POST", path, json_type, chunks)

    assert declared[:2] == streamed[:2] == (413, "The request is larger than 2 MB. Send less at once.\n")


def test_a_body_at_the_limit_reaches_the_application(port: int) -> None:
    body = b'"' + b"x" * (BODY_LIMIT - 2) + b'"'

    assert ask(port, "POST", JOIN, {"Content-Type": "application/json"}, body)[0] == 422


def shout(text: str) -> str:
    return text.upper()


def guarded_shout() -> Guard:
    with gr.Blocks(analytics_enabled=False) as blocks:
        gr.api(shout, api_name="shout")
    return Guard(gr.mount_gradio_app(FastAPI(), blocks, path="/"), answered_hosts("127.0.0.1", [], {}))


def test_a_plain_gradio_client_calls_through_the_guard() -> None:
    with serving(guarded_shout) as port:
        client = Client(f"http://127.0.0.1:{port}", verbose=False, analytics_enabled=False)

        assert client.predict("quiet", api_name="/shout") == "QUIET"

        client.close()


def test_wrong_calls_do_not_hurt_the_server(port: int) -> None:
    wrong = json.dumps({"data": [], "fn_index": 999, "session_hash": "s"}).encode()

    for _ in range(50):
        ask(port, "POST", JOIN, {"Content-Type": "application/json"}, wrong)

    assert ask(port, "GET", "/healthz", {})[0] == 200


def test_a_page_that_listens_everywhere_answers_to_addresses_but_to_no_strange_names() -> None:
    hosts = answered_hosts("0.0.0.0", ["box.example"], {})

    assert all(map(hosts.accept, ("192.168.1.5:7860", "[fe80::1]:7860", "box.example", "localhost")))
    assert not hosts.accept("evil.example")


def test_the_address_it_listens_on_is_answered() -> None:
    assert answered_hosts("192.168.1.5", [], {}).accept("192.168.1.5:7860")
    assert answered_hosts("fe80::1", [], {}).accept("[fe80::1]:7860")
    assert not answered_hosts("192.168.1.5", [], {}).accept("192.168.1.6")


def test_a_space_answers_to_its_public_name() -> None:
    environ = {"SPACE_ID": "me/space", "SPACE_HOST": "me-space.hf.space"}

    assert answered_hosts("0.0.0.0", [], environ).accept("me-space.hf.space")
    assert not answered_hosts("127.0.0.1", [], {"SPACE_HOST": "me-space.hf.space"}).accept("me-space.hf.space")


@pytest.mark.parametrize(
    ("host", "origin", "passes"),
    [
        (b"127.0.0.1:1", b"http://127.0.0.1:1", True),
        (b"127.0.0.1:1", b"http://evil.example", False),
        (b"evil.example", b"http://evil.example", False),
    ],
)
def test_a_websocket_is_guarded_too(host: bytes, origin: bytes, passes: bool) -> None:
    sent: list[Message] = []

    async def application(_scope: object, _receive: object, send: object) -> None:
        sent.append({"type": "reached"})

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "headers": [(b"host", host), (b"origin", origin)]}
    asyncio.run(Guard(application, answered_hosts("127.0.0.1", [], {}))(scope, receive, send))

    assert sent == ([{"type": "reached"}] if passes else [{"type": "websocket.close", "code": 1008}])


def test_the_page_is_built_without_torch_and_without_a_look_at_the_network(bench: Bench) -> None:
    program = """
import socket, sys
from starlette.testclient import TestClient
from blockmerge.jobs.store import Store
from blockmerge.settings import read_settings
from blockmerge.ui.web import build_app

looked_up = []
socket.getaddrinfo = lambda host, *_, **__: looked_up.append(host)
settings = read_settings({"BLOCKMERGE_HOME": sys.argv[1]})
with TestClient(build_app(settings, Store(settings.queue)), base_url="http://127.0.0.1") as client:
    assert client.get("/").status_code == 200
print(sorted({"torch", "transformers", "dbos"} & sys.modules.keys()), looked_up)
"""
    command = [sys.executable, "-c", program, str(bench.settings.home)]

    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[] []\n"
