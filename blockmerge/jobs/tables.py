"""The tables of the queue, ours beside dbos' own, and how to reach them on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from blockmerge.core.progress import Stage
from blockmerge.core.wish import Wish
from blockmerge.engine.devices import CPU
from blockmerge.jobs.states import LIVE, LOCAL, Job, JobProgress, JobState

META = sa.MetaData()
JOBS = sa.Table(
    "bm_jobs",
    META,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False, server_default=LOCAL),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("turn", sa.Integer, nullable=False, server_default="0"),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("begun", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("worker", sa.Text),
    sa.Column("crashes", sa.Integer, nullable=False),
    sa.Column("units", sa.Integer, nullable=False, server_default="0"),
    sa.Column("cancel_asked", sa.Boolean, nullable=False),
    sa.Column("recipe", sa.Text, nullable=False),
    sa.Column("out", sa.Text, nullable=False),
    sa.Column("models", sa.JSON, nullable=False),
    sa.Column("weights", sa.JSON, nullable=False),
    sa.Column("shape", sa.Text, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("started", sa.Double),
    sa.Column("finished", sa.Double),
    sa.Column("error", sa.Text),
    sa.Column("digest", sa.Text),
    sa.Column("nbytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("seconds", sa.Double),
    sa.Column("warnings", sa.JSON, nullable=False),
    sa.Column("kept", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("deleted", sa.Double),
    sa.Column("hidden", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("published", sa.Text),
    sa.Column("device", sa.Text, nullable=False, server_default=CPU),
    sa.Column("home", sa.Text),
    sa.Column("stays_home", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("wish", sa.JSON(none_as_null=True)),
    sqlite_autoincrement=True,  # an id is never given twice: it is in log names and addresses
)
_LIVE_TEXT = sa.text(f"state IN ({', '.join(repr(str(state)) for state in sorted(LIVE))})")
INDEXES = (
    # Lower case, because some file systems hold "A" and "a" for the same folder.
    sa.Index(
        "bm_one_live_folder",
        sa.func.lower(JOBS.c.out),
        unique=True,
        sqlite_where=_LIVE_TEXT,
        postgresql_where=_LIVE_TEXT,
    ),
    sa.Index("bm_jobs_state", JOBS.c.state),
    sa.Index("bm_jobs_owner", JOBS.c.owner, JOBS.c.id),
)
PROGRESS = sa.Table(
    "bm_progress",
    META,
    sa.Column("job", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("done", sa.BigInteger, nullable=False),
    sa.Column("total", sa.BigInteger, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("since", sa.Double, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)
LOGS = sa.Table(
    "bm_logs",
    META,
    sa.Column("job", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("lines", sa.Text, nullable=False),
)
WORKERS = sa.Table(
    "bm_workers",
    META,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    # Grows with every beat: others see by it that the worker lives, whatever any clock says.
    sa.Column("beats", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("home", sa.Text),
    # Its GPU, or why there is none; both are NULL until it has looked.
    sa.Column("gpu", sa.Text),
    sa.Column("no_gpu", sa.Text),
)
# The output shards of a job that several workers share: who merges which, `done` of its `nbytes`, and which are whole.
PARTS = sa.Table(
    "bm_parts",
    META,
    sa.Column("job", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("nbytes", sa.BigInteger, nullable=False),
    sa.Column("done", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("whole", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("wanted", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("worker", sa.Text),
)
# A worker that is dead, or taken for it, is no longer in the table of workers, so it holds nothing.
_IS_ALIVE = sa.and_(PARTS.c.worker.is_not(None), PARTS.c.worker.in_(sa.select(WORKERS.c.id)))
IS_HELD = sa.and_(sa.not_(PARTS.c.whole), _IS_ALIVE)
IS_LIVE = JOBS.c.state.in_(sorted(LIVE))
IS_WAITING = JOBS.c.state == JobState.WAITING
IN_LINE = (JOBS.c.turn, JOBS.c.id)
_PROGRESS_FIELDS = ("stage", "done", "total", "detail", "since", "at")
ROWS = sa.select(JOBS, *(PROGRESS.c[name] for name in _PROGRESS_FIELDS)).select_from(
    JOBS.outerjoin(PROGRESS, PROGRESS.c.job == JOBS.c.id)
)
_FIELDS = tuple(str(column.key) for column in ROWS.selected_columns)
SILENCE = 10.0  # seconds without a beat after which a worker counts as gone
_ONE_AT_A_TIME = 4_206_227_001  # any number that no other program takes for its own


class Database:
    """`durable` transactions are on the disk when they end; `quick` ones may be lost with the machine's power."""

    def __init__(self, url: str) -> None:
        address = sa.make_url(url)
        self.is_sqlite = address.get_backend_name() == "sqlite"
        if self.is_sqlite:
            Path(address.database or "").parent.mkdir(parents=True, exist_ok=True)
            self.durable, self.quick = _sqlite(address, "full"), _sqlite(address, "normal")
        else:
            self.durable, self.quick = _postgres(address, "on"), _postgres(address, "off")
        with self.durable.begin() as connection:
            self._set_up(connection)

    def close(self) -> None:
        self.durable.dispose()
        self.quick.dispose()

    @contextmanager
    def alone(self) -> Iterator[sa.Connection]:
        """A durable transaction in which no other one of this kind runs: what it reads stays true while it writes."""
        with self.durable.begin() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ONE_AT_A_TIME)))
            yield connection

    @property
    def now(self) -> sa.ColumnElement[float]:
        """Seconds since 1970 by the database's clock, the one that all machines share."""
        text = "(julianday('now') - 2440587.5) * 86400.0" if self.is_sqlite else "extract(epoch from clock_timestamp())"
        return sa.literal_column(text, sa.Double)

    def _set_up(self, connection: sa.Connection) -> None:
        """Make what is not there yet, also of an older queue: its tables get the columns that are new."""
        if not self.is_sqlite:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ONE_AT_A_TIME)))
        for table in META.sorted_tables:
            connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
            there = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
            for column in table.columns:
                if column.name not in there:
                    made = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
                    connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {made}")
        connection.exec_driver_sql("DROP INDEX IF EXISTS bm_one_live_name")  # of the first queues
        connection.execute(JOBS.update().where(JOBS.c.nbytes.is_(None)).values(nbytes=0))
        for index in INDEXES:
            connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))


def _sqlite(address: sa.URL, synchronous: str) -> sa.Engine:
    engine = sa.create_engine(address, connect_args={"timeout": 30})

    def set_pragmas(connection: Any, _: object) -> None:
        # Without WAL a page that polls makes the worker wait for seconds (docs/decisions.md).
        connection.execute("pragma journal_mode=wal")
        connection.execute(f"pragma synchronous={synchronous}")

    sa.event.listen(engine, "connect", set_pragmas)
    return engine


def _postgres(address: sa.URL, synchronous: str) -> sa.Engine:
    return sa.create_engine(
        address.set(drivername="postgresql+psycopg"),
        connect_args={"options": f"-c synchronous_commit={synchronous}", "connect_timeout": 10},
        pool_pre_ping=True,  # the server may have been started anew
        pool_size=2,
    )


@lru_cache(maxsize=10_000)
def _folder(path: str) -> Path:
    """Browsers ask for the same jobs twice a second, and taking paths apart is a third of what an answer costs."""
    return Path(path)


def job_of(row: sa.Row[Any]) -> Job:
    """The Job in a row of ROWS; further columns behind those do not matter."""
    values = dict(zip(_FIELDS, row, strict=False))
    stage, *course = (values.pop(name) for name in _PROGRESS_FIELDS)
    values["progress"] = None if stage is None else JobProgress(Stage(stage), *course)
    values["state"] = JobState(values["state"])
    values["out"] = _folder(values["out"])
    values["wish"] = Wish(**values["wish"]) if values["wish"] else None
    for name in ("models", "weights", "warnings"):
        values[name] = tuple(values[name])
    return Job(**values)
