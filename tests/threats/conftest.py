"""The running application as a stranger on the network meets it: names of models, not paths, and someone else's job."""

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from starlette.types import ASGIApp

from blockmerge.jobs.states import Job
from blockmerge.jobs.store import Store
from blockmerge.settings import read_settings
from blockmerge.ui import web
from tests.ui.conftest import Bench, serving


@dataclass(frozen=True)
class Running:
    """`blocks` is what the page was built from, so that a test can list its events."""

    bench: Bench
    port: int
    blocks: gr.Blocks

    def post(self, path: str, body: str, kind: str = "application/json", **headers: str) -> tuple[int, str]:
        return self.ask("POST", path, body.encode("utf-8", "surrogatepass"), {"Content-Type": kind, **headers})

    def ask(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body or None, headers or {})
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
        connection.close()
        return response.status, text

    @property
    def models(self) -> Path:
        return self.bench.settings.models[0]

    def visitor(self) -> "Visitor":
        """Somebody whom the page has not seen before."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", "/healthz")
        cookie = connection.getresponse().headers["Set-Cookie"]
        connection.close()
        return Visitor(self, str(cookie).partition(";")[0])

    def jobs(self) -> tuple[Job, ...]:
        return self.bench.store.recent(1000)


@dataclass(frozen=True)
class Visitor:
    running: Running
    cookie: str

    def call(self, name: str, *arguments: object) -> Any:
        """The answer, or the sentence that says what is wrong."""
        body = json.dumps({"data": arguments})
        status, text = self.running.post(f"/gradio_api/run/{name}", body, Cookie=self.cookie)
        return json.loads(text)["data"][0] if status == 200 else json.loads(text)["error"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("threats")
    settings = read_settings(
        {
            "BLOCKMERGE_HOME": str(home / "home"),
            "BLOCKMERGE_OUTPUT": str(home / "output"),
            "BLOCKMERGE_MODELS": str(home / "models"),
        }
    )
    built: list[gr.Blocks] = []
    build_blocks = web.build_blocks

    def build() -> ASGIApp:
        with pytest.MonkeyPatch.context() as patch:

            def kept(*arguments: object) -> gr.Blocks:
                built.append(build_blocks(*arguments))  # type: ignore[arg-type]
                return built[0]

            patch.setattr(web, "build_blocks", kept)
            return web.build_app(settings, store, listen="0.0.0.0")

    with Store(settings.queue) as store, serving(build) as port:
        yield Running(Bench(settings, store), port, built[0])
