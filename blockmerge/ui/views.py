"""From jobs to what the page says about them: plain values, no widgets."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from blockmerge.core.describe import size_text
from blockmerge.core.progress import Stage
from blockmerge.jobs.states import LIVE, RUNNING, Job, JobProgress, JobState

SHORTEST_MEASURE = 0.5  # seconds; a rate over less is noise


@dataclass(frozen=True, slots=True)
class Moment:
    """A time (seconds since 1970) that the browser writes in its own time zone."""

    time: float


@dataclass(frozen=True, slots=True)
class Code:
    code: str


Text = Sequence[str | Moment | Code]


@dataclass(frozen=True, slots=True)
class Segment:
    """A stage in the progress bar: `state` is done, now or next, `share` how much of it is filled."""

    state: str
    share: float
    title: str
    detail: str


@dataclass(frozen=True, slots=True)
class Card:
    """One job as the list shows it.

    `kind` chooses icon and colour; `spoken` is what a screen reader hears when it changes; `cancel` is the label of
    the button that cancels, `path` the folder that can be copied, `files` the address of a result, empty if there is
    none.
    """

    id: int
    title: str
    about: Sequence[str]
    weights: Sequence[float]
    kind: str
    state: str
    line: Text
    spoken: str
    notes: Sequence[str] = ()
    facts: Sequence[tuple[str, Text]] = ()
    segments: Sequence[Segment] = ()
    percent: int = 0
    cancel: str = ""
    path: str = ""
    files: str = ""


def job_list(jobs: Iterable[Job], *, worker_is_alive: bool) -> dict[str, object]:
    """What the job list shows: running jobs, then those in line in the order of their turn, then the ended ones."""
    by_age = sorted(jobs, key=lambda job: job.id)
    running = [job for job in by_age if job.state in RUNNING]
    waiting = [job for job in by_age if job.state is JobState.WAITING]
    ended = [job for job in reversed(by_age) if job.state not in LIVE]
    turn = _turn(running)
    cards = [
        *map(_running_card, running),
        *(_waiting_card(job, place, turn) for place, job in enumerate(waiting, 1)),
        *map(_ended_card, ended),
    ]
    stuck = bool(running or waiting) and not worker_is_alive
    return {
        "cards": [asdict(card) for card in cards],
        "live": len(running) + len(waiting),
        "note": "No worker is running. Jobs wait until there is one." if stuck else "",
    }


def tab_title(live: int) -> str:
    return f"Jobs {live}" if live else "Jobs"


def _running_card(job: Job) -> Card:
    progress = _progress(job)
    left = time_left(progress)
    line = ", ".join(filter(None, (progress.detail if progress else "", f"{left_text(left)} left" if left else "")))
    percent = _percent(progress)
    quarter = f", {percent // 25 * 25} percent" if job.state is JobState.MERGING else ""
    return Card(
        id=job.id,
        title=_title(job),
        about=_about(job),
        weights=job.weights,
        kind="run",
        state="Cancelling" if job.cancel_asked else job.state.value,
        line=(line,),
        spoken=f"Job {job.id}, {job.state.value}{quarter}",
        notes=_interruptions(job),
        facts=_facts(job, progress),
        segments=_segments(job, progress),
        percent=percent,
        cancel="" if job.cancel_asked else "Cancel",
    )


def _waiting_card(job: Job, place: int, turn: str) -> Card:
    return Card(
        id=job.id,
        title=_title(job),
        about=_about(job),
        weights=job.weights,
        kind="wait",
        state=job.state.value,
        line=(f"next in line{turn}" if place == 1 else f"number {place} in line",),
        spoken=f"Job {job.id}, Waiting",
        notes=_interruptions(job),
        cancel="Remove",
    )


def _ended_card(job: Job) -> Card:
    is_done = job.state is JobState.DONE
    line, notes = _ending(job)
    return Card(
        id=job.id,
        title=_title(job),
        about=_about(job),
        weights=job.weights,
        kind={JobState.DONE: "done", JobState.FAILED: "bad"}.get(job.state, "off"),
        state=job.state.value,
        line=line,
        spoken=f"Job {job.id}, {job.state.value}",
        notes=notes,
        path=str(job.out) if is_done else "",
        files=f"files/{job.id}/" if is_done else "",
    )


def _ending(job: Job) -> tuple[Text, Sequence[str]]:
    """What is said beside the state, and the sentences below."""
    finished = Moment(job.finished or job.created)
    if job.state is JobState.FAILED:
        first, *others = (job.error or "").splitlines() or [""]
        return (first,), others
    if job.state is JobState.CANCELLED:
        return (finished, ", before it began" if job.started is None else ", the unfinished result is removed"), ()
    size = f"{size_text(job.nbytes or 0)} in {duration_text(job.seconds or 0)}"
    return (finished, f", {size}, digest ", Code((job.digest or "")[:8])), job.warnings


def _title(job: Job) -> str:
    return " × ".join(job.models)


def _about(job: Job) -> Sequence[str]:
    return tuple(filter(None, (job.shape, f"as {job.name}")))


def _interruptions(job: Job) -> Sequence[str]:
    times = {0: "", 1: "once"}.get(job.crashes, f"{job.crashes} times")
    return (f"The worker was killed {times} during this job; it began anew.",) if times else ()


def _progress(job: Job) -> JobProgress | None:
    """The progress of the stage that the job is in; that of the stage before is not shown as this one's."""
    stage = {JobState.CHECKING: Stage.CHECK, JobState.MERGING: Stage.MERGE, JobState.VERIFYING: Stage.VERIFY}[job.state]
    return job.progress if job.progress and job.progress.stage is stage else None


def _turn(running: Sequence[Job]) -> str:
    if not running:
        return ", starts in a moment"
    left = time_left(_progress(running[-1]))
    return f", starts in {left_text(left)}" if left else ""


def rate(progress: JobProgress | None) -> float | None:
    """Bytes a second since the stage began; None until there is something to measure."""
    if progress is None or progress.at - progress.since < SHORTEST_MEASURE or not progress.done:
        return None
    return progress.done / (progress.at - progress.since)


def time_left(progress: JobProgress | None) -> float | None:
    """Seconds until the bytes are written, at the rate so far. Verifying takes a moment only."""
    speed = rate(progress)
    if progress is None or progress.stage is not Stage.MERGE or speed is None:
        return None
    return (progress.total - progress.done) / speed


def _percent(progress: JobProgress | None) -> int:
    return 100 * progress.done // progress.total if progress and progress.total else 0


def _facts(job: Job, progress: JobProgress | None) -> Sequence[tuple[str, Text]]:
    started: tuple[str, Text] = ("Started", (Moment(job.started or job.created),))
    if progress is None or progress.stage is not Stage.MERGE:
        return (started,)
    speed, left = rate(progress), time_left(progress)
    return (
        ("Done", (f"{_percent(progress)} %",)),
        ("Written", (share_text(progress.done, progress.total),)),
        ("Rate", (f"{size_text(speed)}/s" if speed else "not measured yet",)),
        ("Time left", (left_text(left) if left is not None else "not known yet",)),
        started,
    )


_SEGMENTS: Mapping[JobState, tuple[str, str, str]] = {
    JobState.CHECKING: ("Check", "Checking", "Checked"),
    JobState.MERGING: ("Merge", "Merging", "Merged"),
    JobState.VERIFYING: ("Verify", "Verifying", "Verified"),
}


def _segments(job: Job, progress: JobProgress | None) -> Sequence[Segment]:
    size = size_text(job.progress.total) if job.progress else ""
    details: Mapping[JobState, tuple[str, str]] = {  # before its end, after it
        JobState.CHECKING: ("names, shapes, disk", "all tensors fit"),
        JobState.MERGING: (f"{size} to write" if size else "", f"{size} written"),
        JobState.VERIFYING: ("the result against the plan", ""),
    }
    now = list(_SEGMENTS).index(job.state)
    segments = []
    for place, (state, titles) in enumerate(_SEGMENTS.items()):
        tense = 0 if place > now else 1 if place == now else 2
        share = progress.done / progress.total if place == now and progress and progress.total else float(place < now)
        kind = ("next", "now", "done")[tense]
        segments.append(Segment(kind, round(share, 3), titles[tense], details[state][tense == 2]))
    return segments


_UNITS: Mapping[str, int] = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "kB": 10**3, "bytes": 1}


def share_text(done: int, total: int) -> str:
    """Bytes of bytes in one unit: "5.9 of 14.5 GB"."""
    number, unit = size_text(total).split()
    decimals = 1 if "." in number else 0
    return f"{done / _UNITS[unit]:.{decimals}f} of {number} {unit}"


def duration_text(seconds: float) -> str:
    """A time that was measured: "2 min 10 s"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def left_text(seconds: float) -> str:
    """A time that is expected: "about 3 min"."""
    if seconds < 10:
        return "a few seconds"
    if seconds < 55:
        return f"about {round(seconds / 10 + 0.4) * 10} s"
    if seconds < 5400:
        return f"about {max(1, round(seconds / 60))} min"
    return f"about {round(seconds / 3600)} h"
