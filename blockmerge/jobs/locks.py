"""The lock beside a queue's file. The system gives it up when its holder dies, however it dies."""

from filelock import FileLock

from blockmerge.settings import Settings


def worker_lock(settings: Settings) -> FileLock:
    """Held by the one worker that may take jobs from this queue. Keep the object: an unlock is what its end means."""
    return FileLock(f"{settings.queue_file}.worker.lock")
