"""Finished results are copied to a folder that outlasts the machine."""

import logging
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from blockmerge.checkpoints.manifest import MANIFEST, Manifest, TensorEntry, read_manifest, write_manifest
from blockmerge.core.tensors import DType
from blockmerge.jobs import bucket
from blockmerge.jobs.bucket import count_outlived, keep_results, kept_in
from blockmerge.jobs.results import delete_result
from blockmerge.jobs.states import JobState, NewJob, Ticket
from blockmerge.jobs.store import Store
from tests.ui.conftest import wait_until

_ROAD = (JobState.WAITING, JobState.CHECKING, JobState.MERGING, JobState.VERIFYING, JobState.DONE)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path / 'queue.db'}") as held:
        yield held


def finish(store: Store, out: Path, weights: bytes = b"weights") -> int:
    """A finished job with a folder in its result."""
    (out / "2_Dense").mkdir(parents=True)
    (out / "model.safetensors").write_bytes(weights)
    (out / "2_Dense" / "config.json").write_text("{}")
    entry = TensorEntry(DType.FLOAT32, (1,), weights.hex())
    write_manifest(out, Manifest("0", "blockmerge: 1\n", "0", "x86_64", {"w": entry}))
    job = store.add(NewJob(out.name, "", out, ("a", "b")))
    for before, after in pairwise(_ROAD):
        fields = {"digest": read_manifest(out).result_digest} if after is JobState.DONE else {}
        store.move(Ticket(job, 1), {before}, after, **fields)
    return job


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_result_is_copied_whole_and_once(store: Store, tmp_path: Path) -> None:
    finish(store, tmp_path / "output" / "merged")
    store.add(NewJob("waiting", "", tmp_path / "output" / "waiting", ("a", "b")))

    keep_results(store, tmp_path / "bucket")
    kept = tmp_path / "bucket" / "merged"
    written = (kept / "model.safetensors").stat().st_mtime_ns
    keep_results(store, tmp_path / "bucket")

    assert files(kept) == files(tmp_path / "output" / "merged")
    assert {path.name for path in (tmp_path / "bucket").iterdir()} == {"merged"}
    assert (kept / "model.safetensors").stat().st_mtime_ns == written


def test_a_copy_that_was_cut_off_is_made_again(store: Store, tmp_path: Path) -> None:
    finish(store, tmp_path / "output" / "merged")
    keep_results(store, tmp_path / "bucket")
    kept = tmp_path / "bucket" / "merged"
    (kept / MANIFEST).unlink()
    (kept / "model.safetensors").write_bytes(b"wei")

    keep_results(store, tmp_path / "bucket")

    assert files(kept) == files(tmp_path / "output" / "merged")


def test_files_that_are_deleted_here_are_deleted_there_and_a_lost_disk_deletes_nothing(
    store: Store, tmp_path: Path
) -> None:
    deleted, lost = (finish(store, tmp_path / "output" / name) for name in ("deleted", "lost"))
    keep_results(store, tmp_path / "bucket")
    for job in (deleted, lost):
        delete_result(store.get(job))
    store.note_deleted(deleted)

    keep_results(store, tmp_path / "bucket")

    assert [path.name for path in (tmp_path / "bucket").iterdir()] == ["lost"]


@pytest.mark.parametrize("weights", [b"other weights", b"weights"])
def test_another_result_of_the_name_takes_the_place_of_the_first(store: Store, tmp_path: Path, weights: bytes) -> None:
    out = tmp_path / "output" / "merged"
    first = finish(store, out)
    keep_results(store, tmp_path / "bucket")
    delete_result(store.get(first))
    store.note_deleted(first)
    finish(store, out, weights)

    keep_results(store, tmp_path / "bucket")

    assert files(tmp_path / "bucket" / "merged") == files(out)


def test_a_bucket_out_of_reach_is_told_once_and_tried_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bucket, "LOOK_EVERY", 0.01)
    finish(store, tmp_path / "output" / "merged")
    folder = tmp_path / "bucket"
    folder.write_text("a file where the folder should be")

    with caplog.at_level(logging.WARNING), kept_in(folder, store):
        wait_until(lambda: bool(caplog.records))
        folder.unlink()
        wait_until(lambda: (folder / "merged" / MANIFEST).exists())

    [record] = caplog.records
    assert record.getMessage().startswith(f"Results cannot be copied to {folder}: ")
    assert record.getMessage().endswith(". They are tried again.")


def test_a_new_queue_knows_how_many_results_outlived_the_one_before(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "bucket"
    assert count_outlived(store, folder) == count_outlived(store, None) == 0
    for name in ("first", "second"):
        finish(store, tmp_path / "output" / name)
    keep_results(store, folder)
    (folder / "half").mkdir()  # a copy that was cut off

    assert count_outlived(store, folder) == 0
    with Store(f"sqlite:///{tmp_path / 'new.db'}") as new:
        assert count_outlived(new, folder) == 2
