"""What stops a merge on its way says so in a sentence; what could go on from there stays, all else goes."""

import os
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from blockmerge.core.progress import Progress, Stage
from blockmerge.errors import BlockmergeError, CheckpointError, MergeCancelledError, SourceChangedError, StorageError
from tests.engine.merges import contents, merge, plan_for, put
from tests.engine.test_target import at
from tests.jobs.bench import write_hollow_model
from tests.tiny_models import write_json, write_llama


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    return write_llama(tmp_path / "a"), write_llama(tmp_path / "b", seed=1)


def stopped(kind: type[BlockmergeError], models: tuple[Path, Path], report: Callable[[Progress], None]) -> str:
    """The sentence of a merge that fails while `report` watches; nothing is left beside the models."""
    folder = models[0].parent
    with pytest.raises(kind) as caught:
        merge(plan_for(*models, 0.5), folder / "out", report=report)
    assert sorted(path.name for path in folder.iterdir()) == sorted(model.name for model in models)
    return str(caught.value)


def test_cancelling_a_large_merge_stops_it_at_once(large_models: tuple[Path, Path], tmp_path: Path) -> None:
    started: list[float] = []

    def report(progress: Progress) -> None:
        if progress.stage is Stage.MERGE and progress.done and not started:
            started.append(time.monotonic())

    with pytest.raises(MergeCancelledError, match=r"^The merge was cancelled\. The unfinished result is removed\.$"):
        merge(plan_for(*large_models, 0.5), tmp_path / "out", report=report, is_cancelled=lambda: bool(started))

    assert time.monotonic() - started[0] < 2
    assert list(tmp_path.iterdir()) == []


def test_a_merge_that_is_over_in_a_moment_can_be_cancelled_too(models: tuple[Path, Path]) -> None:
    with pytest.raises(MergeCancelledError):
        merge(plan_for(*models, 0.5), models[0].parent / "out", is_cancelled=lambda: True)

    assert not (models[0].parent / "out").exists()


def test_a_source_with_another_content_than_at_the_start_is_noticed(models: tuple[Path, Path]) -> None:
    a, b = models

    def change() -> None:
        put(b, "model.norm.weight", b"\x00\x00")

    sentence = stopped(SourceChangedError, models, at(Stage.CHECK, change))

    assert sentence == (
        "model.safetensors of b changed during the merge. Let nothing change the models, then start it again."
    )
    assert contents(a)  # the inputs stay


def test_a_source_that_is_cut_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    sizes = (2048, 8192, 256)
    models = write_hollow_model(tmp_path / "a", 4, sizes), write_hollow_model(tmp_path / "b", 4, sizes)

    sentence = stopped(
        SourceChangedError, models, at(Stage.MERGE, lambda: os.truncate(models[1] / "model.safetensors", 5000))
    )

    assert sentence == (
        "A source file became shorter while it was read. Let nothing change the models during a merge, "
        "then start it again."
    )


def test_a_source_that_is_gone_is_named(models: tuple[Path, Path]) -> None:
    sentence = stopped(CheckpointError, models, at(Stage.CHECK, (models[1] / "model.safetensors").unlink))

    assert sentence == (
        "model.safetensors cannot be opened: No such file or directory. Check that it exists and may be read."
    )


def test_a_side_file_that_changes_is_noticed(models: tuple[Path, Path]) -> None:
    write_json(models[0] / "generation_config.json", {})

    sentence = stopped(
        SourceChangedError,
        models,
        at(Stage.CHECK, lambda: write_json(models[0] / "generation_config.json", {"more": 1})),
    )

    assert sentence.startswith("generation_config.json of a changed during the merge.")


@pytest.fixture
def small_files() -> Iterator[int]:
    """No file of this process may grow beyond so many bytes: what the system then says is much like a full disk."""
    most = 20_000
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    yield most
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_refuses_a_shard_is_a_sentence(models: tuple[Path, Path], small_files: int) -> None:
    assert (models[0] / "model.safetensors").stat().st_size > small_files

    sentence = stopped(StorageError, models, lambda _: None)

    assert sentence == (
        "A file of 0.00 GB could not be made: File too large. Check the disk, or choose a folder on another one."
    )


def test_a_disk_that_refuses_a_side_file_is_a_sentence(tmp_path: Path, small_files: int) -> None:
    sizes = {"layers": 2, "hidden": 8, "vocab": 16}
    a, b = write_llama(tmp_path / "a", **sizes), write_llama(tmp_path / "b", seed=1, **sizes)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    (a / "large.txt").write_bytes(bytes(small_files + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    with pytest.raises(StorageError, match=r"^A file could not be written: File too large\."):
        merge(plan_for(a, b, 0.5), tmp_path / "out")

    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    merge(plan_for(a, b, 0.5), tmp_path / "out")  # the shards of the first attempt are not lost
    assert (tmp_path / "out" / "large.txt").is_file()
