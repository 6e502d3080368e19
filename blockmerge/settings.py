"""Settings: the environment, read once by app.py and the command line into one frozen object."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs

from blockmerge.errors import SettingsError

SPACE_BUCKET = Path("/data")
SPLIT_FROM = 20 * 10**9  # bytes; below it, what a split saves is some tens of seconds (docs/scale.md)
_SQLITE = "sqlite:///"
_POSTGRES = "postgresql://"
_DATABASE = re.compile(r"postgresql://(?:[^/@\s]+@)?[^/@\s]+/[^/?\s]+(?:\?\S*)?")
_ONES: Mapping[str, int] = {"": 1}
_BYTES: Mapping[str, int] = {"": 1, "MB": 10**6, "GB": 10**9, "TB": 10**12, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


@dataclass(frozen=True, slots=True)
class Settings:
    """All paths are absolute. `models` are the folders whose checkpoints the page offers, `output` takes the results,
    `home` holds the queue and the logs, `queue` is the queue's address, `hosts` are further names the page answers to.

    A worker does `jobs_at_once`, each in `job_memory` bytes; a result of `split_from` bytes or more is made by all
    workers together, where several share a queue. `waiting_limit` jobs of a person may wait; all results
    together may take `disk_budget` bytes and are kept for `keep_days`; without end where None. `metrics`: the page
    answers at /metrics. Finished results are copied to `bucket`, too. `password` is asked of everyone who opens the
    page, empty for none.
    """

    models: tuple[Path, ...]
    output: Path
    home: Path
    queue: str
    hosts: tuple[str, ...]
    jobs_at_once: int = 1
    job_memory: int | None = None
    split_from: int = SPLIT_FROM
    waiting_limit: int = 100
    disk_budget: int | None = None
    keep_days: int | None = None
    metrics: bool = False
    bucket: Path | None = None
    password: str = field(default="", repr=False)

    @property
    def is_shared(self) -> bool:
        """Whether workers on any number of machines may take jobs from the queue."""
        return self.queue.startswith(_POSTGRES)

    @property
    def shelves(self) -> tuple[Path, ...]:
        """The folders whose models the page offers: results are models, too."""
        return (*self.models, self.output, *([self.bucket] if self.bucket else []))

    @property
    def shown_queue(self) -> str:
        """The queue's address without its password."""
        address = urlsplit(self.queue)
        host = address.netloc.rpartition("@")[2]
        return f"{_POSTGRES}{host}{address.path}" if self.is_shared else str(self.queue_file)

    @property
    def queue_file(self) -> Path:
        return Path(self.queue.removeprefix(_SQLITE))

    @property
    def logs(self) -> Path:
        return self.home / "logs"


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read every BLOCKMERGE_… variable; an empty one counts as not set.

    Raises SettingsError with every problem.
    """
    problems: list[str] = []
    home = _folder(environ.get("BLOCKMERGE_HOME") or platformdirs.user_data_dir("blockmerge", appauthor=False))
    queue = environ.get("BLOCKMERGE_QUEUE") or f"{_SQLITE}{(home / 'queue.db').as_posix()}"
    hosts = tuple(host.strip().lower() for host in environ.get("BLOCKMERGE_HOSTS", "").split(",") if host.strip())
    problems += [problem for problem in (_queue_problem(queue), *map(_host_problem, hosts)) if problem]
    numbers = _Numbers(environ, problems)
    jobs_at_once = numbers.read("JOBS_AT_ONCE", "a number of jobs, such as 2") or 1
    waiting_limit = numbers.read("WAITING_LIMIT", "a number of jobs, such as 20") or 100
    job_memory = numbers.read("JOB_MEMORY", "a size such as 8GB", _BYTES)
    split_from = numbers.read("SPLIT_FROM", "a size such as 20GB", _BYTES) or SPLIT_FROM
    keep_days = numbers.read("KEEP_DAYS", "a number of days, such as 30")
    disk_budget = numbers.read("DISK_BUDGET", "a size such as 500GB", _BYTES)
    if problems:
        raise SettingsError(*problems)
    return Settings(
        models=tuple(_folder(text) for text in environ.get("BLOCKMERGE_MODELS", "").split(os.pathsep) if text),
        output=_folder(environ.get("BLOCKMERGE_OUTPUT") or "output"),
        home=home,
        queue=queue if queue.startswith(_POSTGRES) else f"{_SQLITE}{_folder(queue.removeprefix(_SQLITE)).as_posix()}",
        hosts=hosts,
        jobs_at_once=jobs_at_once,
        job_memory=job_memory,
        split_from=split_from,
        waiting_limit=waiting_limit,
        disk_budget=disk_budget,
        keep_days=keep_days,
        metrics=environ.get("BLOCKMERGE_METRICS", "") not in ("", "0"),
        bucket=_bucket(environ),
        password=environ.get("BLOCKMERGE_PASSWORD", ""),
    )


def environment_of(settings: Settings) -> dict[str, str]:
    """The variables from which read_settings makes these settings, less the password: how a child process gets them."""
    return {
        "BLOCKMERGE_PASSWORD": "",  # the page's alone
        "BLOCKMERGE_MODELS": os.pathsep.join(map(str, settings.models)),
        "BLOCKMERGE_OUTPUT": str(settings.output),
        "BLOCKMERGE_HOME": str(settings.home),
        "BLOCKMERGE_QUEUE": settings.queue,
        "BLOCKMERGE_HOSTS": ",".join(settings.hosts),
        "BLOCKMERGE_JOBS_AT_ONCE": str(settings.jobs_at_once),
        "BLOCKMERGE_JOB_MEMORY": str(settings.job_memory or ""),
        "BLOCKMERGE_SPLIT_FROM": str(settings.split_from),
        "BLOCKMERGE_WAITING_LIMIT": str(settings.waiting_limit),
        "BLOCKMERGE_DISK_BUDGET": str(settings.disk_budget or ""),
        "BLOCKMERGE_KEEP_DAYS": str(settings.keep_days or ""),
        "BLOCKMERGE_METRICS": "1" if settings.metrics else "",
        "BLOCKMERGE_BUCKET": str(settings.bucket or ""),
    }


class _Numbers:
    """Reads numbers from the environment and notes what is none."""

    def __init__(self, environ: Mapping[str, str], problems: list[str]) -> None:
        self._environ = environ
        self._problems = problems

    def read(self, name: str, expected: str, units: Mapping[str, int] = _ONES) -> int | None:
        """A whole number above 0 with one of the units, or None where the variable is not set."""
        text = self._environ.get(f"BLOCKMERGE_{name}", "").strip()
        if not text:
            return None
        match = re.fullmatch(r"(\d{1,15})\s*([A-Za-z]*)", text)
        if match is None or match[2] not in units or int(match[1]) == 0:
            self._problems.append(f"BLOCKMERGE_{name}: expected {expected}, found {text!r}.")
            return None
        return int(match[1]) * units[match[2]]


def _folder(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _bucket(environ: Mapping[str, str]) -> Path | None:
    """What is attached to a Space is mounted at /data. Where nothing is, that folder is as short-lived as any other."""
    named = environ.get("BLOCKMERGE_BUCKET")
    if named:
        return _folder(named)
    is_attached = "SPACE_ID" in environ and SPACE_BUCKET.is_mount() and os.access(SPACE_BUCKET, os.W_OK)
    return SPACE_BUCKET / "blockmerge" if is_attached else None


def _queue_problem(queue: str) -> str | None:
    if queue.startswith("postgres"):
        # The address holds a password, so it is not repeated.
        is_whole = queue.startswith(_POSTGRES) and _DATABASE.fullmatch(queue)
        return None if is_whole else f"BLOCKMERGE_QUEUE: expected {_POSTGRES}USER:PASSWORD@HOST:PORT/DATABASE."
    file = queue.removeprefix(_SQLITE)
    if not queue.startswith(_SQLITE) or not file or file.startswith(":") or "?" in file:
        return (
            f"BLOCKMERGE_QUEUE: expected sqlite:///FILE or {_POSTGRES}…, found {_scheme(queue)}. "
            "Leave it out for a file in BLOCKMERGE_HOME."
        )
    return None


def _scheme(queue: str) -> str:
    """An address that may hold a password, as it can be shown."""
    return f"{queue.partition('://')[0]}://…" if "@" in queue else repr(queue)


def _host_problem(host: str) -> str | None:
    if "/" in host or ":" in host or " " in host:
        return f"BLOCKMERGE_HOSTS: expected names such as box.example, found {host!r}. Leave out https:// and the port."
    return None
