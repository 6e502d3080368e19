"""Where a result goes: the folder it is made in, and how it comes to its name."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from blockmerge.checkpoints.files import sync_folder
from blockmerge.core.plan import Plan
from blockmerge.errors import OutputExistsError, PlanError, StorageError

LOCK = ".blockmerge.lock"
PATIENCE = 10.0  # seconds for another merge's process to go: one that was killed may take a moment


@dataclass(frozen=True, slots=True)
class Target:
    """Where a result goes. `overwrite` replaces a folder that is there; `discard` drops an unfinished part folder."""

    path: Path
    overwrite: bool = False
    discard: bool = False

    @property
    def place(self) -> Path:
        """The path without dots and links: where the folder really lies, or will."""
        return Path(os.path.realpath(self.path))

    @property
    def partial(self) -> Path:
        return Path(f"{self.place}.partial")

    @property
    def old(self) -> Path:
        """Where a folder that is replaced waits until the new one stands."""
        return Path(f"{self.place}.old")


def check_target(plan: Plan, target: Target) -> None:
    """Refuse a target that would touch an input or something of the user's.

    Raises PlanError, OutputExistsError, or StorageError where no folder can be.
    """
    with _sentence(target.path):
        _refuse_inputs(plan, target)
        _refuse_taken(target)
        if target.overwrite and target.old.exists():
            raise OutputExistsError(
                f"{target.old} is in the way: the old result would wait there. Rename or delete it."
            )
        if target.partial.exists() and not target.discard:
            raise OutputExistsError(
                f"{target.partial} is left from a merge that did not finish. Add --discard to delete it and start anew."
            )


def _refuse_inputs(plan: Plan, target: Target) -> None:
    for place, shown in ((target.place, target.path), (target.partial, target.partial), (target.old, target.old)):
        for key, checkpoint in plan.checkpoints.items():
            folder = checkpoint.folder.resolve()
            if place.is_relative_to(folder) or folder.is_relative_to(place):
                raise PlanError(
                    f"{shown} lies in the same place as model {key}, {checkpoint.folder}. Choose another folder."
                )


def _refuse_taken(target: Target) -> None:
    if target.path.exists() and not target.path.is_dir():
        raise OutputExistsError(f"{target.path} is a file. Choose another name.")
    if target.path.exists() and not target.overwrite:
        raise OutputExistsError(f"{target.path} exists already. Choose another name, or add --overwrite to replace it.")
    if Path.cwd().is_relative_to(target.place):
        raise OutputExistsError(f"{target.path} is the folder you are in, or one above it. Choose another name.")


@contextmanager
def part_folder(target: Target) -> Iterator[Path]:
    """An empty, locked part folder; removed on the way out unless it was published."""
    with _parents_of(target.partial):
        with _sentence(target.partial):
            target.partial.mkdir(exist_ok=target.discard)
        lock = FileLock(target.partial / LOCK)
        try:
            lock.acquire(timeout=PATIENCE)
        except Timeout as error:
            raise OutputExistsError(
                f"{target.partial} is being written by another merge. Wait for it, or cancel it."
            ) from error
        try:
            _empty(target.partial)
            yield target.partial
        finally:
            lock.release()
            if target.partial.exists():
                shutil.rmtree(target.partial)


@contextmanager
def _parents_of(folder: Path) -> Iterator[None]:
    """The folders above; those that had to be made go again if they stay empty."""
    missing = [parent for parent in folder.parents if not parent.exists()]
    try:
        with _sentence(folder.parent):
            folder.parent.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for parent in missing:
            with suppress(OSError):
                parent.rmdir()


@contextmanager
def _sentence(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{folder} cannot be made: {error.strerror}. Choose another folder.") from error


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.name == LOCK:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def publish(target: Target) -> None:
    """Give the verified folder its name; the old one, where that was asked for, goes only after the new one stands."""
    (target.partial / LOCK).unlink(missing_ok=True)
    _refuse_taken(target)  # again, as a folder of that name may have come while the merge ran
    replaced = target.place.exists()
    try:
        if replaced:
            target.place.rename(target.old)
        target.partial.rename(target.place)
    except OSError as error:
        if replaced and not target.place.exists():
            target.old.rename(target.place)
        raise StorageError(f"The result could not be given its name {target.path}: {error.strerror}.") from error
    sync_folder(target.place.parent)
    if replaced:
        shutil.rmtree(target.old)
