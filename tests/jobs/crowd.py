"""Many people at once: their jobs are done once each and in turn, cancels race, and nothing grows.

    python -m tests.jobs.crowd 200 50 [--cancels 20] [--queue postgresql://…] [--workers 2]

`python -m tests.jobs.crowd 500 1 --cancels 0` is the soak: memory and open files of the page and its worker.
"""

import argparse
import json
import random
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from blockmerge.errors import JobRequestError
from blockmerge.jobs.own_jobs import OwnJobs
from blockmerge.jobs.states import Job, JobState, NewJob
from blockmerge.jobs.store import Store
from blockmerge.settings import read_settings
from tests.jobs.bench import Bench, wait_until, write_hollow_model

PATIENCE = 3600.0  # seconds
WARM = 10  # jobs after which a process has all it keeps


@dataclass
class Sample:
    """What the processes of the page and its worker hold after so many jobs, by the name of the module."""

    jobs: int
    memory: dict[str, int] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)


def sample(bench: Bench, jobs: int) -> Sample:
    taken = Sample(jobs)
    for name in (str(bench.settings.home / "page.py"), "blockmerge.jobs.worker"):
        for process in bench.processes(name):
            taken.memory[name] = process.memory_info().rss
            taken.files[name] = process.num_fds()
    return taken


def add_jobs(bench: Bench, models: tuple[Path, Path], jobs: int, sessions: int) -> None:
    """Each session adds its share, all at the same time."""

    def add(session: int) -> None:
        own = OwnJobs(bench.store, bench.settings, f"browser:{session}")
        for number in range(session, jobs, sessions):
            own.add(new_job(bench, models, f"job-{number}"))

    together([lambda session=session: add(session) for session in range(sessions)])


def new_job(bench: Bench, models: tuple[Path, Path], name: str) -> NewJob:
    recipe = {"blockmerge": 1, "models": dict(zip("ab", map(str, models), strict=True)), "weights": {"layers": 0.5}}
    return NewJob(name, json.dumps(recipe), bench.settings.output / name, ("a", "b"))


def together(acts: Sequence[Callable[[], object]]) -> None:
    threads = [threading.Thread(target=act) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def check_turns(jobs: Sequence[Job]) -> None:
    """Everybody's jobs began in their order, and nobody's next one waited for two more of another."""
    begun = sorted(jobs, key=lambda job: job.started or 0.0)
    counts: dict[str, int] = {}
    for job in begun:
        counts[job.owner] = counts.get(job.owner, 0) + 1
        left = {other.owner for other in begun if (other.started or 0.0) > (job.started or 0.0)}
        assert all(counts[job.owner] <= counts.get(owner, 0) + 2 for owner in left), (job, counts)
    for owner in counts:
        own = [job.id for job in begun if job.owner == owner]
        assert own == sorted(own), own


def race_cancels(bench: Bench, models: tuple[Path, Path], number: int, chance: random.Random) -> None:
    """All of these jobs are cancelled at any moment of their lives; no process and no folder of them stays."""
    jobs = [bench.store.add(new_job(bench, models, f"unwanted-{job}")) for job in range(number)]

    def cancel(job: int, after: float) -> None:
        time.sleep(after)
        with suppress(JobRequestError):  # it is done already
            bench.store.ask_cancel(job)

    moments = [chance.uniform(0, 1 + number / 4) for _ in jobs]
    together([lambda job=job, after=after: cancel(job, after) for job, after in zip(jobs, moments, strict=True)])
    ended = [bench.wait_for(job, JobState.CANCELLED, JobState.DONE) for job in jobs]
    wait_until(lambda: not bench.is_at_work(), 10, lambda: bench.processes("blockmerge.jobs.run"))
    assert {job.state for job in ended} <= {JobState.CANCELLED, JobState.DONE}
    made = {job.name for job in ended if job.state is JobState.DONE}
    assert {name for name in bench.folders() if name.startswith("unwanted")} == made


def run(bench: Bench, jobs: int, sessions: int, cancels: int, workers: int = 0) -> list[Sample]:
    sizes = (64, 128, 32)
    folder = bench.settings.home / "models"
    models = write_hollow_model(folder / "a", 2, sizes), write_hollow_model(folder / "b", 2, sizes)
    page = bench.start_page()
    for _ in range(workers):
        bench.start_worker()
    add_jobs(bench, models, jobs, sessions)
    samples: list[Sample] = []
    until = time.monotonic() + PATIENCE
    while live := bench.store.live():
        done = jobs - len(live)
        if done >= WARM and not samples:
            samples.append(sample(bench, done))
        assert time.monotonic() < until, live
        time.sleep(0.2)
    samples.append(sample(bench, jobs))
    ended = bench.store.recent(jobs)
    assert {job.state for job in ended} == {JobState.DONE}
    assert len({job.digest for job in ended}) == 1
    assert bench.folders() == sorted(f"job-{number}" for number in range(jobs))
    if not workers:  # of several workers the clocks decide what began first
        check_turns(ended)
    if cancels:
        race_cancels(bench, models, cancels, random.Random(0))
    page.terminate()
    assert page.wait(30) == 0
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("jobs", type=int)
    parser.add_argument("sessions", type=int)
    parser.add_argument("--cancels", type=int, default=20)
    parser.add_argument("--queue")
    parser.add_argument("--workers", type=int, default=0, help="beside the page's own")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="blockmerge-crowd-") as name:
        environ = {"BLOCKMERGE_HOME": f"{name}/home", "BLOCKMERGE_OUTPUT": f"{name}/output"}
        settings = read_settings(environ | ({"BLOCKMERGE_QUEUE": chosen.queue} if chosen.queue else {}))
        with Store(settings.queue) as store:
            bench = Bench(replace(settings, waiting_limit=chosen.jobs), store)
            start = time.monotonic()
            try:
                samples = run(bench, chosen.jobs, chosen.sessions, chosen.cancels, chosen.workers)
            finally:
                for process in bench.started:
                    process.kill()
                    process.wait()
            for taken in (samples[0], samples[-1]):
                print(taken)
            print(f"{chosen.jobs} jobs of {chosen.sessions} people in {time.monotonic() - start:.0f} s, once each")


if __name__ == "__main__":
    main()
