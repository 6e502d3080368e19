"""What a job is, the states it goes through, and which moves between them are legal."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from blockmerge.core.progress import Stage
from blockmerge.core.wish import Wish
from blockmerge.engine.devices import CPU
from blockmerge.errors import JobRequestError


class JobState(StrEnum):
    """In the order in which a job may go through them."""

    WAITING = "Waiting"
    CHECKING = "Checking"
    DOWNLOADING = "Downloading"
    MERGING = "Merging"
    VERIFYING = "Verifying"
    SAVING = "Saving"
    UPLOADING = "Uploading"
    DONE = "Done"
    NEEDS_SIGN_IN = "Needs sign-in"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


# In these states a merge process may be at work, and the job's part folder is the job's own.
RUNNING = frozenset(
    {
        JobState.CHECKING,
        JobState.DOWNLOADING,
        JobState.MERGING,
        JobState.VERIFYING,
        JobState.SAVING,
        JobState.UPLOADING,
    }
)
# A job that needs a sign-in goes on after it: its name and its folder stay its own.
LIVE = RUNNING | {JobState.WAITING, JobState.NEEDS_SIGN_IN}
# What somebody may have carried out again.
REPEATABLE = frozenset({JobState.NEEDS_SIGN_IN, JobState.FAILED, JobState.CANCELLED})

_STOPPED = REPEATABLE | {JobState.WAITING}
LEGAL_MOVES: Mapping[JobState, frozenset[JobState]] = {
    JobState.WAITING: REPEATABLE | {JobState.CHECKING},
    # Straight to Verifying: the attempt before had published the result, but was killed before it could say so.
    JobState.CHECKING: _STOPPED | {JobState.DOWNLOADING, JobState.MERGING, JobState.VERIFYING},
    JobState.DOWNLOADING: _STOPPED | {JobState.CHECKING, JobState.MERGING},
    JobState.MERGING: _STOPPED | {JobState.VERIFYING},
    JobState.VERIFYING: _STOPPED | {JobState.SAVING, JobState.UPLOADING, JobState.DONE},
    JobState.SAVING: _STOPPED | {JobState.UPLOADING, JobState.DONE},
    JobState.UPLOADING: _STOPPED | {JobState.DONE},
    JobState.DONE: frozenset(),
    JobState.NEEDS_SIGN_IN: frozenset({JobState.WAITING, JobState.FAILED, JobState.CANCELLED}),
    JobState.FAILED: frozenset({JobState.WAITING}),
    JobState.CANCELLED: frozenset({JobState.WAITING}),
}

LOCAL = "local"  # the owner of all jobs where only this machine can reach the page

STATE_OF_STAGE: Mapping[Stage, JobState] = {
    Stage.CHECK: JobState.CHECKING,
    Stage.DOWNLOAD: JobState.DOWNLOADING,
    Stage.MERGE: JobState.MERGING,
    Stage.VERIFY: JobState.VERIFYING,
    Stage.SAVE: JobState.SAVING,
    Stage.PUBLISH: JobState.UPLOADING,
}
BEFORE_DONE = frozenset(state for state, then in LEGAL_MOVES.items() if JobState.DONE in then)


@dataclass(frozen=True, slots=True)
class Ticket:
    """One attempt at one job. The next attempt has another ticket, so whoever holds an old one can change nothing."""

    job: int
    attempt: int

    def __str__(self) -> str:
        return f"{self.job}.{self.attempt}"


@dataclass(frozen=True, slots=True)
class NewJob:
    """What a person asks for. `models` are names to show; `weights`, one per layer, and `shape` are for its picture.

    `nbytes` is what the result will take on the disk, 0 where nobody knows yet; `device` is where it is computed, and
    `home` where the page is that asks. With a `wish` it goes straight to the Hub, and nothing is made at `out`.
    """

    name: str
    recipe: str
    out: Path
    models: tuple[str, ...]
    weights: tuple[float, ...] = ()
    shape: str = ""
    owner: str = LOCAL
    nbytes: int = 0
    device: str = CPU
    home: str | None = None
    wish: Wish | None = None


@dataclass(frozen=True, slots=True)
class JobProgress:
    """Bytes done of bytes planned in this stage, which began at `since`; reported at `at` (seconds since 1970)."""

    stage: Stage
    done: int
    total: int
    detail: str
    since: float
    at: float


@dataclass(frozen=True, slots=True)
class Job:
    """A row of the queue. Times are seconds since 1970; `started` is that of the current or last attempt.

    `error` is set when Failed or when a sign-in is needed; `digest`, `seconds` (of the merge alone) and `warnings` when
    Done. `nbytes` is what the result takes, or will. `begun`: a worker had it once, so its part folder is its own.
    `turn` and then the number decide who is next. `worker` is the one that has it, or had it last. `units` of work were
    finished when this attempt began. `kept` are the bytes that a failed job can go on from. `deleted`: when its files
    were. `published` is the address of the commit or pull request by which it went to the Hub last. `device` is where
    it is computed, `home` where the page is that asked for it (homes.py); a job that `stays_home` needs a token which
    that page holds. What has a `wish` goes straight to the Hub: its files count as deleted as soon as it is Done.
    """

    id: int
    owner: str
    name: str
    state: JobState
    turn: int
    attempt: int
    begun: bool
    worker: str | None
    crashes: int
    units: int
    cancel_asked: bool
    recipe: str
    out: Path
    models: tuple[str, ...]
    weights: tuple[float, ...]
    shape: str
    created: float
    started: float | None
    finished: float | None
    error: str | None
    digest: str | None
    nbytes: int
    seconds: float | None
    warnings: tuple[str, ...]
    kept: int
    deleted: float | None
    hidden: bool
    published: str | None
    device: str
    home: str | None
    stays_home: bool
    wish: Wish | None
    progress: JobProgress | None

    @property
    def ticket(self) -> Ticket:
        return Ticket(self.id, self.attempt)


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))})


def check_result_name(name: str) -> str:
    """The name, if it can be a folder on every system and is none of ours. Raises JobRequestError."""
    if not _NAME.fullmatch(name):
        if len(name) > 96:
            raise JobRequestError(f"The name has {len(name)} characters. Use 96 at most.")
        raise JobRequestError("Use letters, digits, dot, dash and underscore only.")
    if ".." in name or name.endswith("."):
        raise JobRequestError("A name has no two dots in a row and no dot at its end. Choose another name.")
    if name.split(".")[0].lower() in _DEVICES:
        raise JobRequestError(f"{name} is the name of a device on Windows. Choose another name.")
    if name.lower().endswith((".partial", ".old")):
        raise JobRequestError("Names that end in .partial or .old are kept for unfinished and replaced results.")
    return name


def part_folder(out: Path) -> Path:
    """Where the engine works before a result gets its name."""
    return out.with_name(out.name + ".partial")


def result_folder(output: Path, name: str) -> Path:
    """The folder that a job of this name will make. Raises JobRequestError where the name is taken or not a name."""
    out = output / check_result_name(name)
    refuse_taken(out)
    refuse_left_over(out)
    return out


def refuse_taken(out: Path) -> None:
    if out.exists():
        raise JobRequestError(f"{out} exists already. Choose another name.")


def refuse_left_over(out: Path) -> None:
    part = part_folder(out)
    if part.exists():
        raise JobRequestError(
            f"{part} is left from a merge that did not finish. "
            "Choose another name, continue that job, or delete that folder."
        )
