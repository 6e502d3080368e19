"""Locks of workers. The system gives one up when its holder dies, however it dies."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from blockmerge.settings import Settings


def worker_lock(settings: Settings) -> FileLock:
    """Held by the one worker that may take jobs from this queue. Keep the object: an unlock is what its end means."""
    return FileLock(f"{settings.queue_file}.worker.lock")


@contextmanager
def held_while_alive(settings: Settings, worker: str) -> Iterator[Callable[[str], bool]]:
    """Shows the other workers of this home that this one lives; the call says whether one of them is dead."""
    own = _life_lock(settings, worker)
    own.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(own):
        yield lambda name: _take_away(_life_lock(settings, name))
    with suppress(OSError):
        own.unlink()


def _life_lock(settings: Settings, worker: str) -> Path:
    """A name that came from a database is no name of a file."""
    return settings.home / "workers" / f"{hashlib.sha256(worker.encode()).hexdigest()[:16]}.lock"


def _take_away(lock: Path) -> bool:
    """Remove the lock of a dead worker; False where it lives."""
    try:
        with FileLock(lock).acquire(timeout=0):
            pass
    except Timeout:
        return False
    with suppress(OSError):  # another worker may just have done so, or be about to
        lock.unlink()
    return True
