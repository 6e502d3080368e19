"""The parts of a job that several workers share: one for each shard of the result.

What is finished is said by the journals in the part folder. These rows only say who is at what, so a row that is wrong
costs time, and nothing else.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from blockmerge.jobs.states import RUNNING, JobState, Ticket
from blockmerge.jobs.tables import IN_LINE, IS_HELD, JOBS, PARTS, Database

_IS_OPEN = sa.and_(JOBS.c.state == JobState.MERGING, sa.not_(JOBS.c.cancel_asked))
_IS_WANTED = sa.and_(JOBS.c.state.in_(sorted(RUNNING | {JobState.WAITING})), sa.not_(JOBS.c.cancel_asked))


@dataclass(frozen=True, slots=True)
class Part:
    """A shard of a job's result, by its number in the plan."""

    job: int
    number: int


@dataclass(frozen=True, slots=True)
class Course:
    """How far all parts of a job are: bytes, and parts that are whole."""

    done: int
    total: int
    whole: int
    count: int


class Parts:
    """The table of parts; every method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, job_id: int, sizes: Sequence[int]) -> None:
        """Make a job's parts, of so many bytes each. What others hold from an attempt before stays theirs."""
        with self._database.quick.begin() as connection:
            connection.execute(PARTS.delete().where(PARTS.c.job == job_id, sa.not_(IS_HELD)))
            held = set(connection.execute(sa.select(PARTS.c.number).where(PARTS.c.job == job_id)).scalars())
            rows = [{"job": job_id, "number": n, "nbytes": size} for n, size in enumerate(sizes) if n not in held]
            connection.execute(PARTS.update().where(PARTS.c.job == job_id).values(wanted=True))
            if rows:
                connection.execute(PARTS.insert(), rows)

    def is_split(self, job_id: int) -> bool:
        with self._database.quick.connect() as connection:
            return bool(connection.execute(sa.select(sa.exists().where(PARTS.c.job == job_id))).scalar_one())

    def claim(self, worker: str, job_id: int | None = None, but_not: Collection[Ticket] = ()) -> Part | None:
        """A part that nobody living merges, now this worker's: of this job, or of any, but not at those attempts."""
        is_free = sa.and_(sa.not_(PARTS.c.whole), PARTS.c.wanted, sa.not_(IS_HELD))
        which = [sa.not_(sa.and_(JOBS.c.id == ticket.job, JOBS.c.attempt == ticket.attempt)) for ticket in but_not]
        if job_id is not None:
            which.append(JOBS.c.id == job_id)
        query = (
            sa.select(PARTS.c.job, PARTS.c.number)
            .join(JOBS, JOBS.c.id == PARTS.c.job)
            .where(_IS_OPEN, is_free, *which)
            .order_by(*IN_LINE, PARTS.c.number)
            .limit(1)
            .with_for_update(skip_locked=True, of=PARTS)
        )
        with self._database.quick.begin() as connection:
            row = connection.execute(query).one_or_none()
            if row is None:
                return None
            part = Part(*row)
            connection.execute(PARTS.update().where(*_is(part)).values(worker=worker, done=0))
        return part

    def is_wanted(self, part: Part, worker: str) -> bool:
        """Whether it is still this worker's, and its job neither ended nor about to."""
        query = (
            sa.select(PARTS.c.number)
            .join(JOBS, JOBS.c.id == PARTS.c.job)
            .where(_IS_WANTED, PARTS.c.wanted, PARTS.c.worker == worker, *_is(part))
        )
        with self._database.quick.connect() as connection:
            return connection.execute(query).one_or_none() is not None

    def report(self, part: Part, worker: str, done: int) -> None:
        self._update(part, worker, {"done": done})

    def finish(self, part: Part, worker: str) -> None:
        """It is whole, and on the disk."""
        self._update(part, worker, {"whole": True, "done": PARTS.c.nbytes})

    def let_go(self, part: Part, worker: str) -> None:
        """Whoever comes next goes on with it."""
        self._update(part, worker, {"worker": None})

    def call_off(self, job_id: int) -> None:
        """Nobody begins with a part of this job, and who is at one stops."""
        with self._database.quick.begin() as connection:
            connection.execute(PARTS.update().where(PARTS.c.job == job_id).values(wanted=False))

    def has_helpers(self, job_id: int) -> bool:
        """Whether anybody living merges a part of it."""
        with self._database.quick.connect() as connection:
            return bool(connection.execute(sa.select(sa.exists().where(PARTS.c.job == job_id, IS_HELD))).scalar_one())

    def course(self, job_id: int) -> Course:
        whole = sa.case((PARTS.c.whole, 1), else_=0)
        sums = (sa.func.sum(PARTS.c.done), sa.func.sum(PARTS.c.nbytes), sa.func.sum(whole), sa.func.count())
        with self._database.quick.connect() as connection:
            row = connection.execute(sa.select(*sums).where(PARTS.c.job == job_id)).one()
        return Course(*(int(value or 0) for value in row))

    def workers(self, job_id: int) -> tuple[str, ...]:
        """Who merged each of the parts that are whole, in their order."""
        query = sa.select(PARTS.c.worker).where(PARTS.c.job == job_id, PARTS.c.whole).order_by(PARTS.c.number)
        with self._database.quick.connect() as connection:
            return tuple(connection.execute(query).scalars())

    def _update(self, part: Part, worker: str, values: Mapping[str, object]) -> None:
        here = (*_is(part), PARTS.c.worker == worker, sa.not_(PARTS.c.whole))
        with self._database.quick.begin() as connection:
            connection.execute(PARTS.update().where(*here).values(values))


def _is(part: Part) -> tuple[sa.ColumnElement[bool], ...]:
    return PARTS.c.job == part.job, PARTS.c.number == part.number
