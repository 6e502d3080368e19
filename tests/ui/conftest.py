"""A queue with jobs in it, the page served on loopback, and a Chromium that may talk to nobody else."""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, Request, sync_playwright
from starlette.types import ASGIApp

from blockmerge.checkpoints.manifest import Manifest, TensorEntry, write_manifest
from blockmerge.core.tensors import DType
from blockmerge.jobs.states import JobState, NewJob, Ticket
from blockmerge.jobs.store import Store
from blockmerge.settings import Settings, read_settings
from blockmerge.ui.identity import Identity
from blockmerge.ui.web import build_app

CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.*, EXCLUDE localhost",  # nothing leaves this machine
)
_ROAD = (JobState.WAITING, JobState.CHECKING, JobState.MERGING, JobState.VERIFYING, JobState.DONE)


@dataclass(frozen=True)
class Bench:
    settings: Settings
    store: Store

    @property
    def identity(self) -> Identity:
        """Somebody who sits at this machine."""
        return Identity(self.settings.home, is_private=True)

    def add(self, name: str, models: tuple[str, ...] = ("left", "right"), weights: tuple[float, ...] = (0.5,)) -> int:
        return self.store.add(NewJob(name, "", self.settings.output / name, models, weights, "Flat 0.50"))

    def advance(self, job: int, target: JobState) -> None:
        """Move a waiting job along the road of every good job."""
        for before, after in pairwise(_ROAD[: _ROAD.index(target) + 1]):
            fields = {"digest": "7c1e04b9aabb", "nbytes": 14_500_000_000, "seconds": 130.0}
            self.store.move(Ticket(job, 1), {before}, after, **(fields if after is JobState.DONE else {}))

    def finish(self, name: str, **files: bytes) -> int:
        """A Done job whose folder holds these files; in their names _ stands for a dot."""
        job = self.add(name)
        self.advance(job, JobState.DONE)
        self.write_result(name, **files)
        return job

    def write_result(self, name: str, **files: bytes) -> None:
        folder = self.settings.output / name
        folder.mkdir(parents=True)
        for file, content in files.items():
            (folder / file.replace("_", ".")).write_bytes(content)
        entry = TensorEntry(DType.FLOAT32, (1,), "00")
        write_manifest(folder, Manifest("0", "blockmerge: 1\n", "0", "x86_64", {"w": entry}))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    settings = read_settings({"BLOCKMERGE_HOME": str(tmp_path / "home"), "BLOCKMERGE_OUTPUT": str(tmp_path / "output")})
    with Store(settings.queue) as store:
        yield Bench(settings, store)


@contextmanager
def serving(build: Callable[[], ASGIApp]) -> Iterator[int]:
    """The port of 127.0.0.1 on which the application answers."""
    servers: list[uvicorn.Server] = []

    async def serve() -> None:
        # Built inside the loop: elsewhere Gradio makes a loop for every lock and leaves it open.
        servers.append(uvicorn.Server(uvicorn.Config(build(), host="127.0.0.1", port=0, log_level="error")))
        await servers[0].serve()

    thread = threading.Thread(target=asyncio.run, args=[serve()], daemon=True)
    thread.start()
    wait_until(lambda: any(server.started for server in servers), 60)
    [server] = servers
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = server.force_exit = True
    thread.join()


@pytest.fixture
def port(bench: Bench) -> Iterator[int]:
    """The port on which the whole application answers."""
    with serving(lambda: build_app(bench.settings, bench.store)) as number:
        yield number


@pytest.fixture(scope="module")  # while Playwright is there, no other test of this thread can run a loop
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        path = os.environ.get("BLOCKMERGE_TEST_CHROMIUM") or "/usr/bin/chromium"
        launched = playwright.chromium.launch(
            executable_path=path if Path(path).exists() else None, args=list(CHROMIUM_FLAGS)
        )
        yield launched
        launched.close()


@contextmanager
def fresh_page(browser: Browser, address: str, **options: Any) -> Iterator[Page]:
    """The address in a browser of its own; a request to any other host fails the test."""
    strangers: list[str] = []
    origin = "/".join(address.split("/")[:3]) + "/"

    def look(request: Request) -> None:
        if not request.url.startswith((origin, "data:", "blob:")):
            strangers.append(request.url)

    context = browser.new_context(**options)
    # Watched and not held: a held request would stand still while the test waits for something else than the page.
    context.on("request", look)
    page = context.new_page()
    page.goto(address)
    yield page
    context.close()
    assert strangers == []


@pytest.fixture
def open_page(browser: Browser, port: int) -> Iterator[Callable[[], Page]]:
    """Open the Jobs tab in a browser of its own."""
    with ExitStack() as stack:

        def open_one() -> Page:
            page = stack.enter_context(fresh_page(browser, f"http://127.0.0.1:{port}/"))
            page.get_by_role("tab", name="Jobs").click()
            page.wait_for_selector(".jobs[data-ready]")
            return page

        yield open_one


def wait_until(holds: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
