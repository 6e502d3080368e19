"""Answers that come in another order than they were asked for leave on the page what the last request saw."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect

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


@pytest.mark.browser
@pytest.mark.usefixtures("models")
def test_a_name_that_the_page_gave_is_not_answered_over_a_method_chosen_meanwhile(browser: Browser, port: int) -> None:
    with fresh_page(browser, f"http://127.0.0.1:{port}/") as page:
        page.wait_for_selector(".equaliser[data-ready]")
        number = page.evaluate(
            """() => {
                const {components, dependencies} = window.gradio_config;
                const name = components.find(({props}) => props.elem_id === "name").id;
                const renames = ([id, event]) => id === name && event === "change";
                return dependencies.find(({targets}) => targets.some(renames)).id;
            }"""
        )
        held: list[Route] = []

        def hold(route: Route, request: Request) -> None:
            if not held and (request.post_data_json or {}).get("fn_index") == number:
                held.append(route)
            else:
                route.fallback()

        page.route("**/run/predict*", hold)
        choose(page, "model-a", "left")
        choose(page, "model-b", "right")
        expect(page.get_by_text("39 of 39 tensors match")).to_be_visible(timeout=30_000)
        choose(page, "method", "TIES")
        expect(page.get_by_text(CHOOSE_THE_BASE)).to_be_visible(timeout=30_000)

        [late] = held
        with page.expect_response(lambda response: response.request == late.request):
            late.fallback()
        page.wait_for_timeout(300)

        expect(page.get_by_text(CHOOSE_THE_BASE)).to_be_visible()


def choose(page: Page, box: str, name: str) -> None:
    field = page.locator(f"#{box} input")
    field.fill(name)
    field.press("Enter")
