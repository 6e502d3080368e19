"""One worker's share of a job that is split: its merge process does one part after the other."""

import time
from collections import Counter
from dataclasses import dataclass

from blockmerge.core.progress import Progress, Stage
from blockmerge.jobs.merge_process import MergeProcess
from blockmerge.jobs.parts import Part, Parts

LOOK_EVERY = 0.1  # seconds between two looks whether helpers have let go
LET_GO = 1.0  # seconds in which living helpers let go of what was called off
REPORT_EVERY = 0.5  # seconds between two reports of a part, and between two sums of all of them


@dataclass(slots=True)
class Share:
    """`part` is what the process is at, if anything."""

    parts: Parts
    worker: str
    process: MergeProcess
    part: Part | None = None
    reported: float = 0.0

    @property
    def is_wanted(self) -> bool:
        """Whether there is a part, and it is still this worker's to merge."""
        return self.part is not None and self.parts.is_wanted(self.part, self.worker)

    def take(self, job_id: int) -> bool:
        """Have the process go on with a part that is free; False where there is none."""
        self.part = self.parts.claim(self.worker, job_id)
        if self.part is not None:
            self.process.order(self.part.number)
        return self.part is not None

    def report(self, progress: Progress) -> None:
        """Tell the others how far the part is, now and then."""
        now = time.monotonic()
        if self.part is not None and now - self.reported >= REPORT_EVERY:
            self.reported = now
            self.parts.report(self.part, self.worker, progress.done)

    def finish(self) -> None:
        """The process has said that its part is whole."""
        if self.part is not None:
            self.parts.finish(self.part, self.worker)
            self.part = None

    def let_go(self) -> None:
        """The process has ended."""
        if self.part is not None:
            self.parts.let_go(self.part, self.worker)
            self.part = None


@dataclass(slots=True)
class Lead:
    """The share of the worker whose job it is, which also sees to the parts as a whole: from `begin` to the join."""

    share: Share
    job_id: int
    is_split: bool = False
    is_joining: bool = False
    reported: float = 0.0

    def begin(self, sizes: tuple[int, ...]) -> None:
        self.share.parts.begin(self.job_id, sizes)
        self.is_split = True

    def go_on(self) -> bool:
        """Order the process to do what is next, if it waits for that; True when that is the join, as all are whole."""
        if not self.is_split or self.is_joining or self.share.part is not None or self.share.take(self.job_id):
            return False
        course = self.share.parts.course(self.job_id)
        self.is_joining = course.whole == course.count
        if self.is_joining:
            self.share.process.order(None)
        return self.is_joining

    def progress(self) -> Progress | None:
        """What all workers together have done, now and then until the join."""
        now = time.monotonic()
        if not self.is_split or self.is_joining or now - self.reported < REPORT_EVERY:
            return None
        self.reported = now
        course = self.share.parts.course(self.job_id)
        return Progress(Stage.MERGE, course.done, course.total, f"{course.whole} of {course.count} parts are whole")

    def call_off(self) -> None:
        """Return when nobody works on any part, or whoever still does has stood still for too long to matter.

        Also of an attempt that did not come as far as its parts: helpers of the one before may be at them.
        """
        self.share.parts.call_off(self.job_id)
        until = time.monotonic() + LET_GO
        while self.share.parts.has_helpers(self.job_id) and time.monotonic() < until:
            time.sleep(LOOK_EVERY)

    def said(self) -> str:
        """How many parts each worker has merged."""
        counts = Counter(self.share.parts.workers(self.job_id))
        return ", ".join(f"{count} by {worker}" for worker, count in sorted(counts.items()))
