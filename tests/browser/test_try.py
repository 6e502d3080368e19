"""The Try tab in a real browser: the example pair's merge beside its parents, with real models."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest
from gradio_client import Client
from playwright.sync_api import Page, expect

from blockmerge.jobs.states import JobState, NewJob, Ticket
from blockmerge.jobs.store import Store
from tests.browser.conftest import RunningApp, running_app
from tests.engine.merges import merge, plan_for, recipe_text
from tests.tryout.models import CAPITALS, ENDLESS, LOWERCASE, copied, with_nan
from tests.ui.conftest import wait_until
from tests.ui.scenes import Camera, camera_folder

__all__ = ["camera_folder"]
pytestmark = [pytest.mark.browser, pytest.mark.with_models]

Visit = Callable[..., Page]
PROMPT = "this function returns "
LOADING = 120_000  # ms until the first token: transformers is imported three times
QUICK = 30_000
_ROAD = (JobState.WAITING, JobState.CHECKING, JobState.MERGING, JobState.VERIFYING, JobState.DONE)


@dataclass(frozen=True)
class Merged:
    app: RunningApp
    job: int
    hostile: int


@pytest.fixture(scope="module")
def merged() -> Iterator[Merged]:
    """Under a short path that is no particular machine's, as the pictures show it."""
    with TemporaryDirectory(prefix="blockmerge-") as home, serve_merges(Path(home)) as merged:
        yield merged


@contextmanager
def serve_merges(home: Path) -> Iterator[Merged]:
    """The page with two finished merges: of models that mean harm, and of the example pair."""
    bomb, broken = copied(home / "bomb", template=ENDLESS), with_nan(copied(home / "broken"))
    copied(home / "output" / "harm", template="<img src=x onerror=\"document.title='pwn'\">")
    merge(plan_for(LOWERCASE, CAPITALS, 0.5), home / "output" / "lowercase-x-capitals")
    # Before there is a worker that would take them.
    with Store(f"sqlite:///{home / 'home' / 'queue.db'}") as store:
        hostile = _finished(store, home / "output" / "harm", bomb, broken)
        job = _finished(store, home / "output" / "lowercase-x-capitals", LOWERCASE, CAPITALS)
    with running_app(home) as app:
        yield Merged(app, job, hostile)


def _finished(store: Store, out: Path, a: Path, b: Path) -> int:
    job = store.add(NewJob(out.name, recipe_text(a, b, 0.5), out, (a.name, b.name), (0.5,) * 6, "Flat 0.50"))
    for before, after in pairwise(_ROAD):
        store.move(Ticket(job, 1), {before}, after)
    return job


def open_try(visit: Visit, merged: Merged, job: int, **options: object) -> Page:
    page = visit(f"{merged.app.address}/?tab=try&job={job}", **options)
    page.wait_for_selector(".answers[data-ready]", timeout=QUICK)
    clear = page.get_by_role("button", name="New conversation")
    if clear.is_visible():  # everyone on this machine is one person, so the tests before may have asked
        clear.click()
        expect(page.get_by_text("Nothing asked yet.")).to_be_visible(timeout=QUICK)
    return page


def ask(page: Page, prompt: str, *, length: int = 40, chat: bool = False) -> None:
    page.get_by_label("Chat" if chat else "Go on with the text").check()
    page.get_by_label("Longest answer, tokens").fill(str(length))
    page.locator("#try-prompt textarea").fill(prompt)
    page.get_by_role("button", name="Generate").click()


def latest(page: Page) -> list[str]:
    """The texts of the newest answers, when they are all there."""
    newest = page.locator(".answers > .rounds .round")
    expect(newest).to_have_attribute("data-open", "false", timeout=LOADING)
    return newest.locator(".text").all_inner_texts()


def rounds(page: Page) -> int:
    return page.locator(".round").count()


def asked_again(page: Page, *values: object, **settings: object) -> list[str]:
    before = rounds(page)
    ask(page, *values, **settings)  # type: ignore[arg-type]
    expect(page.locator(".round")).to_have_count(before + 1, timeout=QUICK)
    return latest(page)


def model_processes(app: RunningApp) -> list[psutil.Process]:
    return [child for child in app.children() if "tryout" in " ".join(child.cmdline())]


def test_the_merge_answers_beside_its_parents_the_same_twice_and_a_reload_keeps_it(
    merged: Merged, visit: Visit, camera_folder: Path
) -> None:
    page = open_try(visit, merged, merged.job)
    first = asked_again(page, PROMPT)
    Camera(page, camera_folder, lambda: None).look("try-answers")

    names = page.locator(".answers > .rounds .name").all_inner_texts()
    assert names == ["lowercase", "Merged: lowercase-x-capitals", "capitals"]
    assert first[0] == first[0].lower()
    assert first[2] == first[2].upper()
    assert len(set(first)) == 3
    expect(page.locator(".column .count").first).to_have_text(re.compile(r"^\d+ tokens, [\d.]+ tokens/s$"))
    expect(page.locator(".held")).to_have_text(
        re.compile(r"In memory: .*lowercase \(float32\).*capitals \(float32\), [\d.]+ [MG]B\.$")
    )

    assert asked_again(page, PROMPT) == first

    page.reload()
    expect(page.locator(".round")).to_have_count(2, timeout=QUICK)
    assert latest(page) == first
    expect(page.locator("#try-prompt textarea")).to_have_value(PROMPT)
    page.get_by_role("button", name="New conversation").click()
    expect(page.get_by_text("Nothing asked yet.")).to_be_visible(timeout=QUICK)


def test_stop_stops_all_columns(merged: Merged, visit: Visit) -> None:
    page = open_try(visit, merged, merged.job)
    ask(page, "a list of ", length=240)
    stop = page.get_by_role("button", name="Stop")
    expect(stop).to_be_visible(timeout=QUICK)
    expect(page.locator(".answers .text:not(:empty)").first).to_be_visible(timeout=LOADING)

    start = time.monotonic()
    stop.click()
    expect(page.locator(".round")).to_have_attribute("data-open", "false", timeout=5000)

    print(f"stopped after {time.monotonic() - start:.2f} s")  # a figure for the reader: a busy machine is no failure
    texts = page.locator(".answers .text").all_inner_texts()
    time.sleep(0.5)
    assert page.locator(".answers .text").all_inner_texts() == texts
    expect(page.get_by_text("Stopped.").first).to_be_visible()


def test_a_blind_vote_shows_the_names_only_afterwards_and_is_counted(merged: Merged, visit: Visit) -> None:
    page = open_try(visit, merged, merged.job)
    page.get_by_label("Blind vote").check()
    texts = asked_again(page, PROMPT)
    assert page.locator(".answers .name").all_inner_texts() == ["Answer 1", "Answer 2", "Answer 3"]
    assert "capitals" not in page.locator(".answers > .rounds .columns").inner_html()

    page.get_by_role("button", name="This one is best").nth(
        texts.index(next(t for t in texts if t == t.upper()))
    ).click()

    expect(page.locator(".voted")).to_have_text(
        "You chose capitals. Blind votes for this recipe: "
        "capitals 1, lowercase 0, lowercase-x-capitals 0, no difference 0.",
        timeout=QUICK,
    )
    assert sorted(page.locator(".answers .name").all_inner_texts()) == [
        "Merged: lowercase-x-capitals",
        "capitals",
        "lowercase",
    ]


def test_a_phrase_and_a_text_are_measured_in_all_three(merged: Merged, visit: Visit) -> None:
    page = open_try(visit, merged, merged.job)
    page.locator("#try-prompt textarea").fill(PROMPT)
    page.get_by_label("Phrase or text").fill("THE LIST OF THE STRING")
    page.get_by_role("button", name="Perplexity of the text").click()
    row = page.locator(".figures .row")
    expect(row).to_have_count(1, timeout=LOADING)
    a, merge_, b = (float(text.replace(",", "")) for text in row.locator("strong").all_inner_texts())
    assert a > merge_ > b

    page.get_by_role("button", name="How likely as the answer").click()
    expect(row).to_have_count(2, timeout=LOADING)
    expect(row.first).to_contain_text("How likely is “THE LIST OF THE STRING” after “this function returns”")


def test_models_that_mean_harm_get_a_sentence_and_the_page_lives(merged: Merged, visit: Visit) -> None:
    page = open_try(visit, merged, merged.hostile)
    # By itself the page would go on with the job of the round before.
    ask(page, "hello ", chat=True)
    latest(page)

    bomb, harm, broken = page.locator(".answers > .rounds .column").all()
    expect(bomb).to_contain_text("The chat template took too long; plain prompt used.")
    expect(bomb.locator(".text")).not_to_be_empty()
    expect(broken).to_contain_text("This model computes NaN, not numbers, so it has no answer.")
    expect(harm.locator(".text")).not_to_be_empty()
    ask(page, "<img src=x onerror=\"document.title='pwn'\"> ${Object.assign(document,{title:'pwn'})} {{value}}")
    expect(page.locator(".round")).to_have_count(2, timeout=QUICK)
    latest(page)
    assert page.title() == "blockmerge"
    page.get_by_role("button", name="Generate").click()

    ask(page, "x" * 90_000)
    expect(page.get_by_text("The prompt has 90,000 characters. Use 20,000 at most.")).to_be_visible(timeout=QUICK)


def test_back_to_the_weights_of_the_result(merged: Merged, visit: Visit) -> None:
    page = open_try(visit, merged, merged.job)

    page.get_by_role("button", name="Back to its weights").click()

    expect(page.get_by_role("tab", name="Merge")).to_have_attribute("aria-selected", "true", timeout=QUICK)
    expect(page.locator("#model-a input")).to_have_value("example/lowercase", timeout=QUICK)
    expect(page.locator("#formula")).to_contain_text("with w = 0.5", timeout=QUICK)


def test_a_program_generates_and_scores(merged: Merged) -> None:
    client = Client(merged.app.address, verbose=False)

    texts = list(client.submit(merged.job, PROMPT, "merged", False, 7, 0.7, 40, api_name="/generate"))
    figures = client.predict(merged.job, "the list", PROMPT, False, api_name="/score")

    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert texts[-1]
    assert figures["a"]["loss"] < figures["merged"]["loss"] < figures["b"]["loss"]
    assert figures["a"]["tokens"] == len("the list")


def test_the_memory_is_free_when_asked_and_at_the_end_of_the_page(merged: Merged, visit: Visit) -> None:
    page = open_try(visit, merged, merged.job)
    asked_again(page, PROMPT)
    assert model_processes(merged.app)

    page.get_by_role("button", name="Free the memory").click()

    expect(page.locator(".held")).to_have_text(
        re.compile(r"were let go, as you asked\. No model is in memory\.$"), timeout=QUICK
    )
    wait_until(lambda: model_processes(merged.app) == [])


def test_on_a_phone_one_answer_is_shown_and_a_switch_changes_it(merged: Merged, visit: Visit) -> None:
    page = open_try(visit, merged, merged.job, viewport={"width": 390, "height": 844}, has_touch=True)
    asked_again(page, PROMPT)

    newest = page.locator(".answers > .rounds .round")
    expect(newest.locator(".column:visible")).to_have_count(1)
    page.locator(".switch").get_by_role("button", name="capitals").click()
    expect(newest.locator(".column:visible .name")).to_have_text("capitals")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_ctrl_c_ends_the_models_too(tmp_path: Path, visit: Visit) -> None:
    with serve_merges(tmp_path) as merged:
        page = open_try(visit, merged, merged.job)
        asked_again(page, PROMPT)
        models = model_processes(merged.app)
        assert models

        merged.app.process.send_signal(signal.SIGINT)
        assert merged.app.process.wait(15) == 0

    wait_until(lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in models))
