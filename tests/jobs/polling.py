"""How long a page's query takes while a job writes its progress: `python -m tests.jobs.polling [--queue URL]`."""

import argparse
import tempfile
import threading
import time
from pathlib import Path

from blockmerge.core.progress import Progress, Stage
from blockmerge.jobs.own_jobs import OwnJobs
from blockmerge.jobs.states import LOCAL, JobState
from blockmerge.jobs.store import Store
from blockmerge.settings import read_settings
from tests.jobs.rows import bring, new_job

BROWSERS = 10
HISTORY = 300  # jobs
SECONDS = 20.0
TICK = 0.5  # seconds between two looks of a browser


def measure(queue: str, home: Path) -> list[float]:
    """The seconds of every query, sorted."""
    settings = read_settings({"BLOCKMERGE_HOME": str(home), "BLOCKMERGE_QUEUE": queue})
    took: list[float] = []
    with Store(queue) as page, Store(queue) as worker:
        for number in range(HISTORY):
            bring(worker, worker.add(new_job(f"old-{number}")), JobState.CANCELLED)
        job = worker.add(new_job("running"))
        bring(worker, job, JobState.MERGING)
        own = OwnJobs(page, settings, LOCAL)
        until = time.monotonic() + SECONDS

        def poll(number: int) -> None:
            time.sleep(TICK * number / BROWSERS)  # nobody opens a page at the very moment when all others do
            while time.monotonic() < until:
                start = time.monotonic()
                own.page()
                took.append(time.monotonic() - start)
                time.sleep(TICK)

        threads = [threading.Thread(target=poll, args=[number]) for number in range(BROWSERS)]
        for thread in threads:
            thread.start()
        done = 0
        while time.monotonic() < until:
            worker.report_progress(job, Progress(Stage.MERGE, done := done + 1, 10**6))
            worker.beat("worker")
            time.sleep(0.1)
        for thread in threads:
            thread.join()
    return sorted(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queue")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        took = measure(chosen.queue or f"sqlite:///{folder}/queue.db", Path(folder))
    shown = {name: f"{1000 * took[int(len(took) * share)]:.1f} ms" for name, share in (("p50", 0.5), ("p99", 0.99))}
    print(f"{len(took)} queries of {BROWSERS} browsers: {shown}, longest {1000 * took[-1]:.1f} ms")


if __name__ == "__main__":
    main()
