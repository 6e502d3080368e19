"""What becomes of a job whose attempt ended early: in line again, to go on from what is finished, or failed."""

from pathlib import Path

from blockmerge.engine.journal import read_units
from blockmerge.jobs.results import remove_part_folder
from blockmerge.jobs.states import RUNNING, Job, JobState, part_folder
from blockmerge.jobs.store import Store

MOST_CRASHES = 3
WORKER_KILLED = (
    f"The worker was killed {MOST_CRASHES} times during this merge, most likely out of memory. "
    "Close other programs, or merge on a machine with more memory, and continue."
)


def try_again(store: Store, job: Job, error: str) -> bool:
    """Back in line after a crash; the third crash without a newly finished unit of work fails, with `error`.

    One that was killed between giving the result its name and saying so gets one more attempt, which recognises it; for
    a cancel it is too late then. False where the job has changed meanwhile.
    """
    has_name = job.out.exists()
    crashes = 0 if count_units(job) > job.units else job.crashes + 1
    if crashes >= MOST_CRASHES + has_name:
        return fail(store, job, error, nbytes=_size_of(job.out) if has_name else 0)
    late = {"cancel_asked": False} if has_name else {}
    moved = store.move(job.ticket, RUNNING, JobState.WAITING, crashes=crashes, **late)
    if moved:
        end_cancelled(store, job)
    return moved


def fail(store: Store, job: Job, error: str, *, needs_sign_in: bool = False, nbytes: int = 0) -> bool:
    """Failed, or waiting for a sign-in; what it has finished is kept, so that somebody can let it go on.

    That is `nbytes` of a result that has its name, or what its part folder has.
    """
    kept = nbytes or sum(unit.nbytes for unit in read_units(part_folder(job.out)).values())
    if not kept:
        remove_part_folder(job.out)
    state = JobState.NEEDS_SIGN_IN if needs_sign_in else JobState.FAILED
    return store.move(job.ticket, RUNNING, state, error=error, kept=kept)


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def end_cancelled(store: Store, job: Job) -> None:
    """A job that goes back in line although its cancel was asked for ends there, and nothing of it stays."""
    store.cancel_waiting()
    if store.get(job.id).state is JobState.CANCELLED:
        remove_part_folder(job.out)


def count_units(job: Job) -> int:
    """How many units of work are finished, of this attempt and those before."""
    return len(read_units(part_folder(job.out)))
