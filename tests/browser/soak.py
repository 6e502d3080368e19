"""The soak of a whole app: `python -m tests.browser.soak 500` merges toys while a Chromium watches the Jobs tab.

Prints the memory and the open files of app.py and of its worker after the first jobs and at the end.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import psutil
from playwright.sync_api import sync_playwright

from blockmerge.jobs.states import JobState
from tests.browser.conftest import RunningApp, running_app
from tests.jobs.bench import Bench, write_hollow_model
from tests.ui.conftest import CHROMIUM_FLAGS, wait_until

WARM = 50  # jobs until everything that is loaded once is loaded
IN_LINE = 3
PATIENCE = 120  # seconds for one job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("jobs", type=int)
    jobs = parser.parse_args().jobs
    with tempfile.TemporaryDirectory(prefix="blockmerge-soak-") as name, sync_playwright() as playwright:
        folder = Path(name)
        models = write_hollow_model(folder / "a", 2, (64, 128, 32)), write_hollow_model(folder / "b", 2, (64, 128, 32))
        path = os.environ.get("BLOCKMERGE_TEST_CHROMIUM")
        browser = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_FLAGS))
        with running_app(folder) as app:
            bench = Bench(app.settings, app.store)
            page = browser.new_page()
            page.goto(f"{app.address}/?tab=jobs")
            for number in range(jobs):
                bench.add(f"job-{number}", models)
                wait_until(lambda: len(app.store.live()) < IN_LINE, PATIENCE)
                if number + 1 in {WARM, jobs}:
                    wait_until(lambda: not app.store.live(), PATIENCE)
                    page.wait_for_timeout(2000)
                    print(number + 1, json.dumps(sample(app)), flush=True)
            ended = app.store.recent(jobs)
            assert {job.state for job in ended} == {JobState.DONE}
        browser.close()


def sample(app: RunningApp) -> dict[str, tuple[float, int]]:
    """MB and open files, by process."""
    [worker] = [child for child in app.children() if child.cmdline()[-1] == "blockmerge.jobs.worker"]
    processes = {"page": psutil.Process(app.process.pid), "worker": worker}
    return {name: (process.memory_info().rss / 1e6, process.num_fds()) for name, process in processes.items()}


if __name__ == "__main__":
    main()
