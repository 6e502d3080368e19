"""The streams and numbers that other programs read, on a real server."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from blockmerge.core.progress import Progress, Stage
from blockmerge.jobs.states import JobState
from blockmerge.ui.web import build_app
from tests.ui.conftest import Bench, serving
from tests.ui.test_files import get


@contextmanager
def _events(port: int) -> Iterator[Iterator[dict[str, Any]]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/jobs/events")
    response = connection.getresponse()
    assert response.headers["Content-Type"].startswith("text/event-stream")

    def events() -> Iterator[dict[str, Any]]:
        while line := response.readline():
            if line.startswith(b"data: "):
                yield json.loads(line[6:])

    yield events()
    connection.close()


def test_a_job_is_followed_event_by_event(bench: Bench, port: int) -> None:
    with _events(port) as events:
        assert next(events)["jobs"] == []

        job = bench.add("mine")
        [waiting] = next(events)["jobs"]
        bench.advance(job, JobState.MERGING)
        bench.store.report_progress(job, Progress(Stage.MERGE, 41, 100))
        shown = next(events)
        while "done" not in shown["jobs"][0]:  # it may be looked at between the moves
            shown = next(events)

    assert (waiting["id"], waiting["name"], waiting["state"], waiting["place"]) == (job, "mine", "Waiting", 1)
    [merging] = shown["jobs"]
    assert (merging["state"], merging["stage"], merging["done"], merging["total"]) == ("Merging", "merge", 41, 100)
    assert (merging["place"], merging["seconds_left"]) == (None, None)
    assert shown["others"] == {"running": 0, "waiting": 0}


def test_the_numbers_are_off_unless_they_are_asked_for(port: int) -> None:
    assert get(port, "/metrics")[0] != 200


@pytest.fixture
def measured(bench: Bench) -> Bench:
    return replace(bench, settings=replace(bench.settings, metrics=True))


def test_prometheus_can_read_how_many_jobs_there_are_and_what_they_took(
    measured: Bench,
) -> None:
    measured.finish("done")
    measured.add("waiting")
    measured.store.beat("worker")

    with serving(lambda: build_app(measured.settings, measured.store)) as port:
        status, body, headers = get(port, "/metrics")

    assert status == 200
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = body.decode().splitlines()
    assert {
        'blockmerge_jobs{state="Done"} 1',
        'blockmerge_jobs{state="Failed"} 0',
        "blockmerge_queue_length 1",
        "blockmerge_workers 1",
        "blockmerge_merged_bytes_total 14500000000",
        "blockmerge_merge_seconds_sum 130.0",
        "blockmerge_merge_seconds_count 1",
        "blockmerge_kept_bytes 14500000000",
    } <= set(lines)
    described = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert all(any(line.startswith(name) for name in described) for line in lines if not line.startswith("#"))
