"""Settings: the environment, read once by app.py and the command line into one frozen object."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from blockmerge.errors import SettingsError

_SQLITE = "sqlite:///"


@dataclass(frozen=True, slots=True)
class Settings:
    """All paths are absolute. `models` are the folders whose checkpoints the page offers, `output` takes the results,
    `home` holds the queue and the logs, `queue` is the queue's address, `hosts` are further names the page answers to.
    """

    models: tuple[Path, ...]
    output: Path
    home: Path
    queue: str
    hosts: tuple[str, ...]

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
    if problems:
        raise SettingsError(*problems)
    return Settings(
        models=tuple(_folder(text) for text in environ.get("BLOCKMERGE_MODELS", "").split(os.pathsep) if text),
        output=_folder(environ.get("BLOCKMERGE_OUTPUT") or "output"),
        home=home,
        queue=f"{_SQLITE}{_folder(queue.removeprefix(_SQLITE)).as_posix()}",
        hosts=hosts,
    )


def environment_of(settings: Settings) -> dict[str, str]:
    """The variables from which read_settings makes equal settings: how a child process gets them."""
    return {
        "BLOCKMERGE_MODELS": os.pathsep.join(map(str, settings.models)),
        "BLOCKMERGE_OUTPUT": str(settings.output),
        "BLOCKMERGE_HOME": str(settings.home),
        "BLOCKMERGE_QUEUE": settings.queue,
        "BLOCKMERGE_HOSTS": ",".join(settings.hosts),
    }


def _folder(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _queue_problem(queue: str) -> str | None:
    if queue.startswith("postgres"):
        # The address holds a password, so it is not repeated.
        return "BLOCKMERGE_QUEUE: a Postgres queue is not supported yet. Use sqlite:///FILE, or leave it out."
    file = queue.removeprefix(_SQLITE)
    if not queue.startswith(_SQLITE) or not file or file.startswith(":") or "?" in file:
        return (
            f"BLOCKMERGE_QUEUE: expected sqlite:///FILE, found {queue!r}. Leave it out for a file in BLOCKMERGE_HOME."
        )
    return None


def _host_problem(host: str) -> str | None:
    if "/" in host or ":" in host or " " in host:
        return f"BLOCKMERGE_HOSTS: expected names such as box.example, found {host!r}. Leave out https:// and the port."
    return None
