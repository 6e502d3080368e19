"""Numbers about a queue in the text format of Prometheus, counted in the table when somebody asks for them."""

from collections.abc import Iterator, Mapping

import sqlalchemy as sa

from blockmerge.jobs.states import JobState
from blockmerge.jobs.tables import JOBS, PROGRESS, SILENCE, WORKERS, Database


def metrics_text(database: Database) -> str:
    with database.quick.connect() as connection:
        rows = connection.execute(sa.select(JOBS.c.state, sa.func.count().label("jobs")).group_by(JOBS.c.state))
        jobs = {row.state: row.jobs for row in rows}
        done = connection.execute(
            sa.select(sa.func.sum(JOBS.c.nbytes), sa.func.sum(JOBS.c.seconds)).where(JOBS.c.state == JobState.DONE)
        ).one()
        kept = sa.select(sa.func.sum(JOBS.c.nbytes)).where(JOBS.c.state == JobState.DONE, JOBS.c.deleted.is_(None))
        running = sa.select(sa.func.sum(PROGRESS.c.done)).join(JOBS, JOBS.c.id == PROGRESS.c.job)
        merging = connection.execute(running.where(JOBS.c.state == JobState.MERGING)).scalar_one()
        alive = sa.select(sa.func.count()).where(WORKERS.c.at > database.now - SILENCE)
        lines = [
            *_metric(
                "jobs", "gauge", "Jobs by state.", {f'{{state="{state}"}}': jobs.get(state, 0) for state in JobState}
            ),
            *_metric("queue_length", "gauge", "Jobs that wait.", {"": jobs.get(JobState.WAITING, 0)}),
            *_metric("workers", "gauge", "Workers that live.", {"": connection.execute(alive).scalar_one()}),
            *_metric("merged_bytes_total", "counter", "Bytes of all results.", {"": done[0] or 0}),
            *_metric("merge_seconds", "summary", "How long merges took.", _summary(jobs, done[1] or 0.0)),
            *_metric("kept_bytes", "gauge", "Bytes of the results that are there.", {"": _sum(connection, kept)}),
            *_metric("merging_bytes", "gauge", "Bytes written by the merges that run.", {"": merging or 0}),
        ]
    return "\n".join(lines) + "\n"


def _sum(connection: sa.Connection, query: sa.Select[int]) -> int:
    return connection.execute(query).scalar_one() or 0


def _summary(jobs: Mapping[str, int], seconds: float) -> Mapping[str, float]:
    return {"_sum": seconds, "_count": jobs.get(JobState.DONE, 0)}


def _metric(name: str, kind: str, what: str, values: Mapping[str, float]) -> Iterator[str]:
    full = f"blockmerge_{name}"
    yield f"# HELP {full} {what}"
    yield f"# TYPE {full} {kind}"
    yield from (f"{full}{suffix} {value}" for suffix, value in values.items())
