"""A queue of its own for every test that wants one, and a watch that no process stays behind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from blockmerge.jobs.process import close_stdin
from blockmerge.jobs.store import Store
from blockmerge.settings import read_settings
from tests.jobs.bench import Bench, wait_until, write_hollow_model


@pytest.fixture(scope="session")
def large_models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models of 0.5 GB each: a merge of them can be watched and interrupted."""
    folder = tmp_path_factory.mktemp("large")
    sizes = (2048, 8192, 256)
    return write_hollow_model(folder / "a", 4, sizes), write_hollow_model(folder / "b", 4, sizes)


@pytest.fixture(scope="session")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("small")
    return write_hollow_model(folder / "a", 2, (64, 128, 32)), write_hollow_model(folder / "b", 2, (64, 128, 32))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    settings = read_settings({"BLOCKMERGE_HOME": str(tmp_path / "home"), "BLOCKMERGE_OUTPUT": str(tmp_path / "output")})
    with Store(settings.queue) as store:
        made = Bench(settings, store)
        yield made
        for process in made.started:
            process.kill()
            process.wait()
            if process.stdin is not None:
                close_stdin(process)
        for stray in made.left_over():
            stray.kill()
        wait_until(lambda: not made.left_over(), 5, made.left_over)
