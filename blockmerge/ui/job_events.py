"""`/jobs/events`: a person's jobs as a stream of events, for programs that would else ask again and again."""

import asyncio
import json
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from blockmerge.jobs.own_jobs import OwnJobs
from blockmerge.jobs.page import Page
from blockmerge.jobs.states import Job
from blockmerge.jobs.store import Store
from blockmerge.settings import Settings
from blockmerge.ui.views import rate, time_left
from blockmerge.ui.visitors import owner_of

LOOK_EVERY = 0.5  # seconds
SAY_EVERY = 15.0  # seconds; proxies cut connections on which nothing is said


def job_events_router(store: Store, settings: Settings) -> APIRouter:
    router = APIRouter()

    @router.get("/jobs/events")
    async def events(request: Request) -> StreamingResponse:
        own = OwnJobs(store, settings, owner_of(request))
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_events(own), media_type="text/event-stream", headers=headers)

    return router


async def _events(own: OwnJobs) -> AsyncIterator[str]:
    """All jobs at first, then each time that something about them has changed; until the other side has gone."""
    shown, silent = "", 0.0
    while True:
        now = json.dumps(page_value(await run_in_threadpool(own.page)), ensure_ascii=False)
        silent += LOOK_EVERY
        if now != shown:
            yield f"event: jobs\ndata: {now}\n\n"
            shown, silent = now, 0.0
        elif silent >= SAY_EVERY:
            yield ": nothing new\n\n"
            silent = 0.0
        await asyncio.sleep(LOOK_EVERY)


def page_value(page: Page) -> dict[str, object]:
    """A page as one JSON value."""
    return {
        "jobs": [_job_value(job, page.places.get(job.id)) for job in page.jobs],
        "others": {"running": page.others_running, "waiting": page.others_waiting},
        "worker": page.worker_is_alive,
    }


def _job_value(job: Job, place: int | None) -> dict[str, object]:
    value: dict[str, object] = {"id": job.id, "name": job.name, "state": job.state.value, "place": place}
    if job.progress is not None:
        value |= {
            "stage": job.progress.stage.value,
            "done": job.progress.done,
            "total": job.progress.total,
            "rate": rate(job.progress),
            "seconds_left": time_left(job.progress),
        }
    return value | {"error": job.error, "digest": job.digest, "warnings": list(job.warnings)}
