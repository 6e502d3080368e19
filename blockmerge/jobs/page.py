"""All that a page shows of the queue, read at once."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from blockmerge.jobs.line import places
from blockmerge.jobs.states import Job, JobState
from blockmerge.jobs.tables import IS_LIVE, IS_WAITING, JOBS, ROWS, SILENCE, WORKERS, Database, job_of


@dataclass(frozen=True, slots=True)
class Page:
    """`jobs` are the person's own, live ones first, then the newest; `places` their places in the line, 1 is next.

    Of other people's jobs only the numbers are told. `matches` counts all jobs that were asked for.
    """

    jobs: tuple[Job, ...]
    places: Mapping[int, int] = field(default_factory=dict)
    matches: int = 0
    others_running: int = 0
    others_waiting: int = 0
    worker_is_alive: bool = False


def read_page(database: Database, owner: str, search: str, states: Collection[JobState], limit: int) -> Page:
    line = places()
    wanted = [JOBS.c.owner == owner, sa.not_(JOBS.c.hidden)]
    if search.strip():
        texts = (JOBS.c.name, sa.cast(JOBS.c.models, sa.Text), JOBS.c.shape)
        wanted.append(sa.or_(*(text.icontains(search.strip(), autoescape=True) for text in texts)))
    if states:
        wanted.append(JOBS.c.state.in_(sorted(states)))
    rows = (
        ROWS.add_columns(line.c.place, sa.func.count().over().label("matches"))
        .outerjoin(line, line.c.id == JOBS.c.id)
        .where(*wanted)
        .order_by(IS_LIVE.desc(), JOBS.c.id.desc())
        .limit(limit)
    )
    with database.quick.connect() as connection:
        found: Sequence[Any] = connection.execute(rows).all()
        others = connection.execute(_others(database, owner)).one()
    return Page(
        jobs=tuple(job_of(row) for row in found),
        places={row.id: row.place for row in found if row.place is not None},
        matches=found[0].matches if found else 0,
        others_running=others.running,
        others_waiting=others.waiting,
        worker_is_alive=others.silence is not None and others.silence < SILENCE,
    )


def _others(database: Database, owner: str) -> sa.Select[tuple[int, int, float | None]]:
    """One row: how many jobs of other people run and wait, and for how long no worker has said that it lives."""
    of_others = (IS_LIVE, JOBS.c.owner != owner)
    return sa.select(
        sa.select(sa.func.count()).where(*of_others, sa.not_(IS_WAITING)).scalar_subquery().label("running"),
        sa.select(sa.func.count()).where(*of_others, IS_WAITING).scalar_subquery().label("waiting"),
        (database.now - sa.select(sa.func.max(WORKERS.c.at)).scalar_subquery()).label("silence"),
    )
