"""A process that keeps a worker, as the page's does: what becomes of the worker when something dies."""

import signal
import sys
import time
from pathlib import Path

import pytest

from blockmerge.jobs.states import JobState
from tests.jobs.bench import Bench, wait_until

Models = tuple[Path, Path]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="these tests speak in signals")


def test_a_killed_worker_is_started_again_and_its_job_finishes_whole(bench: Bench, large_models: Models) -> None:
    undisturbed = bench.add("undisturbed", large_models)
    page = bench.start_page()
    expected = bench.wait_for(undisturbed, JobState.DONE)
    number = bench.add("disturbed", large_models)
    merge = bench.wait_for_merge(number)
    [worker] = bench.processes("blockmerge.jobs.worker")

    worker.kill()
    merge.send_signal(signal.SIGCONT)

    job = bench.wait_for(number, JobState.DONE)
    assert (job.attempt, job.crashes) == (2, 1)
    assert (job.digest, job.nbytes) == (expected.digest, expected.nbytes)
    assert bench.folders() == ["disturbed", "undisturbed"]
    assert "The worker ended (exit code -9). It is started again." in bench.log_of(page)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_page_leaves_no_process_and_the_job_waiting(
    bench: Bench, large_models: Models, number: signal.Signals
) -> None:
    job = bench.add("later", large_models)
    page = bench.start_page()
    bench.wait_for(job, JobState.MERGING)

    page.send_signal(number)

    assert page.wait(10) == 0
    assert bench.left_over() == []
    assert bench.log_of(page) == "up\n"
    assert bench.store.get(job).state is JobState.WAITING
    assert "later" not in bench.folders()  # what was finished may stay, as later.partial


def test_a_second_ctrl_c_kills(bench: Bench, large_models: Models) -> None:
    job = bench.add("held", large_models)
    page = bench.start_page()
    merge = bench.wait_for_merge(job)
    page.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert page.poll() is None

    page.send_signal(signal.SIGINT)

    assert page.wait(2) == 0
    merge.send_signal(signal.SIGCONT)
    wait_until(lambda: not bench.left_over(), 2, bench.left_over)


def test_a_page_that_is_killed_takes_its_worker_along(bench: Bench, large_models: Models) -> None:
    job = bench.add("later", large_models)
    page = bench.start_page()
    bench.wait_for(job, JobState.MERGING)

    page.kill()

    wait_until(lambda: not bench.left_over(), 10, bench.left_over)
    assert bench.store.get(job).state is JobState.WAITING
    assert "later" not in bench.folders()  # what was finished may stay, as later.partial


@pytest.mark.parametrize("queue", ["sqlite"], indirect=True)
def test_a_second_page_leaves_the_work_to_the_first_and_takes_over_after_it(bench: Bench) -> None:
    first = bench.start_page()
    wait_until(lambda: bench.store.last_beat() is not None, 10, lambda: "no beat")
    second = bench.start_page()
    sentence = f"Another worker has the queue {bench.settings.queue_file}: this is the page only."
    wait_until(lambda: sentence in bench.log_of(second), 10, lambda: bench.log_of(second))
    assert len(bench.processes("blockmerge.jobs.worker")) == 1

    first.send_signal(signal.SIGINT)
    assert first.wait(10) == 0

    wait_until(lambda: len(bench.processes("blockmerge.jobs.worker")) == 1, 10, lambda: bench.log_of(second))
    assert second.poll() is None
