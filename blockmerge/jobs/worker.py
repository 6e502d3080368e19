"""The worker: takes jobs from the queue and has each carried out by a merge process of its own."""

import logging
import os
import platform
import secrets
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType

from filelock import Timeout

from blockmerge.engine.devices import Found
from blockmerge.engine.loading import Transformers
from blockmerge.errors import JobRequestError
from blockmerge.jobs.attempt import Attempt
from blockmerge.jobs.helper import Helper
from blockmerge.jobs.homes import home_of, homes_for, is_choosy
from blockmerge.jobs.job_log import JobLog
from blockmerge.jobs.locks import held_while_alive, worker_lock
from blockmerge.jobs.memory import fits_beside
from blockmerge.jobs.merge_process import MergeProcess
from blockmerge.jobs.parts import Parts
from blockmerge.jobs.process import watch_parent
from blockmerge.jobs.queue import open_queue
from blockmerge.jobs.recovery import count_units
from blockmerge.jobs.results import sweep_results
from blockmerge.jobs.secrets import mask_log_records
from blockmerge.jobs.states import RUNNING, Job, JobState, Ticket, refuse_left_over, refuse_taken
from blockmerge.jobs.store import Store, open_store
from blockmerge.jobs.tokens import ask_token
from blockmerge.jobs.watch import Colleagues, Missed, keep_in_line
from blockmerge.settings import Settings, environment_of, read_settings

LOOK_EVERY = 0.1  # seconds between two looks at the table of jobs
STOP_LIMIT = 9.5  # seconds from the first signal to the end, whatever hangs
PATIENCE = 1.0  # seconds in which a colleague who took an earlier ticket begins with it
WARM_AFTER = 3.0  # seconds from the start to when transformers is imported, unless a job needs it before
SWEEP_EVERY = 600.0  # seconds between two looks for results that were kept long enough


class Worker:
    """Everything between the queue and the merge processes, for one run of the worker."""

    def __init__(self, settings: Settings, store: Store) -> None:
        # Never used again, so what an earlier run of this worker left counts as left by another one.
        self.name = f"{platform.node()}-{secrets.token_hex(4)}"
        self._settings = settings
        self._store = store
        self._stopping = threading.Event()
        self._home = home_of(settings)
        self._own: list[Ticket] = []
        self._begun: set[Ticket] = set()  # of its own, those that have had their turn
        self._changed = threading.Condition()  # guards _own, _begun and _spare
        self._environ: Mapping[str, str] = {**os.environ, **environment_of(settings)}
        self._spare: MergeProcess | None = None
        self._transformers = Transformers()
        self._workers: Collection[str] = ()  # that live, this one among them
        self._found: Found | None = None  # the GPU, once a merge process has looked
        self._helper = Helper(
            *(store, self.name, settings.job_memory, self._stopping),
            is_free=lambda: not self._own_tickets(),
            take_process=self._take_process,
            warm_up=self._warm_up,
        )

    def stop(self) -> None:
        """Take no new job, stop the merges, put their jobs back in line. Safe to call again, and from any thread."""
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
        if self._store.database.is_sqlite:
            self._store.remove_workers()  # this one holds the lock, so all others are dead
        try:
            with held_while_alive(self._settings, self.name) as is_dead:
                self._work(Colleagues(self._store, self.name, self._home, is_dead))
        finally:
            if self._spare is not None:
                self._spare.close()
            self._transformers.close()
            self._store.remove_worker(self.name)

    def _work(self, colleagues: Colleagues) -> None:
        self._workers = colleagues.look()
        self._warm_up()
        missed, at_once = Missed(), self._settings.jobs_at_once
        with (
            open_queue(self._settings.queue, self.name, at_once, self._carry_out, self._home) as queue,
            self._helping() as check_helper,
        ):
            try:
                swept = -SWEEP_EVERY
                warm_at = time.monotonic() + WARM_AFTER
                while not self._stopping.wait(LOOK_EVERY):
                    if time.monotonic() > warm_at:
                        self._transformers.start()
                    check_helper()
                    self._workers = colleagues.look(self._find_gpu())
                    keep_in_line(self._store, queue, self._workers, self._own_tickets(), missed)
                    if time.monotonic() - swept > SWEEP_EVERY:
                        sweep_results(self._store, self._settings.keep_days)
                        swept = time.monotonic()
            finally:
                self.stop()
                with self._changed:  # the merges have stopped, and their jobs are back in line
                    self._changed.wait_for(lambda: not self._own)

    @contextmanager
    def _helping(self) -> Iterator[Callable[[], None]]:
        """A thread that merges parts of other workers' jobs, where there may be any; the call raises what it raised."""
        if not self._settings.is_shared:
            yield lambda: None
            return
        with ThreadPoolExecutor(1, thread_name_prefix="help") as pool:
            thread = pool.submit(self._helper.run)
            try:
                yield lambda: thread.result() if thread.done() else None
            finally:
                self.stop()

    def _own_tickets(self) -> tuple[Ticket, ...]:
        with self._changed:
            return tuple(self._own)

    def _carry_out(self, ticket: Ticket) -> None:
        """In a thread of dbos, as many at a time as the settings say."""
        with self._owning(ticket):
            if not self._is_turn_of(ticket):
                return  # the job stays in line, and its ticket is renewed
            job = self._store.get(ticket.job)
            try:
                if not job.begun:
                    refuse_left_over(job.out)
                    refuse_taken(job.out)
            except JobRequestError as error:
                self._store.move(ticket, {JobState.WAITING}, JobState.FAILED, error=str(error))
                return
            # From here on the part folder is this job's own: its next attempt goes on from there.
            begin: dict[str, object] = {"worker": self.name, "units": count_units(job), "kept": 0}
            if self._store.move(ticket, {JobState.WAITING}, JobState.CHECKING, **begin):
                with JobLog(self._settings.logs, self._store, job.id) as log:
                    now = self._store.get(job.id)
                    token, split_from = ask_token(self._settings.home, job.id), self._split_from(now)
                    attempt = Attempt(
                        *(self._store, now, job.begun, split_from, log, self._stopping, self._warm_up),
                        token=token,
                        is_home=job.home in (None, self._home),
                    )
                    attempt.carry_out(self._take_process(), self._settings.job_memory)
                self._warm_up()

    def _split_from(self, job: Job) -> int | None:
        """How large the result must be to be split; None where there is nobody to share it with."""
        if job.wish is not None:
            return None
        if Parts(self._store.database).is_split(job.id):
            return 0  # an earlier attempt was, and others may be at its parts
        return self._settings.split_from if self._settings.is_shared and len(self._workers) > 1 else None

    @contextmanager
    def _owning(self, ticket: Ticket) -> Iterator[None]:
        with self._changed:
            self._own.append(ticket)
        try:
            yield
        finally:
            with self._changed:
                self._own.remove(ticket)
                self._begun.discard(ticket)
                self._changed.notify_all()

    def _is_turn_of(self, ticket: Ticket) -> bool:
        """Whether to begin with this ticket now: those before it have begun, and there is time and memory for it."""
        until = time.monotonic() + PATIENCE
        while not self._stopping.is_set():
            live = self._store.live()
            waiting = [job for job in live if job.state is JobState.WAITING]
            places = self._store.places() if any(map(is_choosy, waiting)) else {}
            homes = {job.ticket: homes_for(job, places.values()) for job in waiting}
            if ticket not in homes or (homes[ticket] and not self._is_one_of(homes[ticket])):
                return False  # edited, cancelled or moved meanwhile, or somebody has the GPU that it asks for
            # Others that still look for a GPU are in nobody's way; whoever gets a ticket of one says there is none.
            mine = [job for job in waiting if job.ticket == ticket or self._is_one_of(homes[job.ticket])]
            [job] = [job for job in mine if job.ticket == ticket]
            if len(self._begun) == self._settings.jobs_at_once:  # its queues hand out so many each
                if self._is_free_elsewhere(job, live):
                    return False
                until = time.monotonic() + PATIENCE
            elif job is mine[0] and self._begin(job):
                return True
            elif job is not mine[0] and time.monotonic() > until:
                return False  # it comes behind others that were put back in line
            self._stopping.wait(LOOK_EVERY)
        return False

    def _is_one_of(self, homes: Sequence[str] | None) -> bool:
        return homes is None or self._home in homes

    def _is_free_elsewhere(self, job: Job, live: Collection[Job]) -> bool:
        """Whether another worker could begin with a job that has to wait here."""
        at_work = Counter(other.worker for other in live if other.state in RUNNING)
        places = self._store.places()
        homes = homes_for(job, places.values())
        return any(
            name != self.name and at_work[name] < self._settings.jobs_at_once and (homes is None or place.home in homes)
            for name, place in places.items()
        )

    def _begin(self, job: Job) -> bool:
        """Take the place for a job whose turn it is, if there is one, and memory enough."""
        with self._changed:
            is_free = len(self._begun) < self._settings.jobs_at_once and not self._helper.is_busy.is_set()
            if is_free and (not self._begun or fits_beside(job)):
                self._begun.add(job.ticket)
                return True
        return False

    def _warm_up(self) -> None:
        """Have a process ready, torch imported, before the next job comes."""
        with self._changed:
            if self._spare is None and not self._stopping.is_set():
                self._spare = MergeProcess(self._environ, self._transformers)

    def _find_gpu(self) -> Found | None:
        with self._changed:
            if self._found is None and self._spare is not None:
                self._found = self._spare.found
            return self._found

    def _take_process(self) -> MergeProcess:
        with self._changed:
            process, self._spare = self._spare, None
        if process is not None and not process.is_alive:
            process.close()
            process = None
        return process or MergeProcess(self._environ, self._transformers)


def run_worker(settings: Settings, *, supervised: bool = False) -> int:
    """Take jobs until a signal says stop, or, when supervised, until stdin ends. Returns the exit code.

    Raises JobRequestError where another worker has this queue, or nobody answers there.
    """
    logging.basicConfig(format="%(message)s")
    mask_log_records()
    with _sole_worker(settings), open_store(settings) as store:
        worker = Worker(settings, store)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, worker.on_signal)
        if supervised:
            watch_parent(lambda _: None, worker.stop)
        worker.run()
    return 0


@contextmanager
def _sole_worker(settings: Settings) -> Iterator[None]:
    """A queue in a file has one worker; PostgreSQL has as many as come."""
    if settings.is_shared:
        yield
        return
    try:
        lock = worker_lock(settings).acquire(timeout=1)
    except Timeout as error:
        raise JobRequestError(
            f"Another worker has the queue {settings.queue_file}. Stop it first, or let it do the work."
        ) from error
    with lock:
        yield


def main() -> int:
    """The worker beside the page: the page's process holds its stdin."""
    try:
        return run_worker(read_settings(os.environ), supervised=True)
    except JobRequestError as error:
        print(error, file=sys.stderr)
        return 1
