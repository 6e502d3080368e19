"""Answers that come in another order than they were asked for leave on the page what the last request saw."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from playwright.sync_api import APIResponse, Browser, Page, Request, Route, expect

from blockmerge.checkpoints.library import Library
from blockmerge.core.tensors import Checkpoint
from blockmerge.ui.tabs import Context
from blockmerge.ui.tabs.merge import MergePage
from blockmerge.ui.turns import Turns
from tests.tiny_models import write_llama
from tests.ui.conftest import Bench, fresh_page

CHOOSE_THE_BASE = "Choose the base to see"


@pytest.fixture
def models(bench: Bench) -> Path:
    for seed, name in enumerate(("left", "right")):
        write_llama(bench.settings.output / name, layers=4, seed=seed)
    return bench.settings.output


class SlowLibrary(Library):
    """Reads a model when it may."""

    def __init__(self, root: Path) -> None:
        super().__init__((root,), any_path=False)
        self.begun, self.go_on = threading.Event(), threading.Event()

    def open(self, reference: str) -> Checkpoint:
        self.begun.set()
        assert self.go_on.wait(60)
        return super().open(reference)


@pytest.fixture
def slow(models: Path) -> Iterator[SlowLibrary]:
    library = SlowLibrary(models)
    yield library
    library.go_on.set()


@pytest.mark.parametrize("overtaken", [False, True])
def test_an_edit_says_nothing_once_a_later_request_has_come(bench: Bench, slow: SlowLibrary, overtaken: bool) -> None:
    async def make() -> MergePage:
        with gr.Blocks():
            return MergePage(Context(bench.settings, bench.store, slow, bench.identity))

    with ThreadPoolExecutor() as pool:  # Gradio wants a loop, and this thread may have Playwright's
        page = pool.submit(asyncio.run, make()).result()
    w, turns = page.widgets, Turns()
    fields = {w.form["a"]: "left", w.form["b"]: "right", w.form["name"]: "mine"}
    state = {w.grid: None, w.origin: None, w.turns: turns}
    data: dict[Any, Any] = {widget: widget.value for widget in w.form.values()} | fields | state

    with ThreadPoolExecutor() as pool:
        answer = pool.submit(page.edit, data)
        assert slow.begun.wait(60)
        if overtaken:
            turns.take()
        slow.go_on.set()

    assert (w.bar in answer.result()) is not overtaken


@pytest.fixture
def page(models: Path, browser: Browser, port: int) -> Iterator[Page]:
    del models  # they lie there
    with fresh_page(browser, f"http://127.0.0.1:{port}/") as opened:
        opened.wait_for_selector(".equaliser[data-ready]")
        yield opened


def hold(page: Page, number: int, wait_for_answer: bool = False) -> list[tuple[Route, APIResponse | None]]:
    """The next call of this event's waits until the test lets it go, before or after the server has answered it."""
    held: list[tuple[Route, APIResponse | None]] = []

    def look(route: Route, request: Request) -> None:
        if held or (request.post_data_json or {}).get("fn_index") != number:
            route.fallback()
        else:
            held.append((route, route.fetch() if wait_for_answer else None))

    page.route("**/run/predict*", look)
    return held


def event_of(page: Page, box: str, event: str) -> int:
    return int(
        page.evaluate(
            """([box, event]) => {
                const {components, dependencies} = window.gradio_config;
                const id = components.find(({props}) => props.elem_id === box).id;
                return dependencies.find(({targets}) => targets.some(([of, name]) => of === id && name === event)).id;
            }""",
            [box, event],
        )
    )


def event_after(page: Page, number: int) -> int:
    find = "number => window.gradio_config.dependencies.find((one) => one.trigger_after === number).id"
    return int(page.evaluate(find, number))


def choose(page: Page, box: str, name: str) -> None:
    field = page.locator(f"#{box} input")
    field.fill(name)
    field.press("Enter")


@pytest.mark.browser
def test_a_name_that_the_page_gave_is_not_answered_over_a_method_chosen_meanwhile(page: Page) -> None:
    held = hold(page, event_of(page, "name", "change"))
    choose(page, "model-a", "left")
    choose(page, "model-b", "right")
    expect(page.get_by_text("39 of 39 tensors match")).to_be_visible(timeout=30_000)
    choose(page, "method", "TIES")
    expect(page.get_by_text(CHOOSE_THE_BASE)).to_be_visible(timeout=30_000)

    [(late, _)] = held
    with page.expect_response(lambda response: response.request == late.request):
        late.fallback()
    page.wait_for_timeout(300)

    expect(page.get_by_text(CHOOSE_THE_BASE)).to_be_visible()


@pytest.mark.browser
def test_a_method_chosen_while_models_are_looked_at_stays_chosen(page: Page) -> None:
    choose(page, "model-a", "left")
    expect(page.locator("#facts-a")).to_contain_text("4 layers", timeout=30_000)
    held = hold(page, event_after(page, event_of(page, "model-b", "input")), wait_for_answer=True)
    choose(page, "model-b", "right")
    while not held:
        page.wait_for_timeout(50)
    choose(page, "method", "TIES")

    [(late, answer)] = held
    late.fulfill(response=answer)

    expect(page.get_by_text(CHOOSE_THE_BASE)).to_be_visible(timeout=30_000)
    expect(page.locator("#method input")).to_have_value("TIES")
