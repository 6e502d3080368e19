"""The line of waiting jobs: who is next.

People take turns. A person's first job gets the turn that is being served, the second the next one, and so on; within a
turn the older job goes first. So a job waits for one job of each other person, however many those have in line, and
whoever adds a job each time the last one is done comes no sooner than who waits already.
"""

import time
from dataclasses import asdict

import sqlalchemy as sa

from blockmerge.errors import JobRequestError
from blockmerge.jobs.states import JobState, NewJob
from blockmerge.jobs.tables import IN_LINE, IS_WAITING, JOBS

TAKEN = "A job with this name is waiting already. Choose another name."


def put_in_line(connection: sa.Connection, job: NewJob) -> int:
    """A new job behind its owner's others; returns its number. Raises JobRequestError where its name is taken."""
    values = {
        **asked_for(job),
        "owner": job.owner,
        "home": job.home,
        "state": JobState.WAITING,
        "turn": next_turn(connection, job.owner),
        "attempt": 1,
        "crashes": 0,
        "cancel_asked": False,
        "created": time.time(),
        "warnings": [],
    }
    try:
        return int(connection.execute(JOBS.insert().returning(JOBS.c.id), values).scalar_one())
    except sa.exc.IntegrityError as error:
        raise JobRequestError(TAKEN) from error


def asked_for(job: NewJob) -> dict[str, object]:
    """The columns that a person decides."""
    return {
        "name": job.name,
        "recipe": job.recipe,
        "out": str(job.out),
        "models": list(job.models),
        "weights": list(job.weights),
        "shape": job.shape,
        "nbytes": job.nbytes,
        "wish": asdict(job.wish) if job.wish else None,
        "stays_home": job.wish is not None,  # to write to the Hub takes a token
        "device": job.device,
    }


def next_turn(connection: sa.Connection, owner: str) -> int:
    """The turn of one more job of this person."""
    served = sa.select(sa.func.max(JOBS.c.turn)).where(JOBS.c.begun)
    # A job that was cancelled before it began took nobody's time.
    own = sa.select(sa.func.max(JOBS.c.turn)).where(JOBS.c.owner == owner, sa.or_(JOBS.c.begun, IS_WAITING))
    return max(connection.execute(served).scalar_one() or 1, (connection.execute(own).scalar_one() or 0) + 1)


def places() -> sa.Subquery:
    """Every waiting job's `id` and its `place`, 1 for the one that is next."""
    place = sa.func.row_number().over(order_by=IN_LINE).label("place")
    return sa.select(JOBS.c.id, place).where(IS_WAITING).subquery()


def change_places(connection: sa.Connection, owner: str, job_id: int, step: int) -> None:
    """Let a waiting job and its owner's next one before it (step -1) or behind it (step 1) change places.

    Nothing happens where there is none. Raises JobRequestError where the job is not waiting.
    """
    own = sa.select(JOBS.c.id, JOBS.c.turn).where(IS_WAITING, JOBS.c.owner == owner).order_by(*IN_LINE)
    line = connection.execute(own).all()
    here = next((place for place, row in enumerate(line) if row.id == job_id), None)
    if here is None:
        raise JobRequestError(f"Job {job_id} is not waiting any more, so it has no place in the line.")
    if not 0 <= here + step < len(line):
        return
    for row, other in ((line[here], line[here + step]), (line[here + step], line[here])):
        # The queue knows the old attempt at its old place.
        values = {"turn": other.turn, "attempt": JOBS.c.attempt + 1}
        connection.execute(JOBS.update().where(JOBS.c.id == row.id).values(values))
