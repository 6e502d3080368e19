"""What jobs leave on the disk: finding names for it, and deleting what is proven to be a job's own, nothing else."""

import logging
import re
import shutil
import time
from collections.abc import Collection
from itertools import count
from pathlib import Path

from blockmerge.checkpoints.manifest import MANIFEST, read_manifest
from blockmerge.engine.journal import JOURNAL
from blockmerge.engine.target import LOCK
from blockmerge.errors import JobRequestError, VerifyError
from blockmerge.jobs.states import Job, part_folder
from blockmerge.jobs.store import Store

DAY = 24 * 3600.0  # seconds

_LOG = logging.getLogger(__name__)


def free_name(out: Path, taken: Collection[str]) -> Path:
    """The first of OUT-2, OUT-3, … that neither a folder nor one of the `taken` names (in lower case) has."""
    numbered = re.fullmatch(r"(.+)-(\d{1,4})", out.name)
    stem, number = numbered.groups() if numbered else (out.name, "1")
    names = (out.with_name(f"{stem}-{n}") for n in count(int(number) + 1))
    return next(
        path
        for path in names
        if path.name.lower() not in taken and not path.exists() and not part_folder(path).exists()
    )


def delete_result(job: Job) -> None:
    """Delete the files that a job's manifest names, and the folder unless something else is in it.

    Raises JobRequestError where the folder holds no result, or another one.
    """
    if not job.out.exists():
        return
    try:
        manifest = read_manifest(job.out)
    except VerifyError as error:
        raise JobRequestError(f"{job.out} is no result any more, so it is left alone. Look at it yourself.") from error
    if manifest.result_digest != job.digest:
        raise JobRequestError(f"{job.out} is not the result of job {job.id}, so it is left alone.")
    # The manifest goes last: a deletion that is interrupted can be started again.
    root = job.out.resolve()
    for name in (*manifest.files, MANIFEST):
        path = root / name
        if path.resolve() == path and path.is_relative_to(root):
            path.unlink(missing_ok=True)
            _remove_empty(path.parent, root)


def _remove_empty(folder: Path, root: Path) -> None:
    """A folder that holds nothing any more, and those above it up to the result's own."""
    while folder.is_relative_to(root) and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def sweep_results(store: Store, keep_days: int | None) -> None:
    """Delete the results that were kept for so many days; None keeps them all."""
    if keep_days is None:
        return
    for job in store.finished_before(time.time() - keep_days * DAY):
        try:
            delete_result(job)
        except JobRequestError as error:
            _LOG.warning("Job %d: %s", job.id, error)
        store.note_deleted(job.id)


def remove_part_folder(out: Path) -> None:
    """Only what a merge made: a folder of the user's may have come into that place."""
    folder = part_folder(out)
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {JOURNAL}
    if names and not any(name.startswith((JOURNAL, LOCK)) for name in names):
        return
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        _LOG.warning("%s could not be removed: %s", folder, error)
