"""Bytes go to the disk while others are still computed: what is synced early need not be waited for at the end."""

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Self

from blockmerge.checkpoints.files import sync_file

ASK_EVERY = 0.1  # seconds between looks at whether somebody cancelled


class Syncer:
    """One thread that waits for the disk, so that no worker has to. Use it in a `with`."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="sync")
        self._work: list[Future[None]] = []
        self._waiting: set[int] = set()

    def begin(self, handle: int) -> None:
        """Have what was written to this file until now go to the disk, and return at once."""
        if handle not in self._waiting:  # else it will be synced later than now
            self._waiting.add(handle)
            self._work.append(self._pool.submit(self._sync, handle))

    def _sync(self, handle: int) -> None:
        self._waiting.discard(handle)
        sync_file(handle)

    def finish(self, handles: Iterable[int], check: Callable[[], None]) -> None:
        """Return when all that was written is on the disk. `check` is called several times a second, and may raise.

        Raises the first error of any sync, early ones too.
        """
        for handle in handles:
            self.begin(handle)
        running = set(self._work)
        while running:
            done, running = wait(running, timeout=ASK_EVERY, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            check()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
