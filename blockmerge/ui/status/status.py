"""What the header says: the job that runs, and what this machine has free. It counts done jobs in the page's title."""

import shutil
from pathlib import Path
from typing import Any

from blockmerge.core.describe import size_text
from blockmerge.engine.memory import memory_here
from blockmerge.jobs.page import Page
from blockmerge.jobs.states import RUNNING, Job, JobState
from blockmerge.settings import Settings
from blockmerge.ui.job_cards import percent_of, progress_of
from blockmerge.ui.parts import SHARED, OwnComponent
from blockmerge.ui.views import left_text, time_left
from blockmerge.ui.wording import say


class Status(OwnComponent):
    """Fires `show` with {"do": "show", "job": number} when a person wants to see the running job."""

    FRAME = '<div class="status"></div>'
    SCRIPTS = STYLES = (SHARED, "status")
    TEXTS = ("header",)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(elem_id="status", **kwargs)


def status_value(settings: Settings, page: Page) -> dict[str, object]:
    running = next((job for job in page.jobs if job.state in RUNNING), None)
    memory = memory_here()
    return {
        "job": _running(running) if running else None,
        "memory": say("header.memory", free=coarse(memory.free), total=coarse(memory.total)),
        "disk": say("header.disk", free=coarse(free_space(settings.output))),
        "done": [job.id for job in page.jobs if job.state is JobState.DONE],
    }


def _running(job: Job) -> dict[str, object]:
    progress = progress_of(job)
    left = time_left(progress)
    name = "header.job" if progress is None else "header.job_progress"
    text = say(name, id=job.id, state=job.state.value, percent=percent_of(progress))
    return {
        "id": job.id,
        "percent": percent_of(progress),
        "text": text + (say("header.left", left=left_text(left)) if left else ""),
    }


def coarse(nbytes: int) -> str:
    """Whole gigabytes above ten of them: what jumps with every file is no news."""
    return f"{nbytes / 1e9:.0f} GB" if nbytes >= 10**10 else size_text(nbytes)


def free_space(folder: Path) -> int:
    """Of the disk on which the folder is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
