"""A job that needs a visitor's token, on a queue of several machines: two homes stand for two of them."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from blockmerge.jobs.homes import home_of
from blockmerge.jobs.own_jobs import OwnJobs
from blockmerge.jobs.states import JobState, NewJob
from blockmerge.jobs.tables import JOBS
from tests.hub.test_jobs import pinned
from tests.hub.test_visitors_jobs import ANN, ann, files_with, page, signed_in
from tests.hub_server import HubServer
from tests.hub_store import User
from tests.jobs.bench import Bench, running_bench, wait_until
from tests.jobs.conftest import postgres, queue

__all__ = ["ann", "postgres", "queue"]  # fixtures of other folders, for the tests of this file

pytestmark = pytest.mark.parametrize("queue", ["postgres"], indirect=True)


@pytest.fixture
def bench(server: HubServer, queue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """The machine of the page; its workers talk to the Hub on loopback."""
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with running_bench(tmp_path, queue) as made:
        yield made


@pytest.fixture
def elsewhere(bench: Bench, tmp_path: Path) -> Iterator[Bench]:
    """Another machine, which shares the queue and the results' folder."""
    with running_bench(tmp_path / "elsewhere", bench.settings.queue) as made:
        made.settings = replace(made.settings, output=bench.settings.output)
        yield made


def add(bench: Bench, name: str, *models: str) -> int:
    """As the page adds what she asks for."""
    recipe = json.dumps({"blockmerge": 1, "models": dict(zip("ab", models, strict=True)), "weights": {"layers": 0.3}})
    return OwnJobs(bench.store, bench.settings, ANN).add(NewJob(name, recipe, bench.settings.output / name, models))


def workers_at(bench: Bench) -> set[str]:
    here = home_of(bench.settings)
    return {worker for worker, place in bench.store.places().items() if place.home == here}


def dumped(queue: str) -> str:
    """Every row of every table of the database, dbos' own among them."""
    with psycopg.connect(queue) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        rows = [connection.execute(f"SELECT * FROM {name}").fetchall() for (name,) in tables]  # type: ignore[arg-type]
    return str(rows)


def test_a_job_that_needs_a_visitors_token_comes_to_the_machine_of_the_page(
    server: HubServer, bench: Bench, elsewhere: Bench, ann: User, tmp_path: Path
) -> None:
    number = add(bench, "mine", *pinned(server, "ann/private", "org/b"))
    with page(bench, signed_in(bench, ann=ann.token)):
        elsewhere.start_worker()
        wait_until(lambda: bench.store.get(number).stays_home, 60, lambda: bench.store.get(number))
        before = bench.wait_for(number, JobState.WAITING)
        assert before.worker in workers_at(elsewhere)  # it cannot have known better
        public = add(bench, "anybodys", *pinned(server, "org/a", "org/b"))
        assert bench.wait_for(public, JobState.DONE).worker in workers_at(elsewhere)  # and does not wait behind it
        assert bench.store.get(number).state is JobState.WAITING

        bench.start_worker()
        done = bench.wait_for(number, JobState.DONE)

        assert done.worker in workers_at(bench)
        assert (done.crashes, done.error) == (0, None)
        second = add(bench, "again", *pinned(server, "ann/private", "org/b"))
        assert bench.wait_for(second, JobState.DONE).worker in workers_at(bench) | workers_at(elsewhere)

    said = "\n".join(bench.store.read_log(number))
    assert "It needs a token that no worker here has" in said
    assert str(home_of(bench.settings)) in dumped(bench.settings.queue)  # the search finds what is there
    assert ann.token not in dumped(bench.settings.queue)
    assert files_with(tmp_path, "blockmerge_recipe")
    assert files_with(tmp_path, ann.token) == []
    assert {asked.token for asked in server.asked if asked.host == "hub"} == {None, ann.token}


def test_what_anybody_may_merge_does_not_wait_for_a_worker_that_is_busy_with_such_a_job(
    server: HubServer, bench: Bench, elsewhere: Bench, ann: User
) -> None:
    number = add(bench, "mine", *pinned(server, "ann/private", "org/b"))
    with bench.store.database.durable.begin() as connection:
        connection.execute(JOBS.update().values(stays_home=True))
    with page(bench, signed_in(bench, ann=ann.token)), server.failing("GET /_storage", seconds=30.0):
        bench.start_worker()
        bench.wait_for(number, JobState.CHECKING)
        public = add(bench, "anybodys", *pinned(server, "org/a", "org/b"))
        time.sleep(2)  # its ticket is where there is no place for it

        elsewhere.start_worker()
        begun = bench.wait_for(public, JobState.CHECKING)

        assert begun.worker in workers_at(elsewhere)
        assert bench.store.get(number).worker in workers_at(bench)
        assert bench.store.get(number).attempt == 1
        for job in (number, public):
            bench.store.ask_cancel(job)
            bench.wait_for(job, JobState.CANCELLED)
