"""Results are kept as long as the settings say, and only what is proven to be a job's goes."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from blockmerge.checkpoints.manifest import Manifest, TensorEntry, write_manifest
from blockmerge.core.tensors import DType
from blockmerge.jobs.results import free_name, remove_part_folder, sweep_results
from blockmerge.jobs.states import JobState, part_folder
from blockmerge.jobs.store import Store
from blockmerge.jobs.tables import JOBS
from tests.jobs.rows import bring, new_job

DAY = 24 * 3600


def _done(store: Store, out: Path, age: float) -> int:
    """A job that was done so many days ago, with its result."""
    out.mkdir(parents=True)
    manifest = Manifest("0", "blockmerge: 1\n", "0", "x86_64", {"w": TensorEntry(DType.FLOAT32, (1,), "00")})
    (out / "config.json").write_text("{}")
    write_manifest(out, manifest)
    job = store.add(replace(new_job(out.name), out=out))
    ticket = bring(store, job, JobState.UPLOADING)
    store.move(ticket, {JobState.UPLOADING}, JobState.DONE, digest=manifest.result_digest)
    with store.database.durable.begin() as connection:
        connection.execute(sa.update(JOBS).where(JOBS.c.id == job).values(finished=time.time() - age * DAY))
    return job


def test_results_go_when_they_were_kept_long_enough(store: Store, tmp_path: Path) -> None:
    old, new = _done(store, tmp_path / "old", 31), _done(store, tmp_path / "new", 29)

    sweep_results(store, 30)

    assert [path.name for path in tmp_path.iterdir() if path.name in ("old", "new")] == ["new"]
    assert store.get(old).deleted is not None
    assert store.get(new).deleted is None


def test_without_a_number_of_days_everything_is_kept(store: Store, tmp_path: Path) -> None:
    _done(store, tmp_path / "old", 10_000)

    sweep_results(store, None)

    assert (tmp_path / "old").exists()


def test_an_old_job_s_folder_that_is_another_result_now_is_left_alone_for_good(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = _done(store, tmp_path / "old", 31)
    (tmp_path / "old" / "blockmerge.json").unlink()

    for _ in range(2):
        sweep_results(store, 30)

    assert (tmp_path / "old" / "config.json").exists()
    assert [record.getMessage() for record in caplog.records] == [
        f"Job {job}: {tmp_path / 'old'} is no result any more, so it is left alone. Look at it yourself."
    ]


def test_a_part_folder_goes_only_if_a_merge_made_it(tmp_path: Path) -> None:
    for name, files in {"ours": (".blockmerge.journal", "model.safetensors"), "mine": ("thesis.txt",)}.items():
        part_folder(tmp_path / name).mkdir()
        for file in files:
            (part_folder(tmp_path / name) / file).write_text("")
        remove_part_folder(tmp_path / name)

    assert [path.name for path in tmp_path.iterdir()] == ["mine.partial"]


@pytest.mark.parametrize(("name", "free"), [("a", "a-2"), ("a-2", "a-3"), ("a-9", "a-10"), ("7", "7-2")])
def test_the_next_free_name_counts_on(tmp_path: Path, name: str, free: str) -> None:
    assert free_name(tmp_path / name, set()).name == free
