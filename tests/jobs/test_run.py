"""The merge process alone, spoken to over its pipes."""

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from blockmerge.core.progress import Progress, Stage
from blockmerge.engine.gpu import find_gpu
from blockmerge.engine.loading import Transformers
from blockmerge.jobs.merge_process import Died, MergeProcess
from blockmerge.jobs.messages import Ending, MergeDone, MergeFailed, MergeStopped, Request
from blockmerge.jobs.process import close_stdin, start_python
from tests.jobs.bench import wait_until

Models = tuple[Path, Path]


@pytest.fixture(scope="module")
def transformers() -> Iterator[Transformers]:
    with Transformers() as started:
        yield started


@pytest.fixture
def process(transformers: Transformers) -> Iterator[MergeProcess]:
    started = MergeProcess(os.environ, transformers)
    yield started
    started.close()


def _request(folder: Path, models: Models) -> Request:
    recipe = {
        "blockmerge": 1,
        "models": {"a": str(models[0]), "b": str(models[1])},
        "weights": {"layers": 0.5},
    }
    return Request(json.dumps(recipe), folder / "out", False)


def _listen(process: MergeProcess) -> tuple[list[Progress], Ending | Died]:
    heard: list[Progress] = []
    while isinstance(message := process.receive(30), Progress):
        heard.append(message)
    assert message is not None
    return heard, message


def test_it_tells_every_stage_and_then_what_came_out(
    process: MergeProcess, tmp_path: Path, small_models: Models
) -> None:
    process.begin(_request(tmp_path, small_models), lambda _: None)

    heard, ending = _listen(process)

    assert list(dict.fromkeys(progress.stage for progress in heard)) == [
        Stage.CHECK,
        Stage.MERGE,
        Stage.VERIFY,
        Stage.SAVE,
    ]
    assert isinstance(ending, MergeDone)
    assert {progress.total for progress in heard} == {ending.nbytes}
    assert ending.nbytes == (tmp_path / "out" / "model.safetensors").stat().st_size - _header(tmp_path / "out")
    assert len(ending.digest) == 32
    assert isinstance(process.receive(5), Died)


def _header(folder: Path) -> int:
    with (folder / "model.safetensors").open("rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")


def test_it_says_which_gpu_it_sees(process: MergeProcess) -> None:
    wait_until(lambda: process.found is not None, 60, lambda: process.found)

    assert process.found == find_gpu()


def test_a_merge_for_a_gpu_fails_where_there_is_none(
    transformers: Transformers, tmp_path: Path, small_models: Models
) -> None:
    process = MergeProcess({**os.environ, "CUDA_VISIBLE_DEVICES": ""}, transformers)
    request = _request(tmp_path, small_models)
    karcher = request.recipe.replace('"models"', '"method": "karcher", "models"')

    process.begin(replace(request, recipe=karcher, device="cuda"), lambda _: None)
    _, ending = _listen(process)
    process.close()

    assert isinstance(ending, MergeFailed)
    assert ending.error.startswith("device cuda: no CUDA GPU was found (torch ")
    assert list(tmp_path.glob("out*")) == []


def test_it_speaks_at_most_ten_times_a_second(process: MergeProcess, tmp_path: Path, large_models: Models) -> None:
    process.begin(_request(tmp_path, large_models), lambda _: None)
    _wait_for_bytes(process)
    start = time.monotonic()

    heard = 0
    while time.monotonic() < start + 0.5:
        heard += process.receive(0.05) is not None

    # Five in half a second, and up to four more where a stage ends and another begins.
    assert 1 <= heard <= 9


def _wait_for_bytes(process: MergeProcess) -> None:
    while not (isinstance(message := process.receive(30), Progress) and 0 < message.done < message.total):
        assert isinstance(message, Progress)


def test_it_stops_when_told_to_and_cleans_up(process: MergeProcess, tmp_path: Path, large_models: Models) -> None:
    process.begin(_request(tmp_path, large_models), lambda _: None)
    _wait_for_bytes(process)

    process.cancel()

    assert isinstance(_listen(process)[1], MergeStopped)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.partial").exists()


def test_what_a_user_can_mend_is_said_in_the_same_words_as_everywhere(
    process: MergeProcess, tmp_path: Path, small_models: Models
) -> None:
    (tmp_path / "out").mkdir()

    process.begin(_request(tmp_path, small_models), lambda _: None)

    assert _listen(process)[1] == MergeFailed(f"{tmp_path / 'out'} exists already. Choose another name.")


def test_a_bug_is_a_failed_merge_with_its_traceback_in_the_log(
    process: MergeProcess, tmp_path: Path, small_models: Models
) -> None:
    request = replace(_request(tmp_path, small_models), out=Path(f"{tmp_path}/no\0name"))
    log: list[str] = []

    process.begin(request, log.append)

    assert _listen(process)[1] == MergeFailed("The merge crashed (ValueError). Its log says where.")
    assert isinstance(process.receive(10), Died)
    assert "Traceback (most recent call last):" in log


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of one process")
def test_a_merge_that_needs_more_memory_than_it_may_take_is_told_so(
    process: MergeProcess, tmp_path: Path, large_models: Models
) -> None:
    process.begin(replace(_request(tmp_path, large_models), memory=1), lambda _: None)

    ending = _listen(process)[1]

    assert isinstance(ending, MergeFailed)
    assert ending.error.startswith("The merge ran out of memory. Close other programs, or merge on a machine with more")


def test_it_dies_of_a_signal_like_any_process(process: MergeProcess) -> None:
    process.kill()

    assert process.receive(5) == Died(-9)
    assert not process.is_alive


def test_it_ends_when_nobody_is_there_to_want_it() -> None:
    process = start_python("blockmerge.jobs.run", os.environ)

    close_stdin(process)

    assert process.wait(60) == 1  # as soon as torch is imported
