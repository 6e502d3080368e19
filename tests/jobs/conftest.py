"""A queue of its own for every test that wants one, and a watch that no process stays behind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from blockmerge.jobs.store import Store
from tests.jobs.bench import Bench, running_bench, write_hollow_model
from tests.jobs.postgres import Postgres, running_postgres


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


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a queue of its own, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{(tmp_path / 'home' / 'queue.db').as_posix()}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_queue()


@pytest.fixture
def store(queue: str) -> Iterator[Store]:
    with Store(queue) as opened:
        yield opened


@pytest.fixture
def bench(tmp_path: Path, queue: str) -> Iterator[Bench]:
    with running_bench(tmp_path, queue) as made:
        yield made
