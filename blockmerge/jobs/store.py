"""The table of jobs: the only truth about their states, shared by the page and the workers.

Every method is one short transaction, so any number of threads and processes may use the same queue. What a person may
do with jobs is in own_jobs.py.
"""

import time
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from blockmerge.core.progress import Progress
from blockmerge.engine.devices import Found
from blockmerge.errors import JobRequestError
from blockmerge.jobs.homes import Place
from blockmerge.jobs.line import put_in_line
from blockmerge.jobs.secrets import mask_secrets
from blockmerge.jobs.states import LEGAL_MOVES, LIVE, Job, JobState, NewJob, Ticket
from blockmerge.jobs.tables import (
    IN_LINE,
    IS_HELD,
    IS_LIVE,
    IS_WAITING,
    JOBS,
    LOGS,
    PARTS,
    PROGRESS,
    ROWS,
    SILENCE,
    WORKERS,
    Database,
    job_of,
)
from blockmerge.settings import Settings


def open_store(settings: Settings) -> "Store":
    """Raises JobRequestError where the queue cannot be reached; the sentence does not show its password."""
    try:
        return Store(settings.queue)
    except sa.exc.OperationalError as error:
        why = mask_secrets(str(error.orig)).strip().splitlines()[0]
        raise JobRequestError(
            f"The queue {settings.shown_queue} cannot be reached: {why}. "
            "Check that its server runs and that BLOCKMERGE_QUEUE is right."
        ) from error


class Store:
    """The jobs in one queue; `url` is that of Settings.queue. Close it, or use it in a `with`."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)

    def close(self) -> None:
        self.database.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, job: NewJob) -> int:
        """Put a job in line and return its number. Raises JobRequestError where its name is taken."""
        with self.database.alone() as connection:
            return put_in_line(connection, job)

    def get(self, job_id: int) -> Job:
        """Raises JobRequestError where there is no such job."""
        with self.database.quick.connect() as connection:
            row = connection.execute(ROWS.where(JOBS.c.id == job_id)).one_or_none()
        if row is None:
            raise JobRequestError("No such job.")
        return job_of(row)

    def recent(self, limit: int) -> tuple[Job, ...]:
        """The last `limit` jobs, newest first."""
        return self._select(ROWS.order_by(JOBS.c.id.desc()).limit(limit))

    def live(self) -> tuple[Job, ...]:
        """Every job that has not ended, in the order in which they get their turn."""
        return self._select(ROWS.where(IS_LIVE).order_by(*IN_LINE))

    def _select(self, query: sa.Select[Any]) -> tuple[Job, ...]:
        with self.database.quick.connect() as connection:
            return tuple(job_of(row) for row in connection.execute(query))

    def place_in_line(self, job_id: int) -> int | None:
        """1 for the job that is next; None for one that is not waiting."""
        line = sa.select(JOBS.c.id).where(IS_WAITING).order_by(*IN_LINE)
        with self.database.quick.connect() as connection:
            waiting = connection.execute(line).scalars().all()
        return waiting.index(job_id) + 1 if job_id in waiting else None

    def ask_cancel(self, job_id: int) -> None:
        """Cancel a job that never ran now, any other as soon as a worker sees it, which removes what the job has left
        behind. Raises JobRequestError."""
        with self.database.durable.begin() as connection:
            asked = connection.execute(
                JOBS.update().where(JOBS.c.id == job_id, IS_LIVE).values(cancel_asked=True)
            ).rowcount
        if not asked:
            raise JobRequestError(f"Job {job_id} is {self.get(job_id).state} already: there is nothing to cancel.")
        self._cancel(sa.not_(JOBS.c.begun))

    def cancel_waiting(self) -> None:
        """End the jobs that nobody runs, or merges a part of, and whose cancel was asked for."""
        self._cancel()

    def _cancel(self, *conditions: sa.ColumnElement[bool]) -> None:
        idle = JOBS.c.state.in_([JobState.WAITING, JobState.NEEDS_SIGN_IN])
        has_helpers = sa.exists().where(PARTS.c.job == JOBS.c.id, IS_HELD)
        with self.database.durable.begin() as connection:
            connection.execute(
                JOBS.update()
                .where(idle, sa.not_(has_helpers), JOBS.c.cancel_asked, *conditions)
                .values(state=JobState.CANCELLED, finished=time.time())
            )

    def is_cancel_asked(self, job_id: int) -> bool:
        with self.database.quick.connect() as connection:
            return bool(connection.execute(sa.select(JOBS.c.cancel_asked).where(JOBS.c.id == job_id)).scalar_one())

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
            values |= {"attempt": ticket.attempt + 1, "started": None, "finished": None}
        elif target is JobState.CHECKING:
            values |= {"started": time.time(), "begun": True}
        elif target not in LIVE:
            values["finished"] = time.time()
        here = (JOBS.c.id == ticket.job, JOBS.c.attempt == ticket.attempt, JOBS.c.state.in_(sorted(origins)))
        with self.database.durable.begin() as connection:
            moved = connection.execute(JOBS.update().where(*here).values(values)).rowcount == 1
            if moved and target is JobState.WAITING:
                connection.execute(PROGRESS.delete().where(PROGRESS.c.job == ticket.job))
            if moved and target not in LIVE:
                connection.execute(PARTS.delete().where(PARTS.c.job == ticket.job))
        return moved

    def renew(self, ticket: Ticket) -> bool:
        """Give a waiting job a new attempt: its old ticket was used up without a start."""
        here = (JOBS.c.id == ticket.job, JOBS.c.attempt == ticket.attempt, IS_WAITING)
        with self.database.durable.begin() as connection:
            query = JOBS.update().where(*here).values(attempt=ticket.attempt + 1)
            return connection.execute(query).rowcount == 1

    def finished_before(self, at: float) -> tuple[Job, ...]:
        """The jobs that were done before this time and whose files are still there."""
        return self._select(
            ROWS.where(JOBS.c.state == JobState.DONE, JOBS.c.finished < at, JOBS.c.deleted.is_(None)).order_by(
                JOBS.c.id
            )
        )

    def note_deleted(self, job_id: int) -> None:
        """A job's files are gone, or no longer its own."""
        with self.database.durable.begin() as connection:
            gone = {"deleted": self.database.now, "kept": 0}
            connection.execute(JOBS.update().where(JOBS.c.id == job_id).values(gone))

    def note_published(self, job_id: int, address: str) -> None:
        with self.database.durable.begin() as connection:
            connection.execute(JOBS.update().where(JOBS.c.id == job_id).values(published=address))

    def report_progress(self, job_id: int, progress: Progress) -> None:
        """Replace what is known of a job's progress; only the worker that runs the job may call it."""
        now = time.time()
        values = {"done": progress.done, "total": progress.total, "detail": progress.detail, "at": now}
        same_stage = (PROGRESS.c.job == job_id, PROGRESS.c.stage == progress.stage)
        with self.database.quick.begin() as connection:
            if connection.execute(PROGRESS.update().where(*same_stage).values(values)).rowcount == 0:
                connection.execute(PROGRESS.delete().where(PROGRESS.c.job == job_id))
                connection.execute(PROGRESS.insert(), {"job": job_id, "stage": progress.stage, "since": now, **values})

    def write_log(self, job_id: int, lines: str) -> None:
        """Replace the end of a job's log; secrets are masked already."""
        with self.database.quick.begin() as connection:
            same = LOGS.update().where(LOGS.c.job == job_id).values(lines=lines)
            if connection.execute(same).rowcount == 0:
                connection.execute(LOGS.insert(), {"job": job_id, "lines": lines})

    def read_log(self, job_id: int) -> tuple[str, ...]:
        """The last lines of a job's log, of all its attempts."""
        with self.database.quick.connect() as connection:
            found = connection.execute(sa.select(LOGS.c.lines).where(LOGS.c.job == job_id)).scalar_one_or_none()
        return tuple((found or "").splitlines())

    def beat(self, worker: str, home: str | None = None, found: Found | None = None) -> None:
        """Say that this worker lives, and where, and which GPU it has found, once it has looked."""
        now = self.database.now
        gpu = {} if found is None else {"gpu": found.gpu, "no_gpu": found.why}
        with self.database.quick.begin() as connection:
            same = WORKERS.update().where(WORKERS.c.id == worker).values(at=now, beats=WORKERS.c.beats + 1, **gpu)
            if connection.execute(same).rowcount == 0:
                connection.execute(WORKERS.insert().values(id=worker, at=now, beats=1, home=home, **gpu))

    def find_gpu(self) -> Found | None:
        """The GPU of a living worker, or why none has one; None where none has looked yet."""
        query = sa.select(WORKERS.c.gpu, WORKERS.c.no_gpu).where(
            WORKERS.c.gpu.is_not(None), WORKERS.c.at > self.database.now - SILENCE
        )
        with self.database.quick.connect() as connection:
            rows = connection.execute(query.order_by(WORKERS.c.gpu.desc(), WORKERS.c.id)).all()
        return Found(*rows[0]) if rows else None

    def beats(self) -> dict[str, int]:
        """How often each worker has said so: one whose number stands still for seconds is dead."""
        with self.database.quick.connect() as connection:
            rows = connection.execute(sa.select(WORKERS.c.id, WORKERS.c.beats))
            return {row.id: row.beats for row in rows}

    def places(self) -> dict[str, Place]:
        """Where each worker is."""
        with self.database.quick.connect() as connection:
            rows = connection.execute(sa.select(WORKERS.c.id, WORKERS.c.home, WORKERS.c.gpu))
            return {row.id: Place(row.home, bool(row.gpu)) for row in rows}

    def remove_worker(self, worker: str) -> None:
        """It has ended, or is dead."""
        with self.database.quick.begin() as connection:
            connection.execute(WORKERS.delete().where(WORKERS.c.id == worker))

    def remove_workers(self) -> None:
        """All of them: whoever calls it has the queue alone."""
        with self.database.quick.begin() as connection:
            connection.execute(WORKERS.delete())

    def last_beat(self) -> float | None:
        """When any worker was last alive; None if there never was one."""
        with self.database.quick.connect() as connection:
            found: float | None = connection.execute(sa.select(sa.func.max(WORKERS.c.at))).scalar_one()
            return found
