"""What outlasts this machine: every finished result, copied to a folder such as the bucket of a Space.

A bucket has no locks and takes files from their beginning to their end only, so no merge and no queue works in one.
What is there after a restart is offered as models.
"""

import logging
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blockmerge.checkpoints.manifest import MANIFEST, read_manifest
from blockmerge.errors import VerifyError
from blockmerge.jobs.states import Job, JobState
from blockmerge.jobs.store import Store

LOOK_EVERY = 10.0  # seconds
NEWEST = 1000  # jobs that are looked at

_LOG = logging.getLogger(__name__)


def count_outlived(store: Store, bucket: Path | None) -> int:
    """How many results in the bucket are of a queue that is gone; 0 where this one ever had a job."""
    if bucket is None or store.recent(1):
        return 0
    try:
        return sum((folder / MANIFEST).is_file() for folder in bucket.iterdir())
    except OSError:  # nothing was copied yet, or it is out of reach, which keep_results tells
        return 0


def keep_results(store: Store, bucket: Path) -> None:
    """Copy the results that the bucket does not hold yet; delete those there whose files were deleted here."""
    seen: set[str] = set()
    for job in store.recent(NEWEST):
        if job.state is not JobState.DONE or job.out.name in seen:
            continue  # or an older result of that name
        seen.add(job.out.name)
        kept = bucket / job.out.name
        is_kept = _digest(kept) == job.digest
        if job.deleted is not None and is_kept:
            shutil.rmtree(kept)
        elif job.deleted is None and not is_kept and _digest(job.out) == job.digest:
            _copy(job, kept)


def _digest(folder: Path) -> str | None:
    try:
        return read_manifest(folder).result_digest
    except VerifyError:
        return None


def _copy(job: Job, kept: Path) -> None:
    """The manifest goes last: what has none is no result, and is copied again."""
    for name in (*read_manifest(job.out).files, MANIFEST):
        (kept / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(job.out / name, kept / name)


@contextmanager
def kept_in(bucket: Path | None, store: Store) -> Iterator[None]:
    """Results are copied as long as this lasts; None is nowhere."""
    stopping = threading.Event()

    def keep(folder: Path) -> None:
        problem = ""
        while not stopping.wait(LOOK_EVERY):
            try:
                keep_results(store, folder)
                problem = ""
            except OSError as error:  # it is full, or out of reach for a while; told once
                if str(error) != problem:
                    _LOG.warning("Results cannot be copied to %s: %s. They are tried again.", folder, error)
                problem = str(error)

    if bucket is not None:
        threading.Thread(target=keep, args=[bucket], name="bucket", daemon=True).start()
    try:
        yield
    finally:
        stopping.set()
