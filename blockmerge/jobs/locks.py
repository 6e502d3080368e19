"""The two locks beside the queue's file. The system gives them up when their holder dies, however it dies."""

from pathlib import Path

from filelock import FileLock

from blockmerge.settings import Settings


def worker_lock(settings: Settings) -> FileLock:
    """Held by the one worker that may take jobs from this queue. Keep the object: an unlock is what its end means."""
    return FileLock(f"{settings.queue_file}.worker.lock")


def merge_lock(settings: Settings) -> Path:
    """Held by a merge process at work, so that a new worker can wait for one whose worker was killed."""
    return Path(f"{settings.queue_file}.merge.lock")
