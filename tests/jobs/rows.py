"""Jobs that nobody carries out: rows of the table, walked to the state that a test wants."""

from pathlib import Path

from blockmerge.jobs.states import LOCAL, JobState, NewJob, Ticket
from blockmerge.jobs.store import Store

_ROAD = (
    JobState.CHECKING,
    JobState.DOWNLOADING,
    JobState.MERGING,
    JobState.VERIFYING,
    JobState.SAVING,
    JobState.UPLOADING,
    JobState.DONE,
)


def new_job(name: str, owner: str = LOCAL, nbytes: int = 0) -> NewJob:
    return NewJob(name, "blockmerge: 1", Path("/out") / name, ("a", "b"), (0.0, 0.5, 1.0), "rise", owner, nbytes)


def bring(store: Store, job_id: int, state: JobState) -> Ticket:
    """Walk a new job to a state by the longest way."""
    ticket, before = Ticket(job_id, 1), JobState.WAITING
    if state in _ROAD:
        for target in _ROAD[: _ROAD.index(state) + 1]:
            assert store.move(ticket, {before}, target)
            before = target
    elif state is not JobState.WAITING:
        assert store.move(ticket, {JobState.WAITING}, state)
    return ticket
