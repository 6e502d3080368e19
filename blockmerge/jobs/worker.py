"""The worker: takes jobs from the queue, one at a time, and has each carried out by a merge process of its own."""

import logging
import os
import platform
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from blockmerge.core.progress import Progress, Stage
from blockmerge.engine.journal import JOURNAL, count_units
from blockmerge.engine.target import LOCK
from blockmerge.errors import JobRequestError
from blockmerge.jobs.locks import merge_lock, worker_lock
from blockmerge.jobs.merge_process import Died, MergeProcess
from blockmerge.jobs.messages import Ending, MergeDone, MergeFailed, Request
from blockmerge.jobs.process import death_sentence, watch_parent
from blockmerge.jobs.queue import MergeQueue, open_queue
from blockmerge.jobs.states import (
    RUNNING,
    STATE_OF_STAGE,
    Job,
    JobState,
    Ticket,
    part_folder,
    refuse_left_over,
    refuse_taken,
)
from blockmerge.jobs.store import Store
from blockmerge.settings import Settings, environment_of, read_settings

LOOK_EVERY = 0.2  # seconds between two looks at the table of jobs
CANCEL_GRACE = 0.6  # seconds from a cancel to the kill; with the look before it the process is gone within 1 s
STOP_GRACE = 5.0
STOP_LIMIT = 9.5  # seconds from the first signal to the end, whatever hangs
MOST_CRASHES = 3

_LOG = logging.getLogger(__name__)


class Worker:
    """Everything between the queue and the merge processes, for one run of the worker."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._stopping = threading.Event()
        self._busy = threading.Lock()
        self._environ: Mapping[str, str] = {**os.environ, **environment_of(settings)}
        self._next: MergeProcess | None = None

    def stop(self) -> None:
        """Take no new job, stop the merge, put its job back in line. Safe to call again, and from any thread."""
        if not self._stopping.is_set():
            self._stopping.set()
            limit = threading.Timer(STOP_LIMIT, os._exit, [1])
            limit.daemon = True
            limit.start()

    def on_signal(self, _: int, __: FrameType | None) -> None:
        """The first signal stops the worker; a second one ends it at once, and with its stdin the merge process."""
        if self._stopping.is_set():
            os._exit(1)
        self.stop()

    def run(self) -> None:
        """Work until `stop`."""
        # The merge process of a worker that was killed may need a moment to see it.
        with FileLock(merge_lock(self._settings), timeout=STOP_LIMIT):
            for job in self._store.live():
                if job.state in RUNNING:
                    self._recover(job)
        self._warm_up()
        try:
            with open_queue(self._settings.queue, self._carry_out) as queue:
                try:
                    while not self._stopping.wait(LOOK_EVERY):
                        self._store.beat(platform.node())
                        self._keep_in_line(queue)
                finally:
                    self.stop()
                    with self._busy:  # the merge has stopped, and its job is back in line
                        pass
        finally:
            if self._next is not None:
                self._next.close()

    def _keep_in_line(self, queue: MergeQueue) -> None:
        """See to it that every waiting job has a ticket in the queue and every running one somebody who runs it."""
        live = self._store.live()
        if not live:
            return
        for job in live:
            if job.state is JobState.WAITING and job.cancel_asked:
                _remove_part_folder(job.out)
        self._store.cancel_waiting()
        is_active = queue.is_active([job.ticket for job in live])
        for job in live:
            active = is_active.get(job.ticket)
            if job.state in RUNNING and not active:
                self._recover_abandoned(job.ticket)
            elif job.state is JobState.WAITING and active is None:
                queue.put(job.ticket)
            elif job.state is JobState.WAITING and not active:
                self._store.renew(job.ticket)

    def _recover_abandoned(self, ticket: Ticket) -> None:
        """After a bug in `_carry_out`: its ticket is used up, but the job still says that it runs."""
        if not self._busy.acquire(blocking=False):
            return
        try:
            job = self._store.get(ticket.job)  # it may have ended since it was looked at
            if job.ticket == ticket and job.state in RUNNING:
                self._recover(job)
        finally:
            self._busy.release()

    def _recover(self, job: Job) -> None:
        """Put a job back in line whose worker is gone; after the third time in a row it has failed."""
        error = (
            f"The worker was killed {MOST_CRASHES} times during this merge, most likely out of memory. "
            "Close other programs, or merge on a machine with more memory."
        )
        if self._try_again(job, error):
            _LOG.warning("Job %d was interrupted at attempt %d.", job.id, job.attempt)

    def _try_again(self, job: Job, error: str) -> bool:
        """Back in line after a crash, to go on from what is finished; the third crash without a finished unit fails.

        False where the job has changed meanwhile.
        """
        crashes = 0 if _has_come_further(job) else job.crashes + 1
        if crashes < MOST_CRASHES:
            moved = self._store.move(job.ticket, RUNNING, JobState.WAITING, crashes=crashes)
            self._end_cancelled(job)
            return moved
        _remove_part_folder(job.out)
        return self._store.move(job.ticket, RUNNING, JobState.FAILED, error=error)

    def _end_cancelled(self, job: Job) -> None:
        """A job that goes back in line although its cancel was asked for ends there, and nothing of it stays."""
        self._store.cancel_waiting()
        if self._store.get(job.id).state is JobState.CANCELLED:
            _remove_part_folder(job.out)

    def _carry_out(self, ticket: Ticket) -> None:
        with self._busy:
            if self._stopping.is_set():
                return  # the job stays in line, and the next worker renews its ticket
            if any(job.id < ticket.job and job.state is JobState.WAITING for job in self._store.live()):
                return  # dbos began before an older job was put back in line; this one's ticket is renewed behind it
            job = self._store.get(ticket.job)
            try:
                if ticket.attempt == 1:
                    refuse_left_over(job.out)
                    refuse_taken(job.out)
            except JobRequestError as error:
                self._store.move(ticket, {JobState.WAITING}, JobState.FAILED, error=str(error))
                return
            # From here on the part folder is this job's own: its next attempt goes on from there.
            if self._store.move(ticket, {JobState.WAITING}, JobState.CHECKING):
                self._settle(job, self._merge(job))
                self._warm_up()

    def _warm_up(self) -> None:
        if not self._stopping.is_set():
            self._next = MergeProcess(self._environ)

    def _take_process(self) -> MergeProcess:
        process, self._next = self._next, None
        if process is not None and not process.is_alive:
            process.close()
            process = None
        return process or MergeProcess(self._environ)

    def _merge(self, job: Job) -> Ending | Died:
        process = self._take_process()
        try:
            process.begin(Request(job.recipe, job.out, job.attempt > 1, self._log_of(job), merge_lock(self._settings)))
            deadline: float | None = None
            while (message := process.receive(LOOK_EVERY / 2)) is None or isinstance(message, Progress):
                if message is not None:
                    self._relay(job, message)
                if deadline is None:
                    deadline = self._stop_unless_wanted(process, job)
                elif time.monotonic() > deadline:
                    process.kill()
            return message
        finally:
            process.close()

    def _stop_unless_wanted(self, process: MergeProcess, job: Job) -> float | None:
        """Ask a merge to stop that is no longer wanted; until when it may take to do so, None while it is wanted."""
        if self._store.is_cancel_asked(job.id):
            process.cancel()
            return time.monotonic() + CANCEL_GRACE
        if self._stopping.is_set():
            process.pause()
            return time.monotonic() + STOP_GRACE
        return None

    def _relay(self, job: Job, progress: Progress) -> None:
        state = STATE_OF_STAGE[progress.stage]
        before = {JobState.CHECKING, JobState.MERGING} - {state}
        if state is not JobState.CHECKING:
            self._store.move(job.ticket, before, state)
        self._store.report_progress(job.id, progress)

    def _settle(self, job: Job, ending: Ending | Died) -> None:
        """Record how an attempt ended."""
        cancelled = self._store.is_cancel_asked(job.id)
        match ending:
            case MergeDone():
                self._relay(job, Progress(Stage.VERIFY, ending.nbytes, ending.nbytes))
                fields = {name: getattr(ending, name) for name in ("digest", "nbytes", "seconds")}
                self._store.move(
                    job.ticket, {JobState.VERIFYING}, JobState.DONE, **fields, warnings=list(ending.warnings)
                )
            case MergeFailed():
                if _has_come_further(job):
                    _remove_part_folder(job.out)
                self._store.move(job.ticket, RUNNING, JobState.FAILED, error=ending.error)
            case Died() if cancelled and job.out.exists():
                # Killed between giving the result its name and saying so: the next attempt recognises it.
                self._store.move(job.ticket, RUNNING, JobState.WAITING, cancel_asked=False)
            case _ if cancelled:
                _remove_part_folder(job.out)
                self._store.move(job.ticket, RUNNING, JobState.CANCELLED)
            case Died(returncode) if not self._stopping.is_set():
                self._try_again(job, death_sentence(returncode, self._log_of(job)))
            case _:
                self._store.move(job.ticket, RUNNING, JobState.WAITING)
                self._end_cancelled(job)

    def _log_of(self, job: Job) -> Path:
        return self._settings.logs / f"job-{job.id}.log"


def _has_come_further(job: Job) -> bool:
    """Whether its present attempt finished a unit of work: the journal grew since, and not by its first line alone."""
    journal = part_folder(job.out) / JOURNAL
    since = job.started or 0.0
    return journal.exists() and journal.stat().st_mtime > since and count_units(journal.parent) > 0


def _remove_part_folder(out: Path) -> None:
    """Only what a merge made: a folder of the user's may have come into that place."""
    folder = part_folder(out)
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {JOURNAL}
    if names and not names & {JOURNAL, LOCK}:
        return
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        _LOG.warning("%s could not be removed: %s", part_folder(out), error)


def run_worker(settings: Settings, *, supervised: bool = False) -> int:
    """Take jobs until a signal says stop, or, when supervised, until stdin ends. Returns the exit code.

    Raises JobRequestError where another worker has this queue.
    """
    logging.basicConfig(format="%(message)s")
    try:
        lock = worker_lock(settings).acquire(timeout=1)
    except Timeout as error:
        raise JobRequestError(
            f"Another worker has the queue {settings.queue_file}. Stop it first, or let it do the work."
        ) from error
    with lock, Store(settings.queue) as store:
        worker = Worker(settings, store)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, worker.on_signal)
        if supervised:
            watch_parent(lambda _: None, worker.stop)
        worker.run()
    return 0


def main() -> int:
    """The worker beside the page: the page's process holds its stdin."""
    try:
        return run_worker(read_settings(os.environ), supervised=True)
    except JobRequestError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
