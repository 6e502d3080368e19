"""One attempt at one job: what the worker does between taking a ticket and having recorded how it ended."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from blockmerge.core.describe import size_text
from blockmerge.core.progress import Progress
from blockmerge.jobs.job_log import JobLog
from blockmerge.jobs.merge_process import Died, MergeProcess
from blockmerge.jobs.messages import Ending, MergeDone, MergeFailed, PartDone, Request, Split
from blockmerge.jobs.parts import Parts
from blockmerge.jobs.process import death_sentence
from blockmerge.jobs.recovery import end_cancelled, fail, try_again
from blockmerge.jobs.results import remove_part_folder
from blockmerge.jobs.secrets import mask_secrets
from blockmerge.jobs.share import Lead, Share
from blockmerge.jobs.states import BEFORE_DONE, LEGAL_MOVES, LOCAL, RUNNING, STATE_OF_STAGE, Job, JobState
from blockmerge.jobs.store import Store

LOOK_EVERY = 0.1  # seconds between two looks whether the job is still wanted
CANCEL_GRACE = 0.6  # seconds from a cancel to the kill; with the look before it the process is gone within 1 s
STOP_GRACE = 5.0


class Overtaken(Exception):
    """This worker was taken for dead, and another one has the job now."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """`job` is what it was when the attempt began, `again` whether there was one before; with `split_from` bytes or
    more it is split; `stopping` is set when the worker is told to stop, `nearly_done` called when there is only the
    result to verify; `token` is that of whoever the job is for, where a page beside this worker holds one; `is_home`
    where that page is, if it is anywhere."""

    store: Store
    job: Job
    again: bool
    split_from: int | None
    log: JobLog
    stopping: threading.Event
    nearly_done: Callable[[], object]
    token: str | None = field(default=None, repr=False)
    is_home: bool = True

    def carry_out(self, process: MergeProcess, memory: int | None) -> None:
        """Merge, and record how it ended. The process is of no use afterwards."""
        self.log.say(f"Attempt {self.job.attempt} begins.")
        lead = Lead(Share(Parts(self.store.database), str(self.job.worker), process), self.job.id)
        try:
            self._settle(self._merge(lead, self._request(memory)), lead)
        except Overtaken:
            self.log.say("Another worker has taken over this job.")

    def _request(self, memory: int | None) -> Request:
        job = self.job
        # This machine's token is its owner's: nobody else's job may read with it.
        return Request(
            *(job.recipe, job.out, self.again, memory, job.owner == LOCAL, self.token, self.split_from),
            device=job.device,
            wish=job.wish,
        )

    def _merge(self, lead: Lead, request: Request) -> Ending | Died:
        process = lead.share.process
        try:
            process.begin(request, self.log.write)
            deadline: float | None = None
            while True:
                message = process.receive(LOOK_EVERY)
                if isinstance(message, Ending | Died):
                    return message
                self._hear(message, lead)
                if deadline is not None:
                    if time.monotonic() > deadline:
                        process.kill()
                    continue
                deadline = self._stop_unless_wanted(process)
                if deadline is None and lead.go_on():
                    self.log.say(f"All parts are whole: {lead.said()}.")
        finally:
            process.close()
            lead.share.let_go()

    def _hear(self, message: Progress | Split | PartDone | None, lead: Lead) -> None:
        match message:
            case Split(sizes):
                lead.begin(sizes)
                self.log.say(f"Split into {len(sizes)} parts, for all workers.")
            case PartDone():
                lead.share.finish()
            case Progress() if lead.share.part is not None:
                lead.share.report(message)
            case Progress():
                self._relay(message)
        progress = lead.progress()
        if progress is not None:
            self._relay(progress)

    def _stop_unless_wanted(self, process: MergeProcess) -> float | None:
        """Ask a merge to stop that is no longer wanted; until when it may take to do so, None while it is wanted."""
        now = self.store.get(self.job.id)
        if now.attempt != self.job.attempt:
            raise Overtaken
        if now.cancel_asked:
            process.cancel()
            return time.monotonic() + CANCEL_GRACE
        if self.stopping.is_set():
            process.pause()
            return time.monotonic() + STOP_GRACE
        return None

    def _relay(self, progress: Progress) -> None:
        state = STATE_OF_STAGE[progress.stage]
        before = {origin for origin in RUNNING if state in LEGAL_MOVES[origin]}
        if state is not JobState.CHECKING and self.store.move(self.job.ticket, before, state):
            self.log.say(f"{state.value}: {size_text(progress.total)}.")
            if state is JobState.VERIFYING:
                self.nearly_done()
        self.store.report_progress(self.job.id, progress)

    def _settle(self, ending: Ending | Died, lead: Lead) -> None:
        """Record how the attempt ended."""
        job, store = self.job, self.store
        cancelled = store.is_cancel_asked(job.id)
        if cancelled or isinstance(ending, MergeFailed):
            lead.call_off()
        match ending:
            case MergeDone():
                fields: dict[str, object] = {name: getattr(ending, name) for name in ("digest", "nbytes", "seconds")}
                if ending.address:
                    fields |= {"published": ending.address, "deleted": time.time()}
                store.move(job.ticket, BEFORE_DONE, JobState.DONE, **fields, warnings=list(ending.warnings))
                self.log.say(f"Done in {ending.seconds:.1f} s: {size_text(ending.nbytes)}, digest {ending.digest}.")
            case MergeFailed(needs_sign_in=True) if not self.is_home and not cancelled:
                self.log.say("It needs a token that no worker here has: it goes on beside the page that asked for it.")
                store.move(job.ticket, RUNNING, JobState.WAITING, stays_home=True)
                end_cancelled(store, job)
            case MergeFailed():
                self._fail(ending)
            case Died() if cancelled and job.out.exists():
                # Killed between giving the result its name and saying so: the next attempt recognises it.
                store.move(job.ticket, RUNNING, JobState.WAITING, cancel_asked=False)
            case _ if cancelled:
                remove_part_folder(job.out)
                store.move(job.ticket, RUNNING, JobState.CANCELLED)
                self.log.say("Cancelled.")
            case Died(returncode) if not self.stopping.is_set():
                error = death_sentence(returncode)
                self.log.say(error)
                try_again(store, job, error)
            case _:
                self.log.say("Stopped with the worker; it goes on with the next one.")
                store.move(job.ticket, RUNNING, JobState.WAITING)
                end_cancelled(store, job)

    def _fail(self, ending: MergeFailed) -> None:
        error = mask_secrets(ending.error)
        self.log.say(error)
        fail(self.store, self.job, error, needs_sign_in=ending.needs_sign_in)
