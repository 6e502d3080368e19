"""Closes every gap between the table of jobs, the queue and those who work: nothing waits or runs without somebody."""

import logging
import time
from collections.abc import Callable, Collection

from blockmerge.engine.devices import Found
from blockmerge.jobs.parts import Parts
from blockmerge.jobs.queue import MergeQueue
from blockmerge.jobs.recovery import WORKER_KILLED, try_again
from blockmerge.jobs.results import remove_part_folder
from blockmerge.jobs.states import RUNNING, Job, JobState, Ticket
from blockmerge.jobs.store import Store

BEAT_EVERY = 1.0  # seconds
DEAD_AFTER = 6.0  # seconds in which a worker's number of beats stands still
LEFT_AFTER = 60.0  # seconds without a worker after which nobody waits for a home's own any more
NOBODY_HOME = (
    "This job needs the token of whoever asked for it, and on the machine of that page no worker has run for a minute. "
    "Start the page there, sign in (on the Settings tab), then continue this job."
)

_LOG = logging.getLogger(__name__)


class Colleagues:
    """Who else works on this queue. No clock is compared with another: a worker is alive as long as its count grows.

    Of one at the same `home`, `is_dead` knows at once.
    """

    def __init__(
        self, store: Store, me: str, home: str | None = None, is_dead: Callable[[str], bool] = lambda _: False
    ) -> None:
        self._store = store
        self._me = me
        self._home = home
        self._is_dead = is_dead
        self._seen: dict[str, tuple[int, float]] = {}
        self._beaten = -BEAT_EVERY

    def look(self, found: Found | None = None) -> Collection[str]:
        """Say that this worker lives, and which GPU it has found, and return all that live, itself among them."""
        now = time.monotonic()
        dead: set[str] = set()
        if now - self._beaten >= BEAT_EVERY:
            self._store.beat(self._me, self._home, found)
            self._beaten = now
            dead = self._dead_at_home()
        beats = self._store.beats()
        seen = {name: self._seen.get(name, (-1, now)) for name in beats}
        self._seen = {name: seen[name] if seen[name][0] == count else (count, now) for name, count in beats.items()}
        dead |= {name for name, (_, at) in self._seen.items() if now - at > DEAD_AFTER and name != self._me}
        for name in dead:
            _LOG.warning("The worker %s is gone. Its jobs go on elsewhere.", name)
            self._store.remove_worker(name)
        return beats.keys() - dead | {self._me}

    def _dead_at_home(self) -> set[str]:
        if self._home is None:
            return set()
        beside = {name for name, home in self._store.homes().items() if home == self._home} - {self._me}
        return {name for name in beside if self._is_dead(name)}


class Homes:
    """Where workers are, and which homes had none for so long that their jobs need somebody to look after them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._missed: dict[str, float] = {}  # since when

    def look(self, wanted: Collection[str]) -> tuple[Collection[str], Collection[str]]:
        """Of the wanted homes those with a worker, and those that nobody waits for any more."""
        now = time.monotonic()
        known = self._store.homes().values() if wanted else ()
        there = {home for home in wanted if home in known}
        self._missed = {home: self._missed.get(home, now) for home in wanted if home not in there}
        return there, {home for home, since in self._missed.items() if now - since > LEFT_AFTER}


def keep_in_line(
    store: Store, queue: MergeQueue, workers: Collection[str], own: Collection[Ticket], homes: Homes
) -> None:
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
    there, left = homes.look({job.bound_to for job in live if job.bound_to and job.state is JobState.WAITING})
    for job in live:
        active = is_active.get(job.ticket)
        if job.state is JobState.WAITING and not job.cancel_asked:
            if job.bound_to in left:
                store.move(job.ticket, {JobState.WAITING}, JobState.NEEDS_SIGN_IN, error=NOBODY_HOME)
            elif active is None and (job.bound_to is None or job.bound_to in there):
                queue.put(job.ticket, job.turn, job.bound_to)
            elif active is False and job.ticket not in own:
                store.renew(job.ticket)
        elif job.state in RUNNING and not active and job.ticket not in own:
            _recover(store, job)


def _recover(store: Store, job: Job) -> None:
    """Its worker is gone, or a bug used up its ticket."""
    now = store.get(job.id)  # it may have ended since it was looked at
    if now.ticket == job.ticket and now.state in RUNNING and try_again(store, now, WORKER_KILLED):
        _LOG.warning("Job %d was interrupted at attempt %d.", job.id, job.attempt)
