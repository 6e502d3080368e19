"""`python app.py` as a person starts it, and a Chromium that may talk to nobody else."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Page

from blockmerge.jobs.store import Store
from blockmerge.settings import Settings, environment_of, read_settings
from tests.ui.conftest import browser, fresh_page, wait_until

__all__ = ["browser"]  # the fixture of tests/ui, for the tests of this folder

REPOSITORY = Path(__file__).parents[2]
ADDRESS = re.compile(r"^blockmerge is at (http://127\.0\.0\.1:\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class RunningApp:
    address: str
    settings: Settings
    store: Store
    process: subprocess.Popen[bytes]

    def children(self) -> list[psutil.Process]:
        return [child for child in psutil.Process(self.process.pid).children(recursive=True) if child.is_running()]


@contextmanager
def running_app(home: Path, models: tuple[Path, ...] = (), hosts: str = "") -> Iterator[RunningApp]:
    """app.py on a free port, with a queue and an output folder of its own; with further `hosts` it is not one person's
    alone."""
    settings = read_settings(
        {
            "BLOCKMERGE_HOME": str(home / "home"),
            "BLOCKMERGE_OUTPUT": str(home / "output"),
            "BLOCKMERGE_MODELS": os.pathsep.join(map(str, models)),
            "BLOCKMERGE_HOSTS": hosts,
        }
    )
    log = home / "app.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, REPOSITORY / "app.py", "--port", "0"]
    with Store(settings.queue) as store, log.open("wb") as output:
        environ = {**os.environ, **environment_of(settings)}
        process = subprocess.Popen(command, env=environ, stdout=output, stderr=output, cwd=home)
        try:
            wait_until(lambda: ADDRESS.search(log.read_text()) is not None, 60)
            match = ADDRESS.search(log.read_text())
            assert match is not None
            yield RunningApp(match[1], settings, store, process)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait(15)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[RunningApp]:
    with running_app(tmp_path) as running:
        yield running


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open an address in a browser of its own; a request to any other host fails the test."""
    with ExitStack() as stack:

        def open_one(address: str, **options: object) -> Page:
            return stack.enter_context(fresh_page(browser, address, **options))

        yield open_one
