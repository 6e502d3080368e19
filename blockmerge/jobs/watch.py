"""Closes every gap between the table of jobs, the queue and those who work: nothing waits or runs without somebody."""

import logging
import time
from collections.abc import Collection

from blockmerge.engine.devices import Found
from blockmerge.jobs.parts import Parts
from blockmerge.jobs.queue import MergeQueue
from blockmerge.jobs.recovery import WORKER_KILLED, try_again
from blockmerge.jobs.results import remove_part_folder
from blockmerge.jobs.states import RUNNING, Job, JobState, Ticket
from blockmerge.jobs.store import Store

BEAT_EVERY = 1.0  # seconds
DEAD_AFTER = 6.0  # seconds in which a worker's number of beats stands still

_LOG = logging.getLogger(__name__)


class Colleagues:
    """Who else works on this queue. No clock is compared with another: a worker is alive as long as its count grows."""

    def __init__(self, store: Store, me: str) -> None:
        self._store = store
        self._me = me
        self._seen: dict[str, tuple[int, float]] = {}
        self._beaten = -BEAT_EVERY

    def look(self, found: Found | None = None) -> Collection[str]:
        """Say that this worker lives, and which GPU it has found, and return all that live, itself among them."""
        now = time.monotonic()
        if now - self._beaten >= BEAT_EVERY:
            self._store.beat(self._me, found)
            self._beaten = now
        beats = self._store.beats()
        seen = {name: self._seen.get(name, (-1, now)) for name in beats}
        self._seen = {name: seen[name] if seen[name][0] == count else (count, now) for name, count in beats.items()}
        dead = {name for name, (_, at) in self._seen.items() if now - at > DEAD_AFTER and name != self._me}
        for name in dead:
            _LOG.warning("The worker %s is gone. Its jobs go on elsewhere.", name)
            self._store.remove_worker(name)
        return beats.keys() - dead | {self._me}


def keep_in_line(store: Store, queue: MergeQueue, workers: Collection[str], own: Collection[Ticket]) -> None:
    """See to it that every waiting job has a ticket in the queue and every running one somebody who runs it.

    `own` are the tickets that this worker carries out.
    """
    live = store.live()
    for job in live:
        is_over = job.cancel_asked and job.begun and job.state not in RUNNING
        if is_over and not Parts(store.database).has_helpers(job.id):
            remove_part_folder(job.out)
    if any(job.cancel_asked and job.state not in RUNNING for job in live):
        store.cancel_waiting()
    is_active = queue.is_active([job.ticket for job in live], workers) if live else {}
    for job in live:
        active = is_active.get(job.ticket)
        if job.state is JobState.WAITING and not job.cancel_asked:
            if active is None:
                queue.put(job.ticket, job.turn)
            elif not active and job.ticket not in own:
                store.renew(job.ticket)
        elif job.state in RUNNING and not active and job.ticket not in own:
            _recover(store, job)


def _recover(store: Store, job: Job) -> None:
    """Its worker is gone, or a bug used up its ticket."""
    now = store.get(job.id)  # it may have ended since it was looked at
    if now.ticket == job.ticket and now.state in RUNNING and try_again(store, now, WORKER_KILLED):
        _LOG.warning("Job %d was interrupted at attempt %d.", job.id, job.attempt)
