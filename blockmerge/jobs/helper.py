"""A worker without a job of its own merges parts of jobs that others carry out."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from blockmerge.core.progress import Progress
from blockmerge.jobs.merge_process import Died, MergeProcess
from blockmerge.jobs.messages import Ending, MergeDone, MergeFailed, MergeStopped, PartDone, Request
from blockmerge.jobs.parts import Parts
from blockmerge.jobs.process import death_sentence
from blockmerge.jobs.secrets import mask_secrets
from blockmerge.jobs.share import Share
from blockmerge.jobs.states import Ticket
from blockmerge.jobs.store import Store

FIND_EVERY = 0.5  # seconds between two looks for a part that nobody merges
LOOK_EVERY = 0.1  # seconds between two looks whether it is still wanted

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Helper:
    """`is_free` says whether the worker has nothing else to do; a job of its own waits for the part that is at work."""

    store: Store
    worker: str
    memory: int | None
    stopping: threading.Event
    is_free: Callable[[], bool]
    take_process: Callable[[], MergeProcess]
    warm_up: Callable[[], None]
    is_busy: threading.Event = field(default_factory=threading.Event)
    _left_alone: set[Ticket] = field(default_factory=set)  # attempts that cannot be helped from here

    def run(self) -> None:
        """Help until the worker stops."""
        while not self.stopping.wait(FIND_EVERY):
            with self._busy():
                if self.is_free():
                    self._help()

    @contextmanager
    def _busy(self) -> Iterator[None]:
        self.is_busy.set()
        try:
            yield
        finally:
            self.is_busy.clear()

    def _help(self) -> None:
        parts = Parts(self.store.database)
        part = parts.claim(self.worker, but_not=self._left_alone)
        if part is None:
            return
        share = Share(parts, self.worker, self.take_process(), part)
        try:
            job = self.store.get(part.job)
            share.process.begin(
                Request(job.recipe, job.out, True, self.memory, helps=True, device=job.device), _LOG.warning
            )
            share.process.order(part.number)
            ending = self._work(share, job.id)
        finally:
            # A kill costs the units at work, as a pause would, and the job's folder is not this worker's to clear.
            share.process.close()
            share.let_go()
            self.warm_up()
        if ending is not None:
            self._left_alone.add(job.ticket)
            _LOG.warning("Job %d cannot be helped from here: %s", job.id, _why(ending))

    def _work(self, share: Share, job_id: int) -> Ending | Died | None:
        """One part after the other; how the process ended, where it did so by itself."""
        while share.is_wanted and not self.stopping.is_set():
            match share.process.receive(LOOK_EVERY):
                case Progress() as progress:
                    share.report(progress)
                case PartDone():
                    share.finish()
                    if self.is_free():
                        share.take(job_id)
                case MergeDone() | MergeFailed() | MergeStopped() | Died() as ending:
                    return ending if share.is_wanted else None  # its folder may be gone, as the job has ended
        return None


def _why(ending: Ending | Died) -> str:
    match ending:
        case MergeFailed(error):
            return mask_secrets(error)
        case Died(returncode):
            return death_sentence(returncode)
    return "its merge process stopped."
