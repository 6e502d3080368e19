"""The Jobs tab: the list, kept up to date by a timer, and the one thing to do with a job, cancelling it."""

import time
from dataclasses import dataclass
from html import escape
from typing import Any, cast

import gradio as gr

from blockmerge.errors import JobRequestError
from blockmerge.jobs.store import Store
from blockmerge.ui.files import LARGEST_ID
from blockmerge.ui.joblist.joblist import JobList
from blockmerge.ui.tabs import Context, Tab
from blockmerge.ui.views import job_list, tab_title

SHOWN = 100  # the newest; older ended jobs are in the queue file
BUSY = 1.0  # seconds between two looks while a job lives
IDLE = 3.0  # never off: another browser may add a job
BEAT_LIMIT = 10.0  # seconds of silence after which a worker counts as gone

Shown = dict[str, object] | None
News = tuple[Any, Any, Any, Any]


def shown_jobs(store: Store) -> dict[str, object]:
    """What the list shows now."""
    jobs = {job.id: job for job in (*store.recent(SHOWN), *store.live())}
    return job_list(jobs.values(), worker_is_alive=is_worker_alive(store))


def is_worker_alive(store: Store) -> bool:
    beat = store.last_beat()
    return beat is not None and time.time() - beat < BEAT_LIMIT


def cancel_job(store: Store, request: object) -> None:
    """Carry out a `cancel` of the list. Raises JobRequestError, whatever was sent."""
    match request:
        case {"job": int(number)} if type(number) is int and 0 < number <= LARGEST_ID:
            store.ask_cancel(number)
        case _:
            raise JobRequestError("No such job.")


@dataclass(frozen=True, slots=True)
class Handlers:
    """What the tab's events call. Each returns news for list, timer, tab and the memory of what this page shows."""

    store: Store

    def refresh(self, before: Shown) -> News:
        now = shown_jobs(self.store)
        if now == before:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        if before is not None and now["live"] == before["live"]:
            return now, gr.skip(), gr.skip(), now
        live = cast(int, now["live"])
        return now, gr.Timer(BUSY if live else IDLE), gr.Tab(label=tab_title(live)), now

    def cancel(self, before: Shown, event: gr.EventData) -> News:
        try:
            cancel_job(self.store, event._data)
        except JobRequestError as error:
            gr.Warning(escape(str(error)))  # Gradio shows it as HTML
        return self.refresh(before)


def build(context: Context) -> None:
    handlers = Handlers(context.store)
    gr.HTML(
        '<div class="jobs-head"><h2>Jobs</h2><span>Jobs run on the server. You can close this page.</span></div>',
        apply_default_css=False,
    )
    jobs, timer, shown = JobList(elem_id="jobs"), gr.Timer(IDLE), gr.State(None)
    tab = jobs.parent
    ways = {
        "inputs": shown,
        "outputs": [jobs, timer, tab, shown],
        "queue": False,
        "show_progress": "hidden",
        "api_visibility": "private",
    }
    gr.on(None, handlers.refresh, **ways)  # when the page is opened
    timer.tick(handlers.refresh, **ways)
    tab.select(handlers.refresh, **ways)
    # Queued, as Gradio has no way to show what gr.Warning says of a call that is not.
    jobs.cancel(handlers.cancel, trigger_mode="multiple", **{**ways, "queue": True})


TAB = Tab("Jobs", 2, build)
