"""What happens to models, folders and clocks while a job runs: the sentence that is said, and nothing lost."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from blockmerge.core.progress import Progress
from blockmerge.engine.journal import Journal, UnitRecord
from blockmerge.engine.loading import Transformers
from blockmerge.errors import JobRequestError
from blockmerge.jobs.merge_process import Died, MergeProcess
from blockmerge.jobs.messages import Ending, MergeDone, MergeFailed, Request
from blockmerge.jobs.own_jobs import OwnJobs
from blockmerge.jobs.recovery import fail, try_again
from blockmerge.jobs.states import LOCAL, JobState, part_folder
from blockmerge.jobs.store import Store
from blockmerge.settings import read_settings
from tests.jobs.bench import STAND_IN, write_hollow_model
from tests.jobs.rows import bring, new_job


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[MergeProcess]:
    monkeypatch.setenv("PYTHONPATH", str(STAND_IN))
    with Transformers() as transformers:
        started = MergeProcess(os.environ, transformers)
        yield started
        started.close()


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    """Large enough to be changed while they are merged; holes, so they take no room."""
    sizes = (2048, 8192, 256)
    return write_hollow_model(tmp_path / "a", 3, sizes), write_hollow_model(tmp_path / "b", 3, sizes)


def _merge(process: MergeProcess, models: tuple[Path, Path], out: Path, act: Callable[[], object]) -> Ending | Died:
    """How the merge ends if something happens as soon as its first bytes are written."""
    recipe = {"blockmerge": 1, "models": dict(zip("ab", map(str, models), strict=True)), "weights": {"layers": 0.5}}
    process.begin(Request(json.dumps(recipe), out, False), lambda _: None)
    acts = [act]
    while isinstance(message := process.receive(90), Progress):
        if 0 < message.done < message.total and acts:
            acts.pop()()
    assert message is not None
    return message


def _weights(model: Path) -> Path:
    return model / "model.safetensors"


def _overwrite(model: Path) -> None:
    with _weights(model).open("r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(b"\0\0")


def _replace(model: Path) -> None:
    fresh = model / "fresh"
    with fresh.open("wb") as file:
        file.truncate(_weights(model).stat().st_size)
    fresh.replace(_weights(model))


def _cut(model: Path) -> None:
    os.truncate(_weights(model), 1_000_000)


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (_overwrite, "model.safetensors of b changed during the merge. Let nothing change the models, then start it"),
        (_replace, "model.safetensors of b changed during the merge. Let nothing change the models, then start it"),
        (_cut, "A source file became shorter while it was read. Let nothing change the models during a merge, then"),
    ],
)
def test_a_model_that_changes_during_the_merge_fails_it(
    process: MergeProcess,
    models: tuple[Path, Path],
    tmp_path: Path,
    act: Callable[[Path], None],
    sentence: str,
) -> None:
    ending = _merge(process, models, tmp_path / "out", lambda: act(models[1]))

    assert isinstance(ending, MergeFailed)
    assert ending.error.startswith(sentence)
    assert not (tmp_path / "out").exists()
    assert not part_folder(tmp_path / "out").exists()


def test_a_folder_that_comes_to_the_result_s_place_is_left_alone(
    process: MergeProcess, models: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"

    ending = _merge(process, models, out, lambda: shutil.copytree(Path(__file__).parent / "stand_in", out))

    assert isinstance(ending, MergeFailed)
    assert ending.error.startswith(f"{out} exists already. Choose another name")
    assert (out / "transformers.py").exists()


@pytest.mark.parametrize("inside", ["a/out", "a", "."])
def test_a_result_in_the_place_of_a_model_is_refused(
    process: MergeProcess, models: tuple[Path, Path], tmp_path: Path, inside: str
) -> None:
    ending = _merge(process, models, tmp_path / inside, lambda: None)

    assert isinstance(ending, MergeFailed)
    assert ending.error.endswith(("Choose another folder.", "exists already. Choose another name."))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_an_output_folder_that_takes_no_folder_is_told(
    process: MergeProcess, models: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")

    ending = _merge(process, models, tmp_path / "file" / "out", lambda: None)

    assert isinstance(ending, MergeFailed)
    assert str(tmp_path / "file") in ending.error
    assert ending.error.endswith("Choose another folder.")


def _interrupted(store: Store, out: Path, units: int) -> int:
    """A job whose worker is gone, with so many finished units in its part folder."""
    job = store.add(replace(new_job("job"), out=out))
    bring(store, job, JobState.MERGING)
    part_folder(out).mkdir(parents=True)
    with Journal(part_folder(out)) as journal:
        journal.begin({"any": "merge"})
        for number in range(units):
            journal.append(UnitRecord(("model.safetensors", number), 100, {}, {}))
    return job


def test_four_restarts_that_make_progress_do_not_fail_a_long_job(store: Store, tmp_path: Path) -> None:
    job = _interrupted(store, tmp_path / "out", units=1)

    for restart in range(4):
        with Journal(part_folder(tmp_path / "out")) as journal:
            journal.append(UnitRecord(("model.safetensors", 10 + restart), 100, {}, {}))
        assert try_again(store, store.get(job), "killed")
        held = store.get(job)
        assert (held.state, held.crashes) == (JobState.WAITING, 0)
        assert store.move(held.ticket, {JobState.WAITING}, JobState.CHECKING, units=2 + restart)


def test_three_attempts_without_progress_fail_and_keep_what_is_finished(store: Store, tmp_path: Path) -> None:
    job = _interrupted(store, tmp_path / "out", units=2)

    assert try_again(store, replace(store.get(job), units=2), "It was killed.")
    for _ in range(2):
        assert store.move(store.get(job).ticket, {JobState.WAITING}, JobState.CHECKING, units=2)
        assert try_again(store, store.get(job), "It was killed.")

    held = store.get(job)
    assert (held.state, held.error, held.kept) == (JobState.FAILED, "It was killed.", 200)
    assert part_folder(tmp_path / "out").exists()


def test_a_third_crash_right_after_the_result_got_its_name_is_followed_by_an_attempt_that_recognises_it(
    store: Store, tmp_path: Path
) -> None:
    job = _interrupted(store, tmp_path / "out", units=0)
    part_folder(tmp_path / "out").rename(tmp_path / "out")

    last = replace(store.get(job), crashes=2)
    assert try_again(store, last, "It was killed.")

    assert (store.get(job).state, store.get(job).crashes) == (JobState.WAITING, 3)


def test_a_result_that_has_its_name_is_recognised_after_any_number_of_kills(store: Store, tmp_path: Path) -> None:
    job = _interrupted(store, tmp_path / "out", units=0)
    part_folder(tmp_path / "out").rename(tmp_path / "out")
    (tmp_path / "out" / "model.safetensors").write_bytes(b"weights")
    own = OwnJobs(store, read_settings({"BLOCKMERGE_HOME": str(tmp_path / "home")}), LOCAL)

    assert try_again(store, replace(store.get(job), crashes=3), "It was killed.")
    failed = store.get(job)
    with pytest.raises(JobRequestError, match="Let the job go on: then it can be deleted"):
        own.delete_files(job)
    own.retry(job)

    assert failed.state is JobState.FAILED
    assert failed.kept > 0
    assert store.get(job).begun
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_a_cancel_is_too_late_for_a_result_that_has_its_name(store: Store, tmp_path: Path) -> None:
    job = _interrupted(store, tmp_path / "out", units=0)
    part_folder(tmp_path / "out").rename(tmp_path / "out")
    store.ask_cancel(job)

    assert try_again(store, store.get(job), "It was killed.")

    assert store.get(job).state is JobState.WAITING
    assert not store.get(job).cancel_asked


@pytest.mark.parametrize("days", [-1, 1])
def test_a_clock_that_jumps_a_day_takes_no_progress_away_and_changes_no_order(
    store: Store, tmp_path: Path, days: int
) -> None:
    job = _interrupted(store, tmp_path / "out", units=1)
    for path in part_folder(tmp_path / "out").iterdir():
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime + days * 86400))

    assert try_again(store, store.get(job), "killed")
    later = store.add(new_job("later"))

    assert store.get(job).crashes == 0
    assert [held.id for held in store.live()] == [job, later]


def test_a_failed_job_without_a_finished_unit_leaves_no_part_folder(store: Store, tmp_path: Path) -> None:
    job = _interrupted(store, tmp_path / "out", units=0)

    assert fail(store, store.get(job), "why")

    assert store.get(job).kept == 0
    assert not part_folder(tmp_path / "out").exists()


def test_a_merge_is_done_in_spite_of_a_model_that_only_gets_a_new_file(
    process: MergeProcess, models: tuple[Path, Path], tmp_path: Path
) -> None:
    ending = _merge(process, models, tmp_path / "out", lambda: (models[0] / "notes.txt").write_text("new"))

    assert isinstance(ending, MergeDone)
