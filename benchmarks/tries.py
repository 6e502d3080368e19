"""`python -m benchmarks.tries A B`: how soon the Try tab answers, and what the merge of A and B has of each.

Merges A and B at a quarter of B, serves the page, and asks in a real Chromium. Prints the seconds from the click to the
first token of any and of all columns with the models loaded, each question in a new conversation; how long the page
takes to answer and how far apart its frames are while tokens come; and the losses of all three on A's own answers and
on what the tuned copy of scripts/make_real_pair.py learned to answer: sentences of documentation in CAPITALS, of numpy,
which it has not read.
"""

import argparse
import asyncio
import inspect
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import uvicorn
from playwright.sync_api import Page, sync_playwright

from blockmerge.checkpoints.folder import open_checkpoint
from blockmerge.checkpoints.models import open_models
from blockmerge.core.plan import make_plan
from blockmerge.core.recipe import parse_recipe
from blockmerge.engine.merge import carry_out
from blockmerge.engine.target import Target
from blockmerge.jobs.states import LOCAL, JobState, NewJob, Ticket
from blockmerge.jobs.store import Store
from blockmerge.settings import Settings, read_settings
from blockmerge.tryout.conversation import Request
from blockmerge.tryout.tries import Tries
from blockmerge.ui.web import build_app

QUESTIONS = (
    "What is the capital of France?",
    "Why is the sky blue?",
    "What is bread made of?",
    "Describe the moon.",
    "What does a doctor do?",
    "How do birds fly?",
    "What is a poem?",
    "Where does rain come from?",
)
DOCUMENTED = (np.append, np.argmax, np.clip, np.cumsum, np.interp, np.median, np.nan_to_num, np.take_along_axis)
SHARE = 0.25  # of B; half of it need not lie between the two (facts of the pair)
ROUNDS = 8
WATCH = """async (seconds) => {
  const frames = [], answers = [], end = performance.now() + 1000 * seconds;
  const draw = (at) => { frames.push(at); if (performance.now() < end) requestAnimationFrame(draw); };
  requestAnimationFrame(draw);
  while (performance.now() < end) {
    const start = performance.now();
    await (await fetch("healthz")).text();
    answers.push(performance.now() - start);
    await new Promise((go) => setTimeout(go, 20));
  }
  return [frames.slice(1).map((at, i) => at - frames[i]), answers];
}"""


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.tries", description=__doc__)
    options.add_argument("a", type=Path)
    options.add_argument("b", type=Path)
    options.add_argument("--chromium", default=os.environ.get("BLOCKMERGE_TEST_CHROMIUM") or None)
    given = options.parse_args()
    with TemporaryDirectory() as folder:
        home = Path(folder)
        settings = read_settings({"BLOCKMERGE_HOME": str(home / "home"), "BLOCKMERGE_OUTPUT": str(home / "output")})
        with Store(settings.queue) as store:
            job = _merge(settings, store, given.a.absolute(), given.b.absolute())
            _measure_losses(settings, store, job)
            with _served(settings, store) as address:
                _measure_page(address, given.chromium)


def _merge(settings: Settings, store: Store, a: Path, b: Path) -> int:
    """A finished job."""
    text = f"blockmerge: 1\nmodels: {{a: {str(a)!r}, b: {str(b)!r}}}\nweights: {{layers: {SHARE}}}\n"
    recipe = parse_recipe(text)
    out = settings.output / "quarter"
    carry_out(
        make_plan(recipe, open_models(recipe.models)), Target(out), report=lambda _: None, is_cancelled=lambda: False
    )
    job = store.add(NewJob("quarter", text, out, (a.name, b.name)))
    road = (JobState.WAITING, JobState.CHECKING, JobState.MERGING, JobState.VERIFYING, JobState.DONE)
    for before, after in pairwise(road):
        store.move(Ticket(job, 1), {before}, after)
    return job


def _measure_losses(settings: Settings, store: Store, job: int) -> None:
    tries = Tries(settings, store, lambda reference: open_checkpoint(Path(reference)))
    try:
        answers = [
            list(tries.stream(LOCAL, Request(job, question, temperature=0, length=48), "a"))[-1]
            for question in QUESTIONS
        ]
        print(f"A's own answers: {_losses(tries, job, answers)}")
        print(f"documentation in CAPITALS: {_losses(tries, job, _in_capitals())}")
    finally:
        tries.close()


def _in_capitals() -> list[str]:
    """One answer for each question."""
    written = [inspect.getdoc(function) or "" for function in DOCUMENTED]
    return [" ".join(text.partition("\n\n")[0].split()).upper() for text in written]


def _losses(tries: Tries, job: int, answers: Sequence[str]) -> str:
    """The mean loss over all tokens of all answers, of each column."""
    sums: dict[str, float] = {}
    tokens: dict[str, int] = {}
    for question, answer in zip(QUESTIONS, answers, strict=True):
        for held in tries.measure(LOCAL, job, answer, question, chat=True).columns:
            sums[held.column.key] = sums.get(held.column.key, 0.0) + held.loss * held.tokens
            tokens[held.column.key] = tokens.get(held.column.key, 0) + held.tokens
    return ", ".join(f"{key} {sums[key] / tokens[key]:.3f}" for key in ("a", "merged", "b"))


@contextmanager
def _served(settings: Settings, store: Store) -> Iterator[str]:
    servers: list[uvicorn.Server] = []

    async def serve() -> None:
        servers.append(uvicorn.Server(uvicorn.Config(build_app(settings, store), port=0, log_level="error")))
        await servers[0].serve()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    while not any(server.started for server in servers):
        time.sleep(0.1)
    yield f"http://127.0.0.1:{servers[0].servers[0].sockets[0].getsockname()[1]}/"
    servers[0].should_exit = True
    thread.join(5)


def _measure_page(address: str, chromium: str | None) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto(address)
        page.get_by_role("tab", name="Try").click()
        page.wait_for_selector(".answers[data-ready]")
        _ask(page, QUESTIONS[0], 8)
        _wait(lambda: page.locator(".answers > .rounds .text:not(:empty)").count() == 3, 300)
        _wait(lambda: page.locator(".answers").get_attribute("data-open") == "false", 300)
        first: list[float] = []
        every: list[float] = []
        for number in range(ROUNDS):
            # Else each would read all that was said before.
            page.get_by_role("button", name="New conversation").click()
            page.get_by_text("Nothing asked yet.").wait_for()
            start = time.monotonic()
            _ask(page, QUESTIONS[number], 200 if number == ROUNDS - 1 else 16)
            # The newest question stands alone in the first list of rounds.
            told = page.locator(".answers > .rounds .text:not(:empty)")
            is_new = page.locator(".answers > .rounds .prompt", has_text=QUESTIONS[number])
            _wait(lambda new=is_new, text=told: bool(new.count() and text.count()), 60)  # type: ignore[misc]
            first.append(time.monotonic() - start)
            _wait(lambda text=told: text.count() == 3, 60)  # type: ignore[misc]
            every.append(time.monotonic() - start)
            if number < ROUNDS - 1:
                _wait(lambda: page.locator(".answers").get_attribute("data-open") == "false", 120)
        frames, answers = page.evaluate(WATCH, 8)
        print(f"first token after the click: {_spread(first)}; of all three: {_spread(every)}")
        print(f"while tokens come: the page answers in {_tail(answers)}, its frames are {_tail(frames)} apart")
        browser.close()


def _ask(page: Page, question: str, length: int) -> None:
    page.locator("#try-prompt textarea").fill(question)
    page.get_by_label("Longest answer").fill(str(length))
    page.locator("#generate").click()


def _wait(holds: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise SystemExit("The page did not answer in time.")
        time.sleep(0.02)


def _spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.2f} s in the middle, {max(seconds):.2f} s at most"


def _tail(milliseconds: Sequence[float]) -> str:
    ordered = sorted(milliseconds)
    return f"{statistics.median(ordered):.0f} ms in the middle and {ordered[int(0.99 * len(ordered))]:.0f} ms at p99"


if __name__ == "__main__":
    main()
