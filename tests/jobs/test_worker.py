"""Real workers and real merges; processes are held (SIGSTOP) where a test must come in between."""

import json
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from blockmerge.core.progress import Stage
from blockmerge.engine.devices import Found, ask_gpu
from blockmerge.errors import JobRequestError
from blockmerge.jobs.states import LIVE, JobState, Ticket, part_folder
from tests.jobs.bench import Bench, use_up, wait_until

Models = tuple[Path, Path]
ENDED = frozenset(JobState) - LIVE


def _stop(worker: subprocess.Popen[bytes]) -> None:
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(10) == 0


def test_jobs_are_carried_out_one_after_the_other(bench: Bench, small_models: Models) -> None:
    numbers = [bench.add(name, small_models) for name in ("first", "second")]
    bench.start_worker()

    first, second = (bench.wait_for(number, JobState.DONE) for number in numbers)

    assert first.digest == second.digest
    assert first.nbytes == second.nbytes
    assert first.finished is not None
    assert second.started is not None
    assert first.finished <= second.started
    assert first.progress is not None
    assert (first.progress.stage, first.progress.done, first.progress.total) == (
        Stage.SAVE,
        first.nbytes,
        first.nbytes,
    )
    assert bench.folders() == ["first", "second"]
    assert {path.name for path in (bench.settings.output / "first").iterdir()} >= {"config.json", "model.safetensors"}


def test_a_worker_tells_the_queue_which_gpu_it_has(bench: Bench) -> None:
    bench.start_worker()

    wait_until(lambda: bench.store.find_gpu() is not None, 60, bench.store.find_gpu)

    assert bench.store.find_gpu() == ask_gpu()


@pytest.mark.parametrize("queue", ["sqlite"], indirect=True)  # on PostgreSQL one with a GPU may come within a minute
def test_a_job_for_a_gpu_fails_with_a_sentence_at_a_worker_without_one(
    bench: Bench, small_models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    number = bench.add("job", small_models, method="karcher", device="cuda")
    bench.start_worker()

    job = bench.wait_for(number, JobState.FAILED)

    assert (job.error or "").startswith("device cuda: no CUDA GPU was found (torch ")
    assert (job.error or "").endswith("or install torch's CUDA build where there is a GPU.")
    assert bench.folders() == []


@pytest.mark.parametrize("queue", ["postgres"], indirect=True)  # a queue in a file has one worker
def test_a_worker_without_a_gpu_leaves_its_jobs_to_a_colleague_until_that_one_is_gone(
    bench: Bench, small_models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    bench.store.beat("colleague", "elsewhere", Found(gpu="NVIDIA H200"))
    wanted = bench.add("wanted", small_models, method="karcher", device="cuda")
    other = bench.add("other", small_models)
    bench.start_worker()

    def other_is_done() -> bool:
        bench.store.beat("colleague", "elsewhere")  # or it would be taken for dead on a slow machine
        return bench.store.get(other).state is JobState.DONE

    wait_until(other_is_done, 90, lambda: bench.store.get(other))
    waiting = bench.store.get(wanted)
    assert (waiting.state, waiting.begun, waiting.attempt) == (JobState.WAITING, False, 1)

    bench.store.remove_worker("colleague")
    # Its ticket waited for workers who are gone; for the next one it waits in the table, as long as one may come.
    wait_until(lambda: bench.store.get(wanted).attempt == 2, 5, lambda: bench.store.get(wanted))
    time.sleep(1)
    assert bench.store.get(wanted).state is JobState.WAITING


def test_a_cancel_ends_the_merge_within_a_second_and_leaves_nothing(bench: Bench, large_models: Models) -> None:
    number = bench.add("unwanted", large_models)
    bench.start_worker()
    bench.wait_for(number, JobState.MERGING)
    process = bench.merge_at_work()

    asked = time.monotonic()
    bench.store.ask_cancel(number)
    wait_until(lambda: not _lives(process), 1, lambda: process)
    took = time.monotonic() - asked

    bench.wait_for(number, JobState.CANCELLED, seconds=1)
    assert took < 1
    assert bench.folders() == []


@pytest.mark.parametrize("state", [JobState.CHECKING, JobState.VERIFYING, JobState.SAVING])
def test_a_cancel_in_any_stage_ends_the_job_within_a_second_and_leaves_nothing(
    bench: Bench, large_models: Models, state: JobState
) -> None:
    bench.start_worker()

    def cancelled_in_time(attempt: int) -> float | None:
        """The seconds it took; None where the job was in another stage by then, or done."""
        number = bench.add(f"unwanted-{attempt}", large_models)
        while bench.store.get(number).state not in {state, *ENDED}:
            time.sleep(0.002)
        asked = time.monotonic()
        with suppress(JobRequestError):
            bench.store.ask_cancel(number)
        is_hit = bench.store.get(number).state in {state, JobState.CANCELLED}
        bench.wait_for(number, *ENDED)
        return time.monotonic() - asked if is_hit else None

    took = next(seconds for attempt in range(10) if (seconds := cancelled_in_time(attempt)) is not None)

    assert took < 1
    wait_until(lambda: not bench.is_at_work(), 1, bench.left_over)
    assert not [name for name in bench.folders() if name.endswith(".partial")]


def test_a_merge_that_hangs_is_cancelled_within_a_second_too(bench: Bench, large_models: Models) -> None:
    number = bench.add("stuck", large_models)
    bench.start_worker()
    process = bench.wait_for_merge(number)

    bench.store.ask_cancel(number)
    wait_until(lambda: not _lives(process), 1, lambda: process)

    bench.wait_for(number, JobState.CANCELLED, seconds=1)
    assert bench.folders() == []


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_merge_that_is_killed_goes_on_in_another_process(bench: Bench, large_models: Models) -> None:
    number = bench.add("killed", large_models)
    bench.start_worker()

    bench.wait_for_merge(number).kill()

    assert bench.wait_for(number, JobState.DONE).attempt == 2
    assert bench.folders() == ["killed"]


def test_a_merge_that_is_killed_again_and_again_has_failed_and_the_next_one_runs(
    bench: Bench, large_models: Models, small_models: Models
) -> None:
    killed, after = bench.add("killed", large_models), bench.add("after", small_models)
    bench.start_worker()

    for attempt in (1, 2, 3):
        wait_until(lambda attempt=attempt: _is_at(bench, killed, attempt), 20, lambda: bench.store.get(killed))
        [process] = bench.processes("blockmerge.jobs.run")
        process.kill()

    assert str(bench.wait_for(killed, JobState.FAILED).error).startswith("The merge was killed, most likely out of")
    bench.wait_for(after, JobState.DONE)
    assert bench.folders() == ["after"]


def _is_at(bench: Bench, number: int, attempt: int) -> bool:
    """Whether a process has this attempt: just now, so before it can finish a unit of work."""
    job = bench.store.get(number)
    is_begun = job.attempt == attempt and job.state in {JobState.CHECKING, JobState.MERGING}
    return is_begun and len(bench.processes("blockmerge.jobs.run")) == 1


def test_a_stopped_job_that_is_cancelled_leaves_nothing(bench: Bench, large_models: Models) -> None:
    number = bench.add("stopped", large_models)
    bench.start_worker()
    process = bench.wait_for_merge(number)
    process.kill()
    bench.wait_for(number, JobState.WAITING)

    bench.store.ask_cancel(number)

    bench.wait_for(number, JobState.CANCELLED, seconds=3)
    wait_until(lambda: bench.folders() == [], 3, bench.folders)


def test_a_worker_that_is_told_to_stop_puts_its_job_back_in_line(bench: Bench, large_models: Models) -> None:
    number = bench.add("later", large_models)
    worker = bench.start_worker()
    bench.wait_for(number, JobState.MERGING)

    _stop(worker)

    job = bench.store.get(number)
    assert (job.state, job.attempt, job.crashes) == (JobState.WAITING, 2, 0)
    assert set(bench.folders()) <= {"later.partial"}  # what is finished stays for the next attempt
    assert bench.left_over() == []


def test_a_stopped_job_is_finished_by_the_next_worker_before_those_behind_it(
    bench: Bench, large_models: Models, small_models: Models
) -> None:
    first, second = bench.add("first", large_models), bench.add("second", small_models)
    worker = bench.start_worker()
    bench.wait_for(first, JobState.MERGING)
    _stop(worker)

    bench.start_worker()

    done = [bench.wait_for(number, JobState.DONE) for number in (first, second)]
    assert done[0].finished is not None
    assert done[1].started is not None
    assert done[0].finished <= done[1].started


def test_a_second_signal_ends_the_worker_at_once(bench: Bench, large_models: Models) -> None:
    number = bench.add("held", large_models)
    worker = bench.start_worker()
    process = bench.wait_for_merge(number)
    worker.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert worker.poll() is None

    worker.send_signal(signal.SIGTERM)

    assert worker.wait(1) == 1
    process.send_signal(signal.SIGCONT)
    wait_until(lambda: not bench.left_over(), 2, bench.left_over)


def test_a_worker_whose_parent_is_gone_stops_as_if_told_to(bench: Bench, large_models: Models) -> None:
    number = bench.add("later", large_models)
    worker = bench.start_worker()
    bench.wait_for(number, JobState.MERGING)

    assert worker.stdin is not None
    worker.stdin.close()

    assert worker.wait(10) == 0
    assert bench.store.get(number).ticket == Ticket(number, 2)
    assert set(bench.folders()) <= {"later.partial"}
    assert bench.left_over() == []


@pytest.mark.parametrize("queue", ["sqlite"], indirect=True)
def test_a_worker_may_do_two_jobs_at_once(bench: Bench, large_models: Models) -> None:
    two = replace(bench, settings=replace(bench.settings, jobs_at_once=2))
    numbers = [two.add(name, large_models) for name in ("first", "second")]
    two.start_worker()

    jobs = [two.wait_for(number, JobState.DONE) for number in numbers]
    assert all(job.started is not None and job.finished is not None for job in jobs)
    assert max(job.started or 0 for job in jobs) < min(job.finished or 0 for job in jobs)


@pytest.mark.parametrize("queue", ["sqlite"], indirect=True)
def test_a_queue_in_a_file_has_one_worker(bench: Bench) -> None:
    bench.start_worker()
    wait_until(lambda: bench.store.last_beat() is not None, 10, lambda: "no beat")

    with subprocess.Popen(
        [*psutil.Process(bench.started[0].pid).cmdline()],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=bench.environ(),
    ) as second:
        _, complaint = second.communicate(timeout=60)

    assert second.returncode == 1
    assert complaint.decode().startswith(f"Another worker has the queue {bench.settings.queue_file}. Stop it first")
    assert bench.started[0].poll() is None


@pytest.mark.parametrize("queue", ["postgres"], indirect=True)
@pytest.mark.parametrize(("home", "most"), [("other", 10.0), (None, 5.5)])
def test_a_job_goes_on_with_a_colleague_when_its_worker_is_killed(
    bench: Bench, large_models: Models, tmp_path: Path, home: str | None, most: float
) -> None:
    """At the same home the lock of the dead is free at once; elsewhere its beats stand still for six seconds."""
    number = bench.add("moved", large_models)
    first = bench.start_worker()
    merge = bench.wait_for_merge(number)
    second = bench.start_worker(tmp_path / home if home else None)
    wait_until(lambda: len(bench.store.beats()) == 2, 30, bench.store.beats)

    first.kill()
    killed = time.monotonic()
    merge.send_signal(signal.SIGCONT)
    wait_until(lambda: bench.store.get(number).attempt == 2, 10, lambda: bench.store.get(number))
    took = time.monotonic() - killed

    job = bench.wait_for(number, JobState.DONE)
    assert took < most
    assert job.crashes in (0, 1)  # 0 where a unit was finished before
    assert second.poll() is None
    assert bench.folders() == ["moved"]
    assert list(bench.store.beats()) == [job.worker]


@pytest.mark.parametrize("queue", ["postgres"], indirect=True)
def test_workers_share_the_jobs_of_a_queue(bench: Bench, small_models: Models) -> None:
    for _ in range(2):
        bench.start_worker()
    wait_until(lambda: len(bench.store.beats()) == 2, 30, bench.store.beats)

    numbers = [bench.add(f"job-{number}", small_models) for number in range(6)]

    jobs = [bench.wait_for(number, JobState.DONE) for number in numbers]
    assert len({job.worker for job in jobs}) == 2
    assert {job.attempt for job in jobs} <= {1, 2, 3}  # a ticket is renewed where a colleague took an earlier one
    assert len({job.digest for job in jobs}) == 1


@pytest.mark.parametrize("queue", ["postgres"], indirect=True)
def test_a_worker_that_stood_still_leaves_its_job_to_who_took_it_over(bench: Bench, large_models: Models) -> None:
    number = bench.add("moved", large_models)
    first = bench.start_worker()
    merge = bench.wait_for_merge(number)
    first.send_signal(signal.SIGSTOP)
    bench.start_worker()
    wait_until(lambda: bench.store.get(number).attempt == 2, 60, lambda: bench.store.get(number))

    first.send_signal(signal.SIGCONT)
    merge.send_signal(signal.SIGCONT)

    job = bench.wait_for(number, JobState.DONE)
    assert job.attempt >= 2
    assert "Another worker has taken over this job." in "\n".join(bench.store.read_log(number))
    assert bench.folders() == ["moved"]


def test_a_job_that_kills_its_worker_three_times_has_failed(bench: Bench, small_models: Models) -> None:
    number = bench.add("deadly", small_models)
    bench.store.move(Ticket(number, 1), {JobState.WAITING}, JobState.CHECKING, crashes=2)
    part_folder(bench.settings.output / "deadly").mkdir(parents=True)

    bench.start_worker()

    job = bench.wait_for(number, JobState.FAILED)
    assert str(job.error).startswith("The worker was killed 3 times during this merge, most likely out of memory.")
    assert bench.folders() == []


def test_a_job_that_says_it_runs_but_has_nobody_who_runs_it_gets_a_new_attempt(
    bench: Bench, small_models: Models
) -> None:
    bench.start_worker()
    wait_until(lambda: bench.store.last_beat() is not None, 10, lambda: "no beat")

    number = bench.add("lost", small_models)
    assert bench.store.move(Ticket(number, 1), {JobState.WAITING}, JobState.CHECKING)

    job = bench.wait_for(number, JobState.DONE)
    assert (job.attempt, job.crashes) == (2, 1)


def test_a_job_whose_ticket_was_used_up_without_a_start_gets_a_new_one(bench: Bench, small_models: Models) -> None:
    number = bench.add("passed-over", small_models)
    use_up(bench.settings, Ticket(number, 1))

    bench.start_worker()

    assert bench.wait_for(number, JobState.DONE).attempt == 2


def test_a_result_that_was_published_before_the_crash_is_recognised(bench: Bench, small_models: Models) -> None:
    first = bench.add("same", small_models)
    worker = bench.start_worker()
    done = bench.wait_for(first, JobState.DONE)
    _stop(worker)
    written = (done.out / "model.safetensors").stat().st_mtime_ns
    again = bench.add("same", small_models)
    bench.store.move(Ticket(again, 1), {JobState.WAITING}, JobState.CHECKING)

    bench.start_worker()

    assert bench.wait_for(again, JobState.DONE).digest == done.digest
    assert (done.out / "model.safetensors").stat().st_mtime_ns == written


@pytest.mark.parametrize("taken", ["mine", "mine.partial"])
def test_a_folder_that_is_no_job_s_is_left_alone(bench: Bench, small_models: Models, taken: str) -> None:
    (bench.settings.output / taken).mkdir(parents=True)
    (bench.settings.output / taken / "thesis.txt").write_text("mine")
    number = bench.add("mine", small_models)

    bench.start_worker()

    error = str(bench.wait_for(number, JobState.FAILED).error)
    assert error.startswith(str(bench.settings.output / taken))
    assert "Choose another name" in error
    assert (bench.settings.output / taken / "thesis.txt").read_text() == "mine"


def test_a_recipe_that_cannot_be_carried_out_fails_with_the_reason(bench: Bench, small_models: Models) -> None:
    recipe = {"blockmerge": 1, "models": {"a": str(small_models[0]), "b": "/nowhere"}, "weights": {"layer": 0.5}}
    number = bench.add_recipe("typo", json.dumps(recipe))

    bench.start_worker()

    assert "weights.layer: this key is unknown" in str(bench.wait_for(number, JobState.FAILED).error)
    assert bench.folders() == []
