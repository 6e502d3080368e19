"""What one person sees of the queue and may do with it: all about the own jobs, of others' only how many there are."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from blockmerge.core.describe import size_text
from blockmerge.engine.devices import CPU, CUDA, DEVICES, used_device
from blockmerge.errors import JobRequestError
from blockmerge.jobs.homes import home_of
from blockmerge.jobs.line import TAKEN, asked_for, change_places, next_turn, put_in_line
from blockmerge.jobs.page import Page, read_page
from blockmerge.jobs.results import delete_result, free_name, remove_part_folder
from blockmerge.jobs.states import LIVE, REPEATABLE, Job, JobState, NewJob, part_folder, refuse_left_over, refuse_taken
from blockmerge.jobs.store import Store
from blockmerge.jobs.tables import IS_LIVE, IS_WAITING, JOBS, LOGS, PROGRESS
from blockmerge.settings import Settings

NO_SUCH_JOB = "No such job."  # also for another person's: that there is one is not told


@dataclass(frozen=True, slots=True)
class OwnJobs:
    """Every method that names a job raises JobRequestError where this person has no such job."""

    store: Store
    settings: Settings
    owner: str

    def page(self, search: str = "", states: Collection[JobState] = (), limit: int = 100) -> Page:
        """The jobs that a page shows; with `search` those whose name, models or shape contain it, with `states` those
        in one of them. Live ones first, then the newest."""
        return read_page(self.store.database, self.owner, search, states, limit)

    def get(self, job_id: int) -> Job:
        job = self.store.get(job_id)
        if job.owner != self.owner:
            raise JobRequestError(NO_SUCH_JOB)
        return job

    def log(self, job_id: int) -> tuple[str, ...]:
        """The last 200 lines, secrets masked."""
        return self.store.read_log(self.get(job_id).id)

    def device_for(self, method: str, device: str) -> str:
        """Where a method is computed when this device is asked for. Raises JobRequestError where none has it."""
        self.check_device(device)
        return used_device(method, device)

    def check_device(self, device: str) -> None:
        """Raises JobRequestError where no worker has this device."""
        found = self.store.find_gpu() if device == CUDA else None
        if device not in DEVICES:
            raise JobRequestError(f"device {device[:40]}: there is no such device. Use {CPU} or {CUDA}.")
        if device == CUDA and found is None:
            raise JobRequestError(
                f"device {CUDA}: no worker has said yet whether it has a GPU. Try again in a moment, or use {CPU}."
            )
        if found is not None and not found.gpu:
            raise JobRequestError(
                f"device {CUDA}: no worker has a GPU ({found.why}). Merge on the processors (device {CPU}), or start a "
                "worker where there is a GPU."
            )

    def add(self, job: NewJob) -> int:
        """Put a job in line and return its number. Raises JobRequestError: its name is taken, or a limit reached."""
        return self.add_many([job])[0]

    def add_many(self, jobs: Sequence[NewJob]) -> tuple[int, ...]:
        """All of them, or none."""
        for job in jobs:
            self.check_device(job.device)
            refuse_taken(job.out)
            refuse_left_over(job.out)
        with self.store.database.alone() as connection:
            self._check_limits(connection, len(jobs), sum(job.nbytes for job in jobs))
            own = [replace(job, owner=self.owner, home=home_of(self.settings)) for job in jobs]
            return tuple(put_in_line(connection, job) for job in own)

    def edit(self, job_id: int, job: NewJob) -> None:
        """Replace what was asked for; the job keeps its place. Only before it begins."""
        before = self._waiting(job_id)
        if before.begun:
            raise JobRequestError(f"Job {job_id} has begun already, so it is as it is. Clone it, and edit the clone.")
        if job.out != before.out:
            refuse_taken(job.out)
            refuse_left_over(job.out)
        with self.store.database.alone() as connection:
            self._check_budget(connection, job.nbytes - before.nbytes)
            values = {**asked_for(job), "attempt": before.attempt + 1}
            here = (JOBS.c.id == job_id, JOBS.c.attempt == before.attempt, IS_WAITING)
            try:
                changed = connection.execute(JOBS.update().where(*here).values(values)).rowcount
            except sa.exc.IntegrityError as error:
                raise JobRequestError(TAKEN) from error
        if not changed:
            raise JobRequestError(
                f"Job {job_id} has begun meanwhile, so it is as it was. Clone it, and edit the clone."
            )

    def move_up(self, job_id: int) -> None:
        """Before the own job that waits before it; nothing happens where it is the first."""
        self._change_places(job_id, -1)

    def move_down(self, job_id: int) -> None:
        self._change_places(job_id, 1)

    def _change_places(self, job_id: int, step: int) -> None:
        self.get(job_id)
        with self.store.database.alone() as connection:
            change_places(connection, self.owner, job_id, step)

    def retry(self, job_id: int) -> None:
        """Put a job that failed, was cancelled or needed a sign-in in line again; it goes on from what is kept."""
        job = self.get(job_id)
        if job.state not in REPEATABLE:
            raise JobRequestError(f"Job {job_id} is {job.state}: only a job that failed or was cancelled can go on.")
        self.check_device(job.device)
        with self.store.database.alone() as connection:
            self._check_limits(connection, 1, job.nbytes)
            values = {
                "state": JobState.WAITING,
                "turn": next_turn(connection, self.owner),
                "attempt": job.attempt + 1,
                # What it left behind is still its own; a name without a folder may have become another's.
                "begun": job.kept > 0,
                "crashes": 0,
                "cancel_asked": False,
                "error": None,
                "started": None,
                "finished": None,
                "hidden": False,
                "home": home_of(self.settings),
            }
            here = (JOBS.c.id == job_id, JOBS.c.state == job.state, JOBS.c.attempt == job.attempt)
            try:
                connection.execute(JOBS.update().where(*here).values(values))
            except sa.exc.IntegrityError as error:
                raise JobRequestError(TAKEN) from error
            connection.execute(PROGRESS.delete().where(PROGRESS.c.job == job_id))

    def clone(self, job_id: int) -> int:
        """The same once more under a free name; returns the number of the new job."""
        job = self.get(job_id)
        taken = {live.name.lower() for live in self.store.live()}
        out = free_name(job.out, taken)
        nbytes = 0 if job.wish else job.nbytes
        return self.add(
            NewJob(
                *(out.name, job.recipe, out, job.models, job.weights, job.shape, self.owner, nbytes, job.device),
                wish=job.wish,
            ),
        )

    def cancel(self, job_id: int) -> None:
        self.store.ask_cancel(self.get(job_id).id)

    def delete_files(self, job_id: int) -> None:
        """Delete a result, or what is kept of a failed job, as far as it is proven to be this job's."""
        job = self.get(job_id)
        if job.state in LIVE:
            raise JobRequestError(f"Job {job_id} is {job.state}: cancel it first.")
        if job.state is JobState.DONE:
            delete_result(job)
        elif job.kept:
            if not part_folder(job.out).exists() and job.out.exists():
                raise JobRequestError(
                    f"{job.out} has its name already, but nothing proves yet that it is whole. "
                    "Let the job go on: then it can be deleted."
                )
            remove_part_folder(job.out)
        self.store.note_deleted(job_id)

    def forget(self, job_id: int) -> None:
        """Take an ended job out of the history; its files stay, and go when the time for results is over."""
        job = self.get(job_id)
        if job.state in LIVE:
            raise JobRequestError(f"Job {job_id} is {job.state}: cancel it first.")
        with self.store.database.durable.begin() as connection:
            connection.execute(JOBS.update().where(JOBS.c.id == job_id).values(hidden=True))
            connection.execute(LOGS.delete().where(LOGS.c.job == job_id))

    def _waiting(self, job_id: int) -> Job:
        job = self.get(job_id)
        if job.state is not JobState.WAITING:
            raise JobRequestError(f"Job {job_id} is {job.state}, so it cannot be edited. Clone it, and edit the clone.")
        return job

    def _check_limits(self, connection: sa.Connection, jobs: int, nbytes: int) -> None:
        own = sa.select(sa.func.count()).where(IS_WAITING, JOBS.c.owner == self.owner)
        waiting, limit = connection.execute(own).scalar_one(), self.settings.waiting_limit
        if waiting + jobs > limit:
            raise JobRequestError(
                f"{waiting} of your jobs are waiting, and {limit} may. Wait until some are done, or remove some."
            )
        self._check_budget(connection, nbytes)

    def _check_budget(self, connection: sa.Connection, nbytes: int) -> None:
        budget = self.settings.disk_budget
        is_there = sa.or_(IS_LIVE, sa.and_(JOBS.c.state == JobState.DONE, JOBS.c.deleted.is_(None)))
        used = connection.execute(sa.select(sa.func.sum(JOBS.c.nbytes)).where(is_there)).scalar_one() or 0
        if budget is not None and used + nbytes > budget:
            raise JobRequestError(
                f"All results may take {size_text(budget)}, and {size_text(max(0, budget - used))} of it is free; "
                f"{size_text(nbytes)} more is needed. Delete the files of a job that is done."
            )
