import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from blockmerge.core.progress import Progress, Stage
from blockmerge.engine.devices import Found
from blockmerge.errors import JobRequestError
from blockmerge.jobs.states import LEGAL_MOVES, LIVE, RUNNING, JobState, Ticket
from blockmerge.jobs.store import Store
from blockmerge.jobs.tables import WORKERS
from tests.jobs.rows import bring, new_job

NO_GPU = Found(why="torch 2.13.0+cpu is built without CUDA")


def test_a_job_comes_back_as_it_was_put_in(store: Store) -> None:
    job = store.get(store.add(new_job("first")))

    assert (job.name, job.state, job.attempt) == ("first", JobState.WAITING, 1)
    assert (job.recipe, job.out, job.models) == ("blockmerge: 1", Path("/out/first"), ("a", "b"))
    assert (job.weights, job.shape) == ((0.0, 0.5, 1.0), "rise")
    assert job.created == pytest.approx(time.time(), abs=5)
    assert (job.started, job.finished, job.progress, job.error) == (None, None, None, None)


def test_a_job_is_still_there_after_a_restart(queue: str) -> None:
    with Store(queue) as before:
        job_id = before.add(new_job("first"))

    with Store(queue) as after:
        assert after.get(job_id).name == "first"


def test_asking_for_an_unknown_job_is_an_error(store: Store) -> None:
    with pytest.raises(JobRequestError, match=r"^No such job\.$"):
        store.get(7)


def test_two_live_jobs_cannot_make_one_folder(store: Store) -> None:
    store.add(new_job("Same"))

    with pytest.raises(JobRequestError, match=r"^A job with this name is waiting already\. Choose another name\.$"):
        store.add(new_job("same"))

    assert [job.name for job in store.recent(10)] == ["Same"]


@pytest.mark.parametrize("end", [JobState.DONE, JobState.FAILED, JobState.CANCELLED])
def test_a_name_is_free_again_when_its_job_has_ended(store: Store, end: JobState) -> None:
    bring(store, store.add(new_job("same")), end)

    assert store.add(new_job("same")) == 2


@pytest.mark.parametrize("origin", list(JobState))
def test_a_job_goes_the_legal_ways_and_no_others(store: Store, origin: JobState) -> None:
    for target in JobState:
        ticket = bring(store, store.add(new_job(f"to-{target}")), origin)

        if target in LEGAL_MOVES[origin]:
            assert store.move(ticket, {origin}, target)
            assert store.get(ticket.job).state is target
        else:
            with pytest.raises(ValueError, match=f"A job cannot go from {origin} to {target}"):
                store.move(ticket, {origin}, target)
            assert store.get(ticket.job).state is origin


def test_a_move_from_another_state_changes_nothing(store: Store) -> None:
    ticket = bring(store, store.add(new_job("job")), JobState.CANCELLED)
    before = store.get(ticket.job)

    assert not store.move(ticket, RUNNING, JobState.FAILED, error="too late")
    assert store.get(ticket.job) == before


def test_an_old_ticket_changes_nothing(store: Store) -> None:
    ticket = bring(store, store.add(new_job("job")), JobState.MERGING)
    store.move(ticket, RUNNING, JobState.WAITING)

    assert not store.move(ticket, {JobState.WAITING}, JobState.CHECKING)
    assert store.move(Ticket(ticket.job, 2), {JobState.WAITING}, JobState.CHECKING)


def test_only_one_of_many_takes_a_job(store: Store) -> None:
    ticket = Ticket(store.add(new_job("job")), 1)
    taken: list[bool] = []
    start = threading.Barrier(8)

    def take() -> None:
        start.wait()
        taken.append(store.move(ticket, {JobState.WAITING}, JobState.CHECKING))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(taken) == [False] * 7 + [True]


def test_times_follow_the_moves(store: Store) -> None:
    ticket = bring(store, store.add(new_job("job")), JobState.CHECKING)
    running = store.get(ticket.job)
    store.move(ticket, RUNNING, JobState.FAILED, error="The disk is full.")
    failed = store.get(ticket.job)

    assert running.started is not None
    assert running.finished is None
    assert failed.finished is not None
    assert running.created <= running.started <= failed.finished
    assert failed.error == "The disk is full."


def test_a_job_that_goes_back_in_line_begins_a_new_attempt_without_progress(store: Store) -> None:
    ticket = bring(store, store.add(new_job("job")), JobState.MERGING)
    store.report_progress(ticket.job, Progress(Stage.MERGE, 5, 10))

    store.move(ticket, RUNNING, JobState.WAITING, crashes=1)

    job = store.get(ticket.job)
    assert (job.state, job.attempt, job.crashes) == (JobState.WAITING, 2, 1)
    assert (job.started, job.progress) == (None, None)


def test_a_renewed_job_waits_at_the_same_place_with_another_ticket(store: Store) -> None:
    first, second = store.add(new_job("first")), store.add(new_job("second"))

    assert store.renew(Ticket(first, 1))
    assert not store.renew(Ticket(first, 1))
    assert store.get(first).ticket == Ticket(first, 2)
    assert [store.place_in_line(job) for job in (first, second)] == [1, 2]


def test_one_person_s_jobs_go_in_the_order_of_numbers_and_a_running_job_has_no_place(store: Store) -> None:
    running, first, second = (store.add(new_job(name)) for name in ("a", "b", "c"))
    bring(store, running, JobState.MERGING)

    assert [store.place_in_line(job) for job in (running, first, second)] == [None, 1, 2]
    assert [job.id for job in store.live()] == [running, first, second]
    assert [job.id for job in store.recent(2)] == [second, first]


def test_a_cancel_ends_a_waiting_job_at_once(store: Store) -> None:
    job_id = store.add(new_job("job"))

    store.ask_cancel(job_id)

    assert store.get(job_id).state is JobState.CANCELLED
    assert store.get(job_id).finished is not None
    assert store.live() == ()


def test_a_cancel_of_a_running_job_is_left_to_its_worker(store: Store) -> None:
    ticket = bring(store, store.add(new_job("job")), JobState.MERGING)
    assert not store.is_cancel_asked(ticket.job)

    store.ask_cancel(ticket.job)

    assert store.is_cancel_asked(ticket.job)
    assert store.get(ticket.job).state is JobState.MERGING


def test_a_job_that_goes_back_in_line_after_its_cancel_ends(store: Store) -> None:
    ticket = bring(store, store.add(new_job("job")), JobState.MERGING)
    store.ask_cancel(ticket.job)
    store.move(ticket, RUNNING, JobState.WAITING)

    store.cancel_waiting()

    assert store.get(ticket.job).state is JobState.CANCELLED


@pytest.mark.parametrize("end", sorted(set(JobState) - LIVE))
def test_cancelling_what_has_ended_is_an_error(store: Store, end: JobState) -> None:
    ticket = bring(store, store.add(new_job("job")), end)

    with pytest.raises(JobRequestError, match=f"^Job 1 is {end} already: there is nothing to cancel\\.$"):
        store.ask_cancel(ticket.job)


def test_cancelling_an_unknown_job_is_an_error(store: Store) -> None:
    with pytest.raises(JobRequestError, match=r"^No such job\.$"):
        store.ask_cancel(7)


def test_progress_is_the_last_that_was_reported_and_says_since_when_its_stage_runs(store: Store) -> None:
    job_id = store.add(new_job("job"))

    store.report_progress(job_id, Progress(Stage.MERGE, 1, 10, "layer 0 of 4"))
    first = store.get(job_id).progress
    store.report_progress(job_id, Progress(Stage.MERGE, 9, 10, "layer 3 of 4"))
    second = store.get(job_id).progress
    store.report_progress(job_id, Progress(Stage.VERIFY, 0, 10))
    third = store.get(job_id).progress

    assert first is not None
    assert second is not None
    assert third is not None
    assert (second.stage, second.done, second.total, second.detail) == (Stage.MERGE, 9, 10, "layer 3 of 4")
    assert second.since == first.since
    assert second.at >= first.at
    assert (third.stage, third.done, third.detail) == (Stage.VERIFY, 0, "")
    assert third.since >= second.at


def test_the_last_beat_is_that_of_any_worker(store: Store) -> None:
    assert store.last_beat() is None

    store.beat("one")
    first = store.last_beat()
    store.beat("two")
    store.beat("one")

    assert first is not None
    assert store.last_beat() == pytest.approx(time.time(), abs=5)


def test_a_worker_says_which_gpu_it_has_found_once_it_has_looked(store: Store) -> None:
    assert store.find_gpu() is None
    store.beat("one")
    assert store.find_gpu() is None

    store.beat("one", found=NO_GPU)
    assert store.find_gpu() == NO_GPU

    store.beat("two", found=Found(gpu="NVIDIA H200"))
    store.beat("two")
    assert store.find_gpu() == Found(gpu="NVIDIA H200")


def test_the_gpu_of_a_worker_that_is_gone_counts_for_nothing(store: Store) -> None:
    store.beat("one", found=Found(gpu="NVIDIA H200"))
    with store.database.quick.begin() as connection:
        connection.execute(WORKERS.update().values(at=WORKERS.c.at - 11))
    assert store.find_gpu() is None

    store.beat("two", found=NO_GPU)
    assert store.find_gpu() == NO_GPU


def test_readers_are_not_held_up_while_progress_is_written(store: Store, queue: str) -> None:
    job_id = store.add(new_job("job"))
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            store.report_progress(job_id, Progress(Stage.MERGE, 1, 2))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with Store(queue) as reader:
            slowest = 0.0
            for _ in range(100):
                start = time.monotonic()
                reader.recent(50)
                slowest = max(slowest, time.monotonic() - start)
    finally:
        stop.set()
        writer.join()

    # Without WAL a reader waits for seconds; with it, for milliseconds. Half a second allows for a busy machine.
    assert slowest < 0.5


def test_the_page_s_part_of_the_queue_loads_neither_torch_nor_dbos() -> None:
    code = "import sys, blockmerge.jobs.store, blockmerge.jobs.supervise; print({'torch', 'dbos'} & set(sys.modules))"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout == "set()\n"
