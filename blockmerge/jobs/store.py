"""The table of jobs: the only truth about their states, shared by the page and the workers.

Every method is one short transaction, so any number of threads and processes may use the same queue.
"""

import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from blockmerge.core.progress import Progress, Stage
from blockmerge.errors import JobRequestError
from blockmerge.jobs.states import LEGAL_MOVES, LIVE, Job, JobProgress, JobState, NewJob, Ticket

_META = sa.MetaData()
_JOBS = sa.Table(
    "bm_jobs",
    _META,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("crashes", sa.Integer, nullable=False),
    sa.Column("cancel_asked", sa.Boolean, nullable=False),
    sa.Column("recipe", sa.Text, nullable=False),
    sa.Column("out", sa.Text, nullable=False),
    sa.Column("models", sa.JSON, nullable=False),
    sa.Column("weights", sa.JSON, nullable=False),
    sa.Column("shape", sa.Text, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("started", sa.Float),
    sa.Column("finished", sa.Float),
    sa.Column("error", sa.Text),
    sa.Column("digest", sa.Text),
    sa.Column("nbytes", sa.BigInteger),
    sa.Column("seconds", sa.Float),
    sa.Column("warnings", sa.JSON, nullable=False),
    sqlite_autoincrement=True,  # an id is never given twice: it is in log names and addresses
)
_IS_LIVE = _JOBS.c.state.in_(sorted(LIVE))
# Lower case, because some file systems hold "A" and "a" for the same folder.
_ONE_LIVE_NAME = sa.Index(
    "bm_one_live_name",
    sa.func.lower(_JOBS.c.name),
    unique=True,
    sqlite_where=sa.text("state IN ('Waiting', 'Checking', 'Merging', 'Verifying')"),
)
_PROGRESS = sa.Table(
    "bm_progress",
    _META,
    sa.Column("job", sa.Integer, primary_key=True),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("done", sa.BigInteger, nullable=False),
    sa.Column("total", sa.BigInteger, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
_WORKERS = sa.Table(
    "bm_workers",
    _META,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
)
_ROWS = sa.select(
    _JOBS,
    *(_PROGRESS.c[name] for name in ("stage", "done", "total", "detail", "since", "at")),
).select_from(_JOBS.outerjoin(_PROGRESS, _PROGRESS.c.job == _JOBS.c.id))


class Store:
    """The jobs in one queue; `url` is that of Settings.queue. Close it, or use it in a `with`."""

    def __init__(self, url: str) -> None:
        Path(sa.make_url(url).database or "").parent.mkdir(parents=True, exist_ok=True)
        self._durable = _engine(url, "full")
        # Progress is out of date within a second: not worth waiting for the disk.
        self._quick = _engine(url, "normal")
        with self._durable.begin() as connection:
            for table in _META.sorted_tables:
                connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
            connection.execute(sa.schema.CreateIndex(_ONE_LIVE_NAME, if_not_exists=True))

    def close(self) -> None:
        self._durable.dispose()
        self._quick.dispose()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, job: NewJob) -> int:
        """Put a job at the end of the line and return its number. Raises JobRequestError where its name is taken."""
        values = {
            "name": job.name,
            "state": JobState.WAITING,
            "attempt": 1,
            "crashes": 0,
            "cancel_asked": False,
            "recipe": job.recipe,
            "out": str(job.out),
            "models": list(job.models),
            "weights": list(job.weights),
            "shape": job.shape,
            "created": time.time(),
            "warnings": [],
        }
        try:
            with self._durable.begin() as connection:
                return int(connection.execute(_JOBS.insert().returning(_JOBS.c.id), values).scalar_one())
        except sa.exc.IntegrityError as error:
            raise JobRequestError("A job with this name is waiting already. Choose another name.") from error

    def get(self, job_id: int) -> Job:
        """Raises JobRequestError where there is no such job."""
        with self._quick.connect() as connection:
            row = connection.execute(_ROWS.where(_JOBS.c.id == job_id)).one_or_none()
        if row is None:
            raise JobRequestError("No such job.")
        return _job(row)

    def recent(self, limit: int) -> tuple[Job, ...]:
        """The last `limit` jobs, newest first."""
        return self._select(_ROWS.order_by(_JOBS.c.id.desc()).limit(limit))

    def live(self) -> tuple[Job, ...]:
        """Every job that has not ended, in the order in which they get their turn."""
        return self._select(_ROWS.where(_IS_LIVE).order_by(_JOBS.c.id))

    def _select(self, query: sa.Select[Any]) -> tuple[Job, ...]:
        with self._quick.connect() as connection:
            return tuple(_job(row) for row in connection.execute(query))

    def place_in_line(self, job_id: int) -> int | None:
        """1 for the job that is next; None for one that is not waiting."""
        waiting = _JOBS.c.state == JobState.WAITING
        query = sa.select(sa.func.count()).where(waiting, _JOBS.c.id <= job_id)
        with self._quick.connect() as connection:
            is_waiting = connection.execute(sa.select(_JOBS.c.id).where(waiting, _JOBS.c.id == job_id)).one_or_none()
            return int(connection.execute(query).scalar_one()) if is_waiting else None

    def ask_cancel(self, job_id: int) -> None:
        """Cancel a job that never ran now, any other as soon as a worker sees it, which removes what the job has left
        behind. Raises JobRequestError."""
        with self._durable.begin() as connection:
            asked = connection.execute(
                _JOBS.update().where(_JOBS.c.id == job_id, _IS_LIVE).values(cancel_asked=True)
            ).rowcount
        if not asked:
            raise JobRequestError(f"Job {job_id} is {self.get(job_id).state} already: there is nothing to cancel.")
        self._cancel(_JOBS.c.attempt == 1)

    def cancel_waiting(self) -> None:
        """End the waiting jobs whose cancel was asked for."""
        self._cancel()

    def _cancel(self, *conditions: sa.ColumnElement[bool]) -> None:
        with self._durable.begin() as connection:
            connection.execute(
                _JOBS.update()
                .where(_JOBS.c.state == JobState.WAITING, _JOBS.c.cancel_asked, *conditions)
                .values(state=JobState.CANCELLED, finished=time.time())
            )

    def is_cancel_asked(self, job_id: int) -> bool:
        with self._quick.connect() as connection:
            return bool(connection.execute(sa.select(_JOBS.c.cancel_asked).where(_JOBS.c.id == job_id)).scalar_one())

    def move(self, ticket: Ticket, origins: Collection[JobState], target: JobState, **fields: object) -> bool:
        """Compare and set: False, and nothing changed, where the job is in none of `origins` or at another attempt.

        A move back to Waiting begins a new attempt. `fields` are further columns of bm_jobs.
        Raises ValueError for a move that is not legal, whatever the job's state.
        """
        illegal = [origin for origin in origins if target not in LEGAL_MOVES[origin]]
        if illegal:
            raise ValueError(f"A job cannot go from {', '.join(sorted(illegal))} to {target}")
        values: dict[str, object] = {"state": target, **fields}
        if target is JobState.WAITING:
            values |= {"attempt": ticket.attempt + 1, "started": None}
        elif target is JobState.CHECKING:
            values["started"] = time.time()
        elif target not in LIVE:
            values["finished"] = time.time()
        here = (_JOBS.c.id == ticket.job, _JOBS.c.attempt == ticket.attempt, _JOBS.c.state.in_(sorted(origins)))
        with self._durable.begin() as connection:
            moved = connection.execute(_JOBS.update().where(*here).values(values)).rowcount == 1
            if moved and target is JobState.WAITING:
                connection.execute(_PROGRESS.delete().where(_PROGRESS.c.job == ticket.job))
        return moved

    def renew(self, ticket: Ticket) -> bool:
        """Give a waiting job a new attempt: its old ticket was used up without a start."""
        here = (_JOBS.c.id == ticket.job, _JOBS.c.attempt == ticket.attempt, _JOBS.c.state == JobState.WAITING)
        with self._durable.begin() as connection:
            query = _JOBS.update().where(*here).values(attempt=ticket.attempt + 1)
            return connection.execute(query).rowcount == 1

    def report_progress(self, job_id: int, progress: Progress) -> None:
        """Replace what is known of a job's progress; only the worker that runs the job may call it."""
        now = time.time()
        values = {"done": progress.done, "total": progress.total, "detail": progress.detail, "at": now}
        same_stage = (_PROGRESS.c.job == job_id, _PROGRESS.c.stage == progress.stage)
        with self._quick.begin() as connection:
            if connection.execute(_PROGRESS.update().where(*same_stage).values(values)).rowcount == 0:
                connection.execute(_PROGRESS.delete().where(_PROGRESS.c.job == job_id))
                connection.execute(_PROGRESS.insert(), {"job": job_id, "stage": progress.stage, "since": now, **values})

    def beat(self, worker: str) -> None:
        """Say that this worker lives."""
        now = time.time()
        with self._quick.begin() as connection:
            if connection.execute(_WORKERS.update().where(_WORKERS.c.id == worker).values(at=now)).rowcount == 0:
                connection.execute(_WORKERS.insert(), {"id": worker, "at": now})

    def last_beat(self) -> float | None:
        """When any worker was last alive; None if there never was one."""
        with self._quick.connect() as connection:
            found: float | None = connection.execute(sa.select(sa.func.max(_WORKERS.c.at))).scalar_one()
            return found


def _engine(url: str, synchronous: str) -> sa.Engine:
    engine = sa.create_engine(url, connect_args={"timeout": 30})

    def set_pragmas(connection: Any, _: object) -> None:
        # Without WAL a page that polls makes the worker wait for seconds (docs/decisions.md).
        connection.execute("pragma journal_mode=wal")
        connection.execute(f"pragma synchronous={synchronous}")

    sa.event.listen(engine, "connect", set_pragmas)
    return engine


def _job(row: sa.Row[Any]) -> Job:
    values = row._asdict()
    progress = None
    if values["stage"] is not None:
        progress = JobProgress(
            Stage(values["stage"]),
            *(values[name] for name in ("done", "total", "detail", "since", "at")),
        )
    return Job(
        **{column.name: values[column.name] for column in _JOBS.columns}
        | {
            "state": JobState(values["state"]),
            "out": Path(values["out"]),
            "models": tuple(values["models"]),
            "weights": tuple(values["weights"]),
            "warnings": tuple(values["warnings"]),
            "progress": progress,
        }
    )
