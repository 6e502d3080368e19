"""The page behind a proxy that puts it under a path of its own: assets, events and downloads still find their way."""

import http.client
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import urlopen

import pytest
from gradio_client import Client

from blockmerge.jobs.store import Store
from blockmerge.settings import read_settings
from blockmerge.ui.web import build_app
from tests.ui.conftest import Bench, serving

PREFIX = "/blockmerge"


@contextmanager
def proxy_to(port: int) -> Iterator[str]:
    """The address of a proxy that takes PREFIX off and passes everything else on, streams as they come."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith(PREFIX):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            behind = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            behind.request(self.command, self.path.removeprefix(PREFIX) or "/", body or None, dict(self.headers))
            answer = behind.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.end_headers()
            while chunk := answer.read1(65536):
                self.wfile.write(chunk)
            behind.close()

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}{PREFIX}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    home = tmp_path_factory.mktemp("proxy")
    settings = read_settings({"BLOCKMERGE_HOME": str(home / "home"), "BLOCKMERGE_OUTPUT": str(home / "output")})
    with Store(settings.queue) as store:
        yield Bench(settings, store)


@pytest.fixture(scope="module")
def address(bench: Bench) -> Iterator[str]:
    with (
        serving(lambda: build_app(bench.settings, bench.store, root_path=PREFIX)) as port,
        proxy_to(port) as address,
    ):
        yield address


def test_the_page_and_all_that_it_loads_lie_under_the_path(address: str) -> None:
    with urlopen(f"{address}/", timeout=30) as answer:
        page = answer.read().decode()

    assert f'"root":"{address}"' in page
    assets = [asset for asset in re.findall(r'(?:src|href)="([^"#]+)"', page) if "://" not in asset]
    assert any(asset.endswith(".js") for asset in assets)
    assets.remove("/manifest.json")  # Gradio's own, always there, for installing the page as an app, which it is not
    for asset in assets:
        assert not asset.startswith("/")
        with urlopen(f"{address}/{asset.removeprefix('./')}", timeout=30) as answer:
            assert answer.status == 200


def test_calls_and_their_events_go_through(address: str) -> None:
    client = Client(f"{address}/", verbose=False, analytics_enabled=False)

    assert client.predict(api_name="/models")[-2:] == ["example/lowercase", "example/capitals"]

    client.close()


def test_the_list_of_files_names_the_address_before_the_proxy(address: str, bench: Bench) -> None:
    job = bench.finish("mine", config_json=b"{}")

    with urlopen(f"{address}/files/{job}/", timeout=30) as answer:
        assert f"<code>curl {address}/files/{job}/all.tar | tar -x</code>" in answer.read().decode()
    with urlopen(f"{address}/files/{job}/config.json", timeout=30) as answer:
        assert answer.read() == b"{}"
