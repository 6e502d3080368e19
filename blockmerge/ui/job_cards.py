"""From jobs to what the Jobs tab says about them: plain values, no widgets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from blockmerge.core.describe import size_text
from blockmerge.core.progress import Stage
from blockmerge.engine.devices import CPU
from blockmerge.jobs.page import Page
from blockmerge.jobs.publications import Publication
from blockmerge.jobs.states import LIVE, RUNNING, STATE_OF_STAGE, Job, JobProgress, JobState
from blockmerge.ui.cards import Card, Code, Moment, Segment, Text
from blockmerge.ui.publish_views import published, with_publication
from blockmerge.ui.views import duration_text, left_text, rate, share_text, time_left
from blockmerge.ui.wording import say

MOST_STRANGERS = 20  # cards of other people's jobs; the rest is a number


def job_list(page: Page, publication_of: Callable[[int], Publication | None] = lambda _: None) -> dict[str, object]:
    """What the job list shows: running jobs, then those in line in the order of their turn, then the ended ones."""
    running = [job for job in reversed(page.jobs) if job.state in RUNNING]
    waiting = sorted((job for job in page.jobs if job.id in page.places), key=lambda job: page.places[job.id])
    ended = [job for job in page.jobs if job not in running and job not in waiting]
    turn = _turn(running)
    cards = [
        *map(_running_card, running),
        *(_waiting_card(job, page.places[job.id], turn, len(waiting)) for job in waiting),
        *(with_publication(_ended_card(job), publication_of(job.id)) for job in ended),
    ]
    live = sum(job.state in LIVE for job in page.jobs)
    stuck = bool(running or waiting) and not page.worker_is_alive
    return {
        "cards": [asdict(card) for card in cards],
        "live": live,
        "note": say("jobs.no_worker") if stuck else "",
        "others": _strangers(page, len(waiting)),
        "count": say("jobs.more_jobs", shown=len(page.jobs), count=page.matches) if page.matches > len(cards) else "",
    }


def tab_title(live: int) -> str:
    return say("jobs.tab_live", count=live) if live else say("jobs.tab")


def _strangers(page: Page, waiting: int) -> dict[str, object]:
    """Other people's jobs: of each only that it runs, or its place in the line."""
    mine = set(page.places.values())
    free = [place for place in range(1, waiting + page.others_waiting + 1) if place not in mine]
    lines = [say("jobs.someone_running")] * page.others_running
    lines += [say("jobs.someone_place", place=place) for place in free[: page.others_waiting]]
    rest = len(lines) - MOST_STRANGERS
    return {"lines": lines[:MOST_STRANGERS], "more": say("jobs.someone_more", count=rest) if rest > 0 else ""}


def _running_card(job: Job) -> Card:
    progress = progress_of(job)
    left = time_left(progress)
    line = ", ".join(
        filter(None, (progress.detail if progress else "", say("jobs.left", left=left_text(left)) if left else ""))
    )
    percent = percent_of(progress)
    quarter = percent // 25 * 25
    is_merging = job.state is JobState.MERGING
    return Card(
        id=job.id,
        title=title_of(job),
        about=_about(job),
        weights=job.weights,
        kind="run",
        state=say("jobs.cancelling") if job.cancel_asked else job.state.value,
        line=(line,),
        spoken=say("jobs.spoken_percent", id=job.id, state=job.state.value, percent=quarter)
        if is_merging
        else _spoken(job),
        notes=_interruptions(job),
        facts=_facts(job, progress),
        segments=_segments(job, progress),
        percent=percent,
        acts=_named("log") if job.cancel_asked else _named("log", "cancel"),
        more=_named("use", "clone", "keep_recipe", "compare"),
    )


def _waiting_card(job: Job, place: int, turn: str, waiting: int) -> Card:
    moves = ("up", "down") if waiting > 1 else ()
    edit = () if job.begun else ("edit",)
    return Card(
        id=job.id,
        title=title_of(job),
        about=_about(job),
        weights=job.weights,
        kind="wait",
        state=job.state.value,
        line=(say("jobs.next", turn=turn) if place == 1 else say("jobs.place", place=place),),
        spoken=_spoken(job),
        notes=_interruptions(job),
        acts=[("cancel", say("jobs.remove")), *_named(*moves, *edit)],
        more=_named("use", "clone", "keep_recipe", "compare"),
        name=job.name,
        recipe=job.recipe,
    )


_KINDS = {JobState.DONE: "done", JobState.FAILED: "bad", JobState.NEEDS_SIGN_IN: "lock"}


def _ended_card(job: Job) -> Card:
    has_files = job.state is JobState.DONE and job.deleted is None
    line, notes = _ending(job)
    return Card(
        id=job.id,
        title=title_of(job),
        about=_about(job),
        weights=job.weights,
        kind=_KINDS.get(job.state, "off"),
        state=job.state.value,
        line=line,
        spoken=_spoken(job),
        notes=notes,
        acts=_ended_acts(job, has_files=has_files),
        more=_ended_more(job, has_files=has_files),
        path=str(job.out) if has_files else "",
        files=f"files/{job.id}/" if has_files else "",
        size=size_text(job.nbytes if has_files else job.kept),
    )


def _ended_acts(job: Job, *, has_files: bool) -> Sequence[tuple[str, str]]:
    match job.state:
        case JobState.DONE:
            return _named("try", "use", "publish", "download") if has_files else _named("use")
        case JobState.NEEDS_SIGN_IN:
            return [*_named("cancel"), ("retry", say("jobs.sign_in"))]
        case JobState.FAILED:
            return [("log", say("jobs.details")), ("retry", say("jobs.continue" if job.kept else "jobs.retry"))]
        case _:
            return _named("retry")


def _ended_more(job: Job, *, has_files: bool) -> Sequence[tuple[str, str]]:
    files = ("files", "copy_path") if has_files else ()
    delete = ("delete_files",) if has_files or job.kept else ()
    use = () if job.state is JobState.DONE else ("use",)
    log = () if job.state is JobState.FAILED else ("log",)
    forget = () if job.state in LIVE else ("forget",)
    return _named(*files, *use, "clone", "keep_recipe", "compare", *log, *delete, *forget)


def _named(*acts: str) -> Sequence[tuple[str, str]]:
    return [(act, say(f"jobs.{act}")) for act in acts]


def _ending(job: Job) -> tuple[Text, Sequence[str]]:
    """What is said beside the state, and the sentences below."""
    finished = Moment(job.finished or job.created)
    if job.state in (JobState.FAILED, JobState.NEEDS_SIGN_IN):
        first, *others = (job.error or "").splitlines() or [""]
        return (first,), [*others, *([say("jobs.kept", size=size_text(job.kept))] if job.kept else [])]
    if job.state is JobState.CANCELLED:
        return (finished, say("jobs.before_it_began" if job.started is None else "jobs.removed")), ()
    facts = say("jobs.done", size=size_text(job.nbytes), time=duration_text(job.seconds or 0))
    gone = [] if job.deleted is None else [say("jobs.nothing_here" if job.wish else "jobs.files_deleted")]
    went: Text = (say("publish.published"), published(job.published)) if job.published else ()
    return (finished, facts, Code((job.digest or "")[:8]), *went), [*gone, *job.warnings]


def _spoken(job: Job) -> str:
    return say("jobs.spoken", id=job.id, state=job.state.value)


def title_of(job: Job) -> str:
    return " × ".join(job.models)


def _about(job: Job) -> Sequence[str]:
    device = "" if job.device == CPU else say("jobs.on_gpu")
    place = say("publish.to", repository=job.wish.repository) if job.wish else ""
    return tuple(filter(None, (job.shape, say("jobs.as", name=job.name), device, place)))


def _interruptions(job: Job) -> Sequence[str]:
    if not job.crashes:
        return ()
    return (say("jobs.killed_once") if job.crashes == 1 else say("jobs.killed_times", count=job.crashes),)


_STAGES: Mapping[JobState, Stage] = {state: stage for stage, state in STATE_OF_STAGE.items()}


def progress_of(job: Job) -> JobProgress | None:
    """The progress of the stage that the job is in; that of the stage before is not shown as this one's."""
    return job.progress if job.progress and job.progress.stage is _STAGES.get(job.state) else None


def percent_of(progress: JobProgress | None) -> int:
    return 100 * progress.done // progress.total if progress and progress.total else 0


def _turn(running: Sequence[Job]) -> str:
    if not running:
        return say("jobs.starts_now")
    left = time_left(progress_of(running[-1]))
    return say("jobs.starts_in", left=left_text(left)) if left else ""


_MOVED: Mapping[Stage, str] = {Stage.DOWNLOAD: "fact_fetched", Stage.MERGE: "fact_written"}


def _facts(job: Job, progress: JobProgress | None) -> Sequence[tuple[str, Text]]:
    started: tuple[str, Text] = (say("jobs.fact_started"), (Moment(job.started or job.created),))
    if progress is None or progress.stage not in _MOVED:
        return (started,)
    speed, left = rate(progress), time_left(progress)
    return (
        (say("jobs.fact_done"), (f"{percent_of(progress)} %",)),
        (
            say("jobs.fact_moved" if job.wish else f"jobs.{_MOVED[progress.stage]}"),
            (share_text(progress.done, progress.total),),
        ),
        (say("jobs.fact_rate"), (f"{size_text(speed)}/s" if speed else say("jobs.not_measured"),)),
        (say("jobs.fact_left"), (left_text(left) if left is not None else say("jobs.not_known"),)),
        started,
    )


# In the order of the road. Those that few jobs have are shown while a job is in them.
_ROAD: Mapping[JobState, str] = {
    JobState.CHECKING: "check",
    JobState.DOWNLOADING: "download",
    JobState.MERGING: "merge",
    JobState.VERIFYING: "verify",
    JobState.SAVING: "save",
    JobState.UPLOADING: "upload",
}
_OF_ALL = frozenset({JobState.CHECKING, JobState.MERGING, JobState.VERIFYING})


def _segments(job: Job, progress: JobProgress | None) -> Sequence[Segment]:
    planned = job.nbytes if job.state is JobState.DOWNLOADING else job.progress.total if job.progress else 0
    size = size_text(planned) if planned else ""
    merge = "straight" if job.wish else "merge"
    details: Mapping[JobState, tuple[str, str]] = {  # before its end, after it
        JobState.CHECKING: (say("jobs.check_before"), say("jobs.check_after")),
        JobState.MERGING: (
            say(f"jobs.{merge}_before", size=size) if size else "",
            say(f"jobs.{merge}_after", size=size),
        ),
        JobState.VERIFYING: (say("jobs.verify_before"), ""),
    }
    road = [state for state in _ROAD if state in _OF_ALL or state is job.state]
    now = road.index(job.state)
    segments = []
    for place, state in enumerate(road):
        tense = 0 if place > now else 1 if place == now else 2
        share = progress.done / progress.total if place == now and progress and progress.total else float(place < now)
        kind = ("next", "now", "done")[tense]
        title = say(f"jobs.{_ROAD[state]}_{kind}")
        segments.append(Segment(kind, round(share, 3), title, details.get(state, ("", ""))[tense == 2]))
    return segments
