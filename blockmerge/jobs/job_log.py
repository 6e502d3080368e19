"""The log of a job: a file beside the worker, and its end in the queue, where every page can read it."""

import threading
import time
from collections import deque
from pathlib import Path
from typing import Self

from blockmerge.jobs.secrets import mask_secrets
from blockmerge.jobs.store import Store

SHOWN = 200  # lines
LONGEST = 2000  # characters of a line
FLUSH_EVERY = 1.0  # seconds


class JobLog:
    """Takes lines from several threads; secrets are masked before anything is written. Close it."""

    def __init__(self, folder: Path, store: Store, job_id: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / f"job-{job_id}.log").open("a", encoding="utf-8", errors="replace")
        self._store = store
        self._job_id = job_id
        self._end = deque(store.read_log(job_id), SHOWN)
        self._lock = threading.Lock()
        self._flushed = 0.0

    def say(self, text: str) -> None:
        """What the worker has to say, with the time."""
        self.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}")

    def write(self, text: str) -> None:
        with self._lock:
            for line in mask_secrets(text).splitlines():
                self._end.append(line[:LONGEST])
                self._file.write(f"{line}\n")
            self._file.flush()
            if time.monotonic() - self._flushed >= FLUSH_EVERY:
                self._flush()

    def _flush(self) -> None:
        self._flushed = time.monotonic()
        self._store.write_log(self._job_id, "\n".join(self._end))

    def close(self) -> None:
        with self._lock:
            self._flush()
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
