"""Kills page, worker and merge process in turn while jobs come in; then nothing may be lost, broken or left over.

python -m tests.jobs.kills 1000 [--queue postgresql://…] [--seed 7]
"""

import argparse
import json
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from blockmerge.checkpoints.verify_folder import verify_folder
from blockmerge.jobs.own_jobs import OwnJobs
from blockmerge.jobs.states import LOCAL, RUNNING, Job, JobState
from blockmerge.jobs.store import Store
from blockmerge.settings import read_settings
from tests.jobs.bench import Bench, wait_until, write_hollow_model

TARGETS = ("blockmerge.jobs.run", "blockmerge.jobs.worker", "page")
STATES = (None, JobState.CHECKING, JobState.MERGING, JobState.VERIFYING, JobState.SAVING)
LONGEST_WAIT = 2.0  # seconds between two kills
IN_LINE = 3  # jobs that wait or run at any time
ALL = 100_000  # more jobs than there ever are


@dataclass
class Killing:
    bench: Bench
    models: tuple[Path, Path]
    random: random.Random
    page: subprocess.Popen[bytes]
    hits: Counter[str] = field(default_factory=Counter)
    restarts: list[float] = field(default_factory=list)

    def kill_one(self, target: str) -> None:
        """Kill one of the processes of a kind at a random moment, and note in which state its job was."""
        self.keep_jobs_coming()
        self.wait_for(self.random.choice(STATES))
        found = [psutil.Process(self.page.pid)] if target == "page" else self.bench.processes(target)
        if not found:
            return
        states = [job.state.value for job in self.bench.store.live() if job.state in RUNNING] or ["idle"]
        with suppress(psutil.NoSuchProcess):
            self.random.choice(found).kill()
            self.hits[f"{target.rpartition('.')[2]}, {states[0]}"] += 1
        if target == "page":
            self.page.wait()
            self.start_page()

    def wait_for(self, state: JobState | None) -> None:
        """A random moment, or one in a state that is soon over."""
        until = time.monotonic() + self.random.uniform(0, LONGEST_WAIT) * (1 if state is None else 5)
        while time.monotonic() < until:
            if state in {job.state for job in self.bench.store.live()}:
                return
            time.sleep(0.01)

    def start_page(self) -> None:
        """A page again, and how long it takes until its worker has begun with a job."""
        wait_until(lambda: not self.bench.left_over(), 60, self.bench.left_over)
        known = self.workers()
        start = time.monotonic()
        self.page = self.bench.start_page()

        def has_begun() -> bool:
            self.keep_jobs_coming()  # all may be done by now, or have failed by the last kill
            return bool(self.workers() - known)

        wait_until(has_begun, 120, lambda: self.bench.log_of(self.page))
        self.restarts.append(time.monotonic() - start)

    def workers(self) -> set[str | None]:
        """All that ever began with a job."""
        return {job.worker for job in self.jobs()}

    def jobs(self) -> tuple[Job, ...]:
        return self.bench.store.recent(ALL)

    def keep_jobs_coming(self) -> None:
        self.go_on()
        for _ in range(IN_LINE - len(self.bench.store.live())):
            self.bench.add(f"job-{len(self.jobs())}", self.models)

    def go_on(self) -> None:
        """Three kills without a finished unit fail a job, as they should; what a person does then is Continue."""
        own = OwnJobs(self.bench.store, self.bench.settings, LOCAL)
        for job in self.jobs():
            if job.state is JobState.FAILED:
                assert "killed" in str(job.error), job.error
                own.retry(job.id)

    def finish(self) -> None:
        """Let all jobs come to their end, undisturbed."""

        def all_ended() -> bool:
            self.go_on()
            return not self.bench.store.live()

        wait_until(all_ended, 600, lambda: [(job.id, job.state, job.error) for job in self.bench.store.live()])
        self.page.send_signal(signal.SIGTERM)
        assert self.page.wait(30) == 0


def check(bench: Bench) -> None:
    """Every job is done once and whole; no other folder, no part folder and no process is left."""
    jobs = bench.store.recent(ALL)
    assert {job.state for job in jobs} == {JobState.DONE}, Counter(job.state for job in jobs)
    for job in jobs:
        assert verify_folder(job.out, report=lambda _: None, read_data=True).manifest.result_digest == job.digest
    assert len({job.digest for job in jobs}) == 1
    assert bench.folders() == sorted(job.name for job in jobs)
    assert bench.left_over() == []


def run(kills: int, queue: str | None, seed: int, folder: Path) -> Killing:
    small = (64, 128, 32)
    models = (write_hollow_model(folder / "a", 2, small), write_hollow_model(folder / "b", 2, small))
    environ = {"BLOCKMERGE_HOME": str(folder / "home"), "BLOCKMERGE_OUTPUT": str(folder / "output")}
    settings = read_settings(environ | ({"BLOCKMERGE_QUEUE": queue} if queue else {}))
    with Store(settings.queue) as store:
        bench = Bench(settings, store)
        try:
            killing = Killing(bench, models, random.Random(seed), bench.start_page())
            for number in range(kills):
                killing.kill_one(TARGETS[number % len(TARGETS)])
                if number % 50 == 49:
                    print(json.dumps({"kills": number + 1, "jobs": len(store.recent(ALL))}), flush=True)
            killing.finish()
            check(bench)
        finally:
            for process in bench.started:
                process.kill()
                process.wait()
    return killing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kills", type=int)
    parser.add_argument("--queue")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="blockmerge-kills-") as folder:
        killing = run(arguments.kills, arguments.queue, arguments.seed, Path(folder))
    restarts = sorted(killing.restarts)
    print(json.dumps(dict(sorted(killing.hits.items())), indent=1))
    print(f"{sum(killing.hits.values())} kills; nothing lost, nothing broken, nothing left over")
    print(f"from restart to the first step: median {restarts[len(restarts) // 2]:.1f} s, longest {restarts[-1]:.1f} s")


if __name__ == "__main__":
    main()
