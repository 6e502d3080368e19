"""Closes every gap between the table of jobs, the queue and those who work: nothing waits or runs without somebody."""

import logging
import time
from collections.abc import Callable, Collection

from blockmerge.engine.devices import Found
from blockmerge.jobs.homes import Place, homes_for, is_choosy
from blockmerge.jobs.parts import Parts
from blockmerge.jobs.queue import MergeQueue
from blockmerge.jobs.recovery import WORKER_KILLED, try_again
from blockmerge.jobs.results import remove_part_folder
from blockmerge.jobs.states import RUNNING, Job, JobState, Ticket
from blockmerge.jobs.store import Store

BEAT_EVERY = 1.0  # seconds
DEAD_AFTER = 6.0  # seconds in which a worker's number of beats stands still
LEFT_AFTER = 60.0  # seconds without a worker after which nobody waits for a home's own, or for a GPU, any more
A_GPU = "a GPU"  # in the place of a home; after that time any worker gets the job, and says that there is none
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
        beside = {name for name, place in self._store.places().items() if place.home == self._home} - {self._me}
        return {name for name in beside if self._is_dead(name)}


class Missed:
    """Which homes had no worker for so long that their jobs need somebody to look after them, or that no GPU comes."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def look(self, missing: Collection[str]) -> set[str]:
        """Of what is wanted and has no worker now, what nobody waits for any more."""
        now = time.monotonic()
        self._since = {home: self._since.get(home, now) for home in missing}
        return {home for home, since in self._since.items() if now - since > LEFT_AFTER}


def keep_in_line(
    store: Store, queue: MergeQueue, workers: Collection[str], own: Collection[Ticket], missed: Missed
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
    choosy = [job for job in live if is_choosy(job) and job.state is JobState.WAITING]
    places = store.places().values() if choosy else ()
    there = {place.home for place in places if place.home is not None}
    aims = {job.ticket: _aim_of(job, places) for job in choosy}
    left = missed.look({aim for aim in aims.values() if aim is not None} - there)
    is_active = queue.is_active([job.ticket for job in live], workers, there) if live else {}
    for job in live:
        active = is_active.get(job.ticket)
        if job.state is JobState.WAITING and not job.cancel_asked:
            aim = aims.get(job.ticket)
            if aim in left and aim != A_GPU:
                store.move(job.ticket, {JobState.WAITING}, JobState.NEEDS_SIGN_IN, error=NOBODY_HOME)
            elif active is None and (aim is None or aim in there | left):
                queue.put(job.ticket, job.turn, aim if aim in there else None)
            elif active is False and job.ticket not in own:
                store.renew(job.ticket)
        elif job.state in RUNNING and not active and job.ticket not in own:
            _recover(store, job)


def _aim_of(job: Job, places: Collection[Place]) -> str | None:
    """Where a job's ticket goes: to any worker, to a home, or to A_GPU that is still to be found.

    Of several homes to another one each time that its ticket was used up, as where somebody was busy (worker.py).
    """
    homes = homes_for(job, places)
    if homes is None:
        return None
    return homes[(job.id + job.attempt) % len(homes)] if homes else A_GPU


def _recover(store: Store, job: Job) -> None:
    """Its worker is gone, or a bug used up its ticket."""
    now = store.get(job.id)  # it may have ended since it was looked at
    if now.ticket == job.ticket and now.state in RUNNING and try_again(store, now, WORKER_KILLED):
        _LOG.warning("Job %d was interrupted at attempt %d.", job.id, job.attempt)
