"""The Jobs tab: the list, kept up to date by a timer, and what a person does with jobs."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import gradio as gr

from blockmerge.core.recipe import parse_recipe
from blockmerge.errors import InputError, JobRequestError, RunError
from blockmerge.jobs.own_jobs import OwnJobs
from blockmerge.jobs.states import RUNNING, JobState
from blockmerge.jobs.store import Store
from blockmerge.ui.asked import Asked, read_asked
from blockmerge.ui.job_cards import job_list, tab_title
from blockmerge.ui.joblist.joblist import JobList
from blockmerge.ui.loader.loader import going, read_address, shown
from blockmerge.ui.new_jobs import edited_job, shape_jobs
from blockmerge.ui.publishing import Publisher
from blockmerge.ui.recipe_views import difference, weights_of
from blockmerge.ui.status.status import status_value
from blockmerge.ui.tabs import Context, Tab
from blockmerge.ui.tabs.recipes import keep_recipe
from blockmerge.ui.visitors import owner_of
from blockmerge.ui.wording import say

SHOWN = 100  # jobs; older ones are found by filtering
MOST_LOGS = 5  # that are open at once
LONGEST_TEXT = 300
BUSY = 1.0  # seconds between two looks while a job lives
IDLE = 3.0  # never off: another browser may add a job
BEAT_LIMIT = 10.0  # seconds of silence after which a worker counts as gone

STATES: Mapping[str, Collection[JobState]] = {
    "": (),
    "running": RUNNING,
    **{state.name.lower(): (state,) for state in JobState if state not in RUNNING},
}
Shown = dict[str, object] | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What this page looks at: a filter, the logs that are open, two jobs that are compared, and the dialog in which a
    job's result is published, with the card that was written for it."""

    search: str = ""
    state: str = ""
    logs: tuple[int, ...] = ()
    compared: Mapping[str, object] | None = None
    offered: int = 0
    card: Mapping[str, object] | None = None


def is_worker_alive(store: Store) -> bool:
    beat = store.last_beat()
    return beat is not None and time.time() - beat < BEAT_LIMIT


@dataclass(frozen=True, slots=True)
class Desk:
    """One person at the Jobs tab."""

    context: Context
    own: OwnJobs

    def view(self, wanted: Wanted) -> dict[str, object]:
        """All that the list shows now, by one look at the queue."""
        page = self.own.page(wanted.search, STATES[wanted.state], SHOWN)
        logs = {str(job): self._log(job) for job in wanted.logs}
        publications = self.context.publications
        is_filtered = bool(wanted.search or wanted.state)
        value = job_list(page, publications.look) | {"logs": logs, "compared": wanted.compared}
        return value | {
            "offer": self._publisher.view(wanted.offered) | {"card": wanted.card} if wanted.offered else None,
            "busy": bool(value["live"]) or publications.is_running or self.context.offers.is_asking,
            "filtered": is_filtered,
            "empty": self._empty_sentence(is_filtered=is_filtered),
            "status": status_value(self.context.settings, page),
        }

    def _empty_sentence(self, *, is_filtered: bool) -> str:
        if is_filtered:
            return say("jobs.none_match")
        kept = self.context.kept
        return say("jobs.empty_kept", count=kept) if kept else say("jobs.empty")

    @property
    def _publisher(self) -> Publisher:
        return Publisher(self.context, self.own)

    def _log(self, job: int) -> tuple[str, ...]:
        try:
            return self.own.log(job)
        except JobRequestError:  # removed meanwhile
            return ()

    def carry_out(self, asked: Asked, wanted: Wanted) -> tuple[Wanted, str]:
        """Do what is asked; what is looked at from now on, and a sentence or none. Raises InputError or RunError."""
        match asked.do:
            case "filter":
                return self._filtered(asked, wanted), ""
            case "log":
                self.own.get(asked.job)
                others = tuple(job for job in wanted.logs if job != asked.job)
                return replace(wanted, logs=(*others, asked.job)[-MOST_LOGS:] if asked.on else others), ""
            case "compare":
                return replace(wanted, compared=self._compared(asked) if asked.other else None), ""
            case "offer":
                if asked.job:
                    self._publisher.open(asked.job)
                return replace(wanted, offered=asked.job, card=None), ""
            case "card":
                card = self._publisher.card(asked.job, asked.repository, asked.licence)
                return replace(wanted, card=card), ""
            case _:
                return wanted, self._act(asked)

    def _filtered(self, asked: Asked, wanted: Wanted) -> Wanted:
        if asked.state not in STATES or len(asked.text) > LONGEST_TEXT:
            raise JobRequestError(say("jobs.wrong_request"))
        return replace(wanted, search=asked.text, state=asked.state)

    def _act(self, asked: Asked) -> str:
        job = asked.job
        acts = {
            "cancel": self.own.cancel,
            "up": self.own.move_up,
            "down": self.own.move_down,
            "retry": self.own.retry,
            "delete_files": self.own.delete_files,
            "forget": self.own.forget,
            "use": self.own.get,
            "try": self.own.get,
            "stop_publish": self._publisher.stop,
        }
        if asked.do in acts:
            acts[asked.do](job)
            return ""
        match asked.do:
            case "clone":
                return say("jobs.cloned", id=self.own.clone(job))
            case "keep_recipe":
                held = self.own.get(job)
                kept = keep_recipe(self.context, self.own.owner, held.name, held.recipe)
                return say("recipes.saved_from_job", name=kept.name)
            case "edit":
                self.own.edit(job, edited_job(self.context, self.own.get(job), asked.name, asked.text))
                return say("jobs.edited", id=job)
            case "batch":
                added = self.own.add_many(shape_jobs(self.context, self.own, self.own.get(job), asked.shapes))
                return say("jobs.batch_added_one" if len(added) == 1 else "jobs.batch_added", count=len(added))
            case "publish":
                self._publisher.begin(asked)
                return ""
            case "sign_in":
                return self._publisher.sign_in(job, asked.token)
            case "sign_out":
                return self._publisher.sign_out(job)
        raise JobRequestError(say("jobs.wrong_request"))

    def _compared(self, asked: Asked) -> Mapping[str, object]:
        jobs = [self.own.get(asked.job), self.own.get(asked.other)]
        recipes = [parse_recipe(job.recipe) for job in jobs]
        mine, other = (weights_of(recipe).numbers for recipe in recipes)
        names = [say("jobs.compare_job", id=job.id, name=job.name) for job in jobs]
        return {
            "job": asked.job,
            "other": asked.other,
            "mine": {"name": names[0], "weights": mine},
            "theirs": {"name": names[1], "weights": other},
            "words": difference(*recipes),
        }


@dataclass(frozen=True, slots=True)
class Handlers:
    """What the tab's events call. Each returns news for list, header, timer, tab, and what this page looks at."""

    context: Context

    def refresh(self, before: Shown, wanted: Wanted, request: gr.Request) -> list[Any]:
        return self._news(before, wanted, self._desk(request).view(wanted))

    def ask(self, before: Shown, wanted: Wanted, request: gr.Request, event: gr.EventData) -> list[Any]:
        desk, told, loaded = self._desk(request), {}, gr.skip()
        try:
            asked = read_asked(event._data)
            wanted, sentence = desk.carry_out(asked, wanted)
            told = {"told": sentence, "asked": asked.do, "job": asked.job}
            if asked.do == "use":
                job = desk.own.get(asked.job)
                loaded = shown(job.recipe, job.name, job.shape, job.device)
            elif asked.do == "try":
                loaded = going("try", job=asked.job)
        except (InputError, RunError) as error:
            told = {"wrong": str(error)}
        # The answer is told once, also where it is that of before.
        view = desk.view(wanted) | {"answer": told | {"at": time.time()}}
        return [*self._news(before, wanted, view), loaded]

    def go(self, before: Shown, wanted: Wanted, request: gr.Request, event: gr.EventData) -> list[Any]:
        """To the job that the address names; it tells this also when the page is opened."""
        job = read_address(event._data).job
        return self._news(before, wanted, self._desk(request).view(wanted) | {"named": job})

    def show_job(self, event: gr.EventData) -> Any:
        """From the header to the job that runs."""
        try:
            return going("jobs", job=read_asked(event._data).job or None)
        except JobRequestError:  # forged: the header itself sends numbers
            return gr.skip()

    def _news(self, before: Shown, wanted: Wanted, now: dict[str, object]) -> list[Any]:
        if now == before:
            return [gr.skip()] * 6
        live, was = cast(int, now["live"]), before or {}
        timer = gr.skip() if now["busy"] == was.get("busy") else gr.Timer(BUSY if now["busy"] else IDLE)
        tab = gr.skip() if live == was.get("live") else gr.Tab(label=tab_title(live))
        return [now, now["status"], timer, tab, now, wanted]

    def _desk(self, request: gr.Request) -> Desk:
        owner = owner_of(request)
        return Desk(self.context, OwnJobs(self.context.store, self.context.settings, owner))


def build(context: Context) -> None:
    handlers = Handlers(context)
    jobs, timer, before, wanted = JobList(elem_id="jobs"), gr.Timer(IDLE), gr.State(None), gr.State(Wanted())
    tab, status = jobs.parent, context.status
    news = [jobs, status, timer, tab, before, wanted]
    seen = [before, wanted]
    quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    context.loader.address(handlers.go, seen, news, **quick)
    timer.tick(handlers.refresh, seen, news, **quick)
    tab.select(handlers.refresh, seen, news, **quick)
    jobs.ask(handlers.ask, seen, [*news, context.loader], trigger_mode="multiple", **quick)
    status.show(handlers.show_job, None, context.loader, **quick)


TAB = Tab(say("jobs.tab"), 2, build)
