"""Where a result goes: the folder it is made in, and how it comes to its name."""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from blockmerge.checkpoints.files import disk_failure, sync_folder
from blockmerge.checkpoints.manifest import read_manifest
from blockmerge.core.plan import Plan
from blockmerge.engine.journal import JOURNAL, Journal, count_units, read_identity
from blockmerge.errors import (
    BlockmergeError,
    GpuError,
    HubError,
    HubRefusalError,
    MergePausedError,
    OutputExistsError,
    PlanError,
    StorageError,
    VerifyError,
)

LOCK = ".blockmerge.lock"
PATIENCE = 10.0  # seconds for another merge's process to go: one that was killed may take a moment
LOOK_EVERY = 0.1  # seconds between two looks whether a shard is free


@dataclass(frozen=True, slots=True)
class Target:
    """Where a result goes. `overwrite` replaces a folder that is there; `discard` drops an unfinished part folder.

    Without it, such a folder of the same merge is taken up where it was left.
    """

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


def _refuse_inputs(plan: Plan, target: Target) -> None:
    for place, shown in ((target.place, target.path), (target.partial, target.partial), (target.old, target.old)):
        for key, checkpoint in plan.checkpoints.items():
            folder = checkpoint.folder.resolve()
            if place.is_relative_to(folder) or folder.is_relative_to(place):
                raise PlanError(
                    f"{shown} lies in the same place as model {key}, {checkpoint.folder}. Choose another folder."
                )


def _refuse_taken(target: Target) -> None:
    is_taken = target.place.exists()  # without .. in it: those do not hide a name that is too long
    if is_taken and not target.path.is_dir():
        raise OutputExistsError(f"{target.path} is a file. Choose another name.")
    if is_taken and not target.overwrite:
        raise OutputExistsError(f"{target.path} exists already. Choose another name, or add --overwrite to replace it.")
    if Path.cwd().is_relative_to(target.place):
        raise OutputExistsError(f"{target.path} is the folder you are in, or one above it. Choose another name.")
    if is_taken and any(target.place.iterdir()):
        _refuse_foreign(target)


def _refuse_foreign(target: Target) -> None:
    """Only a result may be replaced: a wrong path must not cost anybody their models, or anything else."""
    try:
        read_manifest(target.place)
    except VerifyError as error:
        raise OutputExistsError(
            f"{target.path} holds no result of blockmerge, so it is not replaced. "
            "Choose another name, or delete that folder yourself."
        ) from error


@contextmanager
def part_folder(target: Target, identity: Mapping[str, object], *, is_temporary: bool = False) -> Iterator[Journal]:
    """The locked part folder and its journal, new or taken up from an attempt at the merge with this identity.

    On the way out it is removed unless it was published, or can be taken up again: after a pause, a full disk, a
    failure of the Hub or of the GPU, or a crash, if any unit was finished. One that `is_temporary` never becomes the
    result. Raises OutputExistsError where it is of another merge, and StorageError for what the system refuses
    meanwhile.
    """
    try:
        with _locked(target, identity, is_temporary) as journal:
            yield journal
    except OSError as error:
        raise disk_failure(f"{target.partial} could not be written", error) from error


@contextmanager
def _locked(target: Target, identity: Mapping[str, object], is_temporary: bool) -> Iterator[Journal]:
    with _parents_of(target.partial):
        _refuse_left_over(target, identity)
        lock = _lock(target.partial)
        stays = True
        try:
            _refuse_left_over(target, identity)  # again, as another merge may have had it until now
            if target.discard or read_identity(target.partial) is None:
                _empty(target.partial)
            with Journal(target.partial) as journal, ExitStack() as stack:
                if journal.is_new:
                    journal.begin(identity)

                @stack.push
                def leave(_: object, error: BaseException | None, __: object) -> None:
                    nonlocal stays
                    stays = not is_temporary if error is None else _can_go_on(error) and count_units(target.partial) > 0

                yield journal
        finally:
            if not stays:
                _remove_locked(target.partial, lock)
            lock.release()


def _lock(partial: Path) -> FileLock:
    """The lock in the part folder, which is made anew where another merge removes it meanwhile."""
    while True:
        with _sentence(partial):
            partial.mkdir(exist_ok=True)
        lock = FileLock(partial / LOCK)
        try:
            lock.acquire(timeout=PATIENCE)
        except Timeout as error:
            raise OutputExistsError(
                f"{partial} is being written by another merge. Wait for it, or cancel it."
            ) from error
        except FileNotFoundError:
            continue
        return lock


@contextmanager
def locked_shard(partial: Path, shard: str, keep_waiting: Callable[[], None]) -> Iterator[None]:
    """One shard of a part folder that others work on, too; `keep_waiting` is called while it is somebody else's."""
    lock = FileLock(partial / f"{LOCK}.{shard}")
    while not lock.is_locked:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            keep_waiting()
            time.sleep(LOOK_EVERY)
    try:
        yield
    finally:
        lock.release()


def _remove_locked(partial: Path, lock: FileLock) -> None:
    """Whoever waits for the lock never takes a folder that is half gone for somebody's work."""
    _empty(partial)
    with suppress(OSError):  # it is in use again already
        try:
            (partial / LOCK).unlink()
        except PermissionError:  # Windows deletes no file that is open
            lock.release()
            (partial / LOCK).unlink()
        partial.rmdir()


def _refuse_left_over(target: Target, identity: Mapping[str, object]) -> None:
    if not target.partial.exists() or target.discard:
        return
    found = read_identity(target.partial)
    try:
        names = {path.name for path in target.partial.iterdir()}
    except FileNotFoundError:  # removed meanwhile
        return
    is_untouched = found is None and names <= {LOCK, JOURNAL}  # killed before it had done anything
    if not is_untouched and found != identity:
        raise OutputExistsError(
            f"{target.partial} is left from a merge that did not finish{_difference(found, identity)}. "
            "Add --discard to delete it and start anew."
        )


def _difference(found: Mapping[str, object] | None, identity: Mapping[str, object]) -> str:
    """What is another merge about the one with the identity that was found."""
    if found is None:
        return ""
    if {**found, "processor": identity["processor"]} == identity:
        return (
            f" and was computed by {found['processor']}; here it would be {identity['processor']}, "
            "which may round the last bit otherwise"
        )
    return " with other models, another recipe or another version"


def _can_go_on(error: BaseException) -> bool:
    """Whether the same merge may come further next time: what else the engine says would be said again."""
    again = MergePausedError | StorageError | GpuError | HubError | HubRefusalError
    return isinstance(error, again) or not isinstance(error, BlockmergeError)


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
    """All but the lock. The journal goes last: as long as it is there, the folder says what it belongs to."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name == JOURNAL):
        if entry.name != LOCK:
            with suppress(FileNotFoundError):  # others who merged a shard of it may be letting go just now
                remove(entry)


def remove(entry: Path) -> None:
    """Delete a file, a link itself, or a folder with all in it."""
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()


def publish(target: Target) -> None:
    """Give the verified folder its name; the old one, where that was asked for, goes only after the new one stands."""
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
    # Only now: a merge that is killed before finds its journal, and what it left is taken up.
    for name in (LOCK, JOURNAL):
        for path in target.place.glob(f"{name}*"):
            with suppress(OSError):  # they harm nobody, and the result is there
                path.unlink()
    sync_folder(target.place.parent)
    if replaced:
        shutil.rmtree(target.old)
