"""Which workers stand beside which page: those of the same machine with the same BLOCKMERGE_HOME.

A page holds tokens that leave its machine for nowhere (tokens.py), so a job that needs one has to come to it; one that
asks for a GPU has to go where there is one.
"""

import os
import platform
import secrets
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from blockmerge.engine.devices import CPU
from blockmerge.errors import SettingsError
from blockmerge.jobs.states import Job
from blockmerge.settings import Settings

ID_FILE = "home.id"
ID_BYTES = 8


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker is, and whether it has found a GPU there."""

    home: str | None
    has_gpu: bool = False


def is_choosy(job: Job) -> bool:
    """Whether it matters which worker takes it."""
    return job.stays_home or job.device != CPU


def homes_for(job: Job, places: Collection[Place]) -> Sequence[str] | None:
    """The homes whose workers alone may take a job, none as long as it looks for a GPU; None where any worker may."""
    if job.stays_home:
        return None if job.home is None else (job.home,)
    if job.device == CPU or all(place.has_gpu or place.home is None for place in places):
        return None
    return sorted({place.home for place in places if place.has_gpu and place.home is not None})


def home_of(settings: Settings) -> str | None:
    """The name of this machine's home; None for a queue in a file, whose one worker takes every job.

    The machine's own name is part of it: several may share the folder, but not the page.
    """
    if not settings.is_shared:
        return None
    return f"{platform.node()}-{random_bytes_at(settings.home / ID_FILE, ID_BYTES).hex()}"


def random_bytes_at(path: Path, count: int) -> bytes:
    """What the first call wrote there, for this user of the machine alone. Raises SettingsError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(count))
        # Linked when it is whole, by one of those who start at the same moment.
        with suppress(FileExistsError):
            path.hardlink_to(fresh)
        fresh.unlink()
    found = path.read_bytes()
    if len(found) != count:
        raise SettingsError(f"{path} holds {len(found)} bytes, {count} were expected. Delete it: a new one is made.")
    return found
