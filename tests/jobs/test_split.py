"""One job over several workers on one PostgreSQL: real workers, killed, cancelled and held in the middle."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from blockmerge.checkpoints.models import open_models
from blockmerge.core.plan import make_plan
from blockmerge.core.recipe import parse_recipe
from blockmerge.engine.target import LOCK
from blockmerge.jobs.parts import Parts
from blockmerge.jobs.states import JobState
from blockmerge.jobs.tables import PARTS
from tests.engine.merges import merge
from tests.jobs.bench import Bench, wait_until, write_hollow_model
from tests.tiny_models import write_llama

Models = tuple[Path, Path]
pytestmark = pytest.mark.parametrize("queue", ["postgres"], indirect=True)


@pytest.fixture
def crew(bench: Bench) -> Iterator[Bench]:
    """A queue whose jobs are split, whatever their size; what is held there does not stay."""
    yield replace(bench, settings=replace(bench.settings, split_from=1))
    for process in bench.processes("blockmerge.jobs.run"):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)


def start_two(crew: Bench) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
    workers = crew.start_worker(), crew.start_worker()
    wait_until(lambda: len(crew.store.beats()) == 2, 30, crew.store.beats)
    time.sleep(0.5)  # until each has seen the other
    return workers


def add(crew: Bench, name: str, models: Models) -> int:
    """A job of 1 GB in six parts or so; half of it, or linear, may be done before two workers are caught at it."""
    recipe = {
        "blockmerge": 1,
        "method": "slerp",
        "models": {"a": str(models[0]), "b": str(models[1])},
        "weights": {"layers": 0.5},
        "output": {"shard_size": "200MB", "dtype": "float32"},
    }
    return crew.add_recipe(name, json.dumps(recipe))


def digest_of_one(recipe: str, folder: Path) -> str:
    """What one process makes of it that nobody helps."""
    parsed = parse_recipe(recipe)
    return merge(make_plan(parsed, open_models(parsed.references)), folder).digest


def opened(process: psutil.Process) -> list[str]:
    try:
        return [Path(file.path).name for file in process.open_files() if ".partial" in file.path]
    except psutil.NoSuchProcess:
        return []


def hold(crew: Bench) -> tuple[psutil.Process, psutil.Process]:
    """The merge process that leads and the one that helps, each in the middle of a part, and stopped there."""
    held: dict[bool, psutil.Process] = {}

    def both() -> bool:
        for process in crew.processes("blockmerge.jobs.run"):
            names = opened(process)
            if any(name.startswith(f"{LOCK}.") for name in names) and (LOCK in names) not in held:
                process.send_signal(signal.SIGSTOP)
                if any(name.startswith(f"{LOCK}.") for name in opened(process)):
                    held[LOCK in names] = process
                else:  # it has let go meanwhile
                    process.send_signal(signal.SIGCONT)
        return len(held) == 2

    wait_until(both, 60, lambda: (held, crew.store.recent(1)))
    return held[True], held[False]


def worker_of(process: psutil.Process, workers: tuple[subprocess.Popen[bytes], ...]) -> subprocess.Popen[bytes]:
    return next(worker for worker in workers if worker.pid == process.ppid())


def holds(crew: Bench, worker: str) -> bool:
    """Whether a part that is not whole is this worker's."""
    with crew.store.database.quick.connect() as connection:
        query = sa.select(PARTS.c.number).where(PARTS.c.worker == worker, sa.not_(PARTS.c.whole))
        return connection.execute(query).first() is not None


def log_of(crew: Bench, number: int) -> str:
    return "\n".join(crew.store.read_log(number))


def test_two_workers_make_together_what_one_makes_alone(crew: Bench, tmp_path: Path) -> None:
    sizes = {"layers": 14, "hidden": 96, "vocab": 600, "dtype": "float32"}
    a, b, c = (str(write_llama(tmp_path / name, seed=n, **sizes)) for n, name in enumerate("abc"))  # type: ignore[arg-type]
    tied = str(write_llama(tmp_path / "tied", seed=3, tied=True, **sizes))  # type: ignore[arg-type]
    recipes = [
        {"method": "linear", "models": {"a": a, "b": b}, "weights": {"layers": 0.3}},
        {
            "method": "ties",
            "models": {"a": a, "b": b},
            "base": c,
            "weights": {"a": {"layers": 0.5}, "b": {"layers": 0.7}},
        },
        {"method": "slerp", "models": {"a": tied, "b": b}, "weights": {"layers": 0.3}},
    ]
    texts = [json.dumps({"blockmerge": 1, **recipe, "output": {"shard_size": "1MB"}}) for recipe in recipes]
    start_two(crew)

    numbers = [crew.add_recipe(f"job-{n}", text) for n, text in enumerate(texts)]

    jobs = [crew.wait_for(number, JobState.DONE, JobState.FAILED) for number in numbers]
    assert [job.digest for job in jobs] == [digest_of_one(text, tmp_path / f"one-{n}") for n, text in enumerate(texts)]
    for n, job in enumerate(jobs):
        assert "All parts are whole" in log_of(crew, job.id)
        ours, theirs = job.out, tmp_path / f"one-{n}"
        assert {path.name for path in ours.iterdir()} == {path.name for path in theirs.iterdir()}


def test_a_large_job_is_merged_by_both_workers(crew: Bench, large_models: Models) -> None:
    start_two(crew)
    number = add(crew, "shared", large_models)

    leader, helper = hold(crew)
    leader.send_signal(signal.SIGCONT)
    helper.send_signal(signal.SIGCONT)

    job = crew.wait_for(number, JobState.DONE)
    assert job.progress is not None
    assert job.progress.total == job.nbytes
    [said] = [line for line in crew.store.read_log(number) if "All parts are whole" in line]
    assert all(f" by {worker}" in said for worker in crew.store.beats()), said
    assert crew.folders() == ["shared"]
    assert not [path.name for path in job.out.iterdir() if path.name.startswith(".")]


def test_when_a_helper_is_killed_its_part_is_merged_by_who_is_left(
    crew: Bench, large_models: Models, tmp_path: Path
) -> None:
    workers = start_two(crew)
    number = add(crew, "shared", large_models)
    leader, helper = hold(crew)

    worker_of(helper, workers).kill()
    killed = time.monotonic()
    for process in (leader, helper):
        process.send_signal(signal.SIGCONT)
    dead = next(worker for worker in crew.store.beats() if worker != crew.store.get(number).worker)
    wait_until(lambda: not holds(crew, dead), 10, crew.store.beats)
    taken_over = time.monotonic() - killed

    job = crew.wait_for(number, JobState.DONE)
    print(f"taken over {taken_over:.1f} s after the kill, done after {time.monotonic() - killed:.1f} s")
    assert job.attempt == 1
    assert job.digest == digest_of_one(job.recipe, tmp_path / "one")
    assert list(crew.store.beats()) == [job.worker]


def test_when_the_leader_is_killed_the_helper_finishes_the_job_alone(
    crew: Bench, large_models: Models, tmp_path: Path
) -> None:
    workers = start_two(crew)
    number = add(crew, "shared", large_models)
    leader, helper = hold(crew)

    worker_of(leader, workers).kill()
    killed = time.monotonic()
    for process in (leader, helper):
        process.send_signal(signal.SIGCONT)
    wait_until(lambda: crew.store.get(number).attempt > 1, 10, lambda: crew.store.get(number))
    again = time.monotonic() - killed

    job = crew.wait_for(number, JobState.DONE)
    assert again < 10
    assert job.digest == digest_of_one(job.recipe, tmp_path / "one")
    assert list(crew.store.beats()) == [job.worker]
    assert f" by {job.worker}" in log_of(crew, number).rpartition("All parts are whole")[2]
    assert crew.folders() == ["shared"]


def test_a_cancel_ends_all_parts_within_a_second_and_leaves_nothing(crew: Bench, large_models: Models) -> None:
    start_two(crew)
    number = add(crew, "unwanted", large_models)
    for process in hold(crew):
        process.send_signal(signal.SIGCONT)

    asked = time.monotonic()
    crew.store.ask_cancel(number)
    wait_until(lambda: not any(map(opened, crew.processes("blockmerge.jobs.run"))), 1, crew.left_over)
    crew.wait_for(number, JobState.CANCELLED, seconds=1)
    took = time.monotonic() - asked

    assert took < 2
    time.sleep(1)
    assert crew.folders() == []
    assert not Parts(crew.store.database).is_split(number)


def test_a_cancel_does_not_wait_for_merges_that_hang(crew: Bench, large_models: Models) -> None:
    start_two(crew)
    number = add(crew, "stuck", large_models)
    hold(crew)

    crew.store.ask_cancel(number)

    crew.wait_for(number, JobState.CANCELLED, seconds=2)
    assert not any(map(opened, crew.processes("blockmerge.jobs.run")))
    assert crew.folders() == []


def test_a_cancel_of_a_job_whose_leader_is_dead_leaves_nothing(crew: Bench, large_models: Models) -> None:
    workers = start_two(crew)
    number = add(crew, "unwanted", large_models)
    leader, helper = hold(crew)

    worker_of(leader, workers).kill()
    leader.send_signal(signal.SIGCONT)
    crew.store.ask_cancel(number)
    wait_until(lambda: not opened(helper), 1, lambda: helper)

    crew.wait_for(number, JobState.CANCELLED, seconds=12)
    assert not any(map(opened, crew.processes("blockmerge.jobs.run")))
    wait_until(lambda: crew.folders() == [], 2, crew.folders)


def test_what_fails_at_the_leader_ends_all_parts_and_leaves_nothing(crew: Bench, tmp_path: Path) -> None:
    sizes = (2048, 8192, 256)
    models = write_hollow_model(tmp_path / "a", 4, sizes), write_hollow_model(tmp_path / "b", 4, sizes)
    start_two(crew)
    number = add(crew, "spoiled", models)
    leader, _ = hold(crew)

    os.truncate(models[0] / "model.safetensors", 1_000_000)
    leader.send_signal(signal.SIGCONT)

    job = crew.wait_for(number, JobState.FAILED)
    assert str(job.error).startswith("A source file became shorter while it was read.")
    assert not any(map(opened, crew.processes("blockmerge.jobs.run")))
    assert crew.folders() == []


def test_a_helper_that_is_told_to_stop_leaves_its_part_to_the_leader(crew: Bench, large_models: Models) -> None:
    workers = start_two(crew)
    number = add(crew, "shared", large_models)
    leader, helper = hold(crew)
    worker = worker_of(helper, workers)

    worker.send_signal(signal.SIGTERM)
    assert worker.wait(10) == 0
    leader.send_signal(signal.SIGCONT)

    assert crew.wait_for(number, JobState.DONE).attempt == 1


def test_a_leader_that_is_told_to_stop_leaves_the_job_to_its_helper(crew: Bench, large_models: Models) -> None:
    workers = start_two(crew)
    number = add(crew, "shared", large_models)
    leader, helper = hold(crew)
    worker = worker_of(leader, workers)
    leader.send_signal(signal.SIGCONT)

    worker.send_signal(signal.SIGTERM)
    assert worker.wait(10) == 0
    helper.send_signal(signal.SIGCONT)

    job = crew.wait_for(number, JobState.DONE)
    assert (job.crashes, list(crew.store.beats())) == (0, [job.worker])


def test_a_worker_on_another_kind_of_processor_does_not_help(
    crew: Bench, large_models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew.start_worker()
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")  # torch takes the kernels of the oldest processors
    crew.start_worker()
    wait_until(lambda: len(crew.store.beats()) == 2, 30, crew.store.beats)
    time.sleep(0.5)

    job = crew.wait_for(add(crew, "shared", large_models), JobState.DONE)

    [said] = [line for line in crew.store.read_log(job.id) if "All parts are whole" in line]
    assert said.endswith(f"All parts are whole: {said.split()[-3]} by {job.worker}.")


def test_a_job_is_not_split_where_there_is_one_worker_or_it_is_small(bench: Bench, small_models: Models) -> None:
    alone = replace(bench, settings=replace(bench.settings, split_from=1))
    alone.start_worker()
    first = alone.wait_for(add(alone, "alone", small_models), JobState.DONE)
    bench.start_worker()
    wait_until(lambda: len(bench.store.beats()) == 2, 30, bench.store.beats)
    small = bench.wait_for(add(bench, "small", small_models), JobState.DONE)

    for job in (first, small):
        assert "Split into" not in log_of(bench, job.id)
