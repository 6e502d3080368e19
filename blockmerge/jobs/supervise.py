"""The page's side of its worker: started, started again when it dies, stopped with the page."""

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from filelock import Timeout

from blockmerge.jobs.locks import worker_lock
from blockmerge.jobs.process import close_stdin, start_python
from blockmerge.settings import Settings, environment_of

STOP_LIMIT = 10.0  # seconds that a worker may take to put its job back in line
FIRST_PAUSE = 0.2  # seconds before a dead worker is started again; doubled each time it dies young
LONGEST_PAUSE = 30.0
LOOK_AGAIN = 2.0  # seconds between two looks whether another worker still has the queue

_LOG = logging.getLogger(__name__)


class Supervisor:
    """Keeps one worker alive until it is told to stop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = threading.Event()
        self._worker: subprocess.Popen[bytes] | None = None
        # Between starting a worker and stopping it; a signal may come while this thread holds it.
        self._guard = threading.RLock()

    def interrupt(self) -> bool:
        """What a Ctrl-C means: the first lets the worker put its job back in line, a second one kills it.

        Returns at once; True the first time. For a server that has signal handlers of its own.
        """
        first = not self._stopping.is_set()
        if first:
            self._ask_stop()
        elif self._worker is not None:
            self._worker.kill()
        return first

    def run(self) -> None:
        pause = FIRST_PAUSE
        while self._wait_for_queue():
            started = time.monotonic()
            code = self._run_worker()
            if time.monotonic() - started > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            if not self._stopping.is_set():
                _LOG.warning("The worker ended (exit code %s). It is started again.", code)
                self._stopping.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _wait_for_queue(self) -> bool:
        """True when this page's worker may have the queue; False when it is time to stop."""
        if self._settings.is_shared:
            return not self._stopping.is_set()
        told = False
        while not self._stopping.is_set():
            try:
                with worker_lock(self._settings).acquire(timeout=0):
                    return True
            except Timeout:
                if not told:
                    _LOG.warning("Another worker has the queue %s: this is the page only.", self._settings.queue_file)
                told = True
            self._stopping.wait(LOOK_AGAIN)
        return False

    def _run_worker(self) -> int | None:
        with self._guard:
            if self._stopping.is_set():
                return None
            environ = {**os.environ, **environment_of(self._settings)}
            self._worker = start_python("blockmerge.jobs.worker", environ)
        return self._worker.wait()

    def _ask_stop(self) -> None:
        with self._guard:
            self._stopping.set()
            if self._worker is not None:
                close_stdin(self._worker)

    def stop(self) -> None:
        """Return when the worker is gone."""
        self._ask_stop()
        if self._worker is None:
            return
        try:
            self._worker.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._worker.kill()


@contextmanager
def supervised_worker(settings: Settings) -> Iterator[Supervisor]:
    """A worker for as long as the block runs; if another one has the queue already, the page only, and it says so.

    Call it in the main thread. SIGINT and SIGTERM end the block with SystemExit(0); a second one, while the worker
    puts its job back in line, kills the worker.
    """
    supervisor = Supervisor(settings)

    def on_signal(_: int, __: FrameType | None) -> None:
        if supervisor.interrupt():
            raise SystemExit(0)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    thread = threading.Thread(target=supervisor.run, name="supervisor", daemon=True)
    thread.start()
    try:
        yield supervisor
    finally:
        supervisor.stop()
        thread.join()
        for number, handler in before.items():
            signal.signal(number, handler)
