"""Methods on the Merge tab in a real Chromium: boxes, controls and lanes follow what a method's entry declares."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.tiny_models import write_llama
from tests.ui.conftest import Bench, fresh_page

pytestmark = pytest.mark.browser

HOSTILE = "x <img src=x onerror=window.pwn=1> ${Object.assign(window,{pwn:1})} {{value}} " + "y" * 150


@pytest.fixture
def visit(bench: Bench, browser: Browser, port: int) -> Iterator[Callable[[], Page]]:
    for seed, name in enumerate(("left", "right", HOSTILE)):
        write_llama(bench.settings.output / name, layers=4, seed=seed)
    with ExitStack() as stack:

        def open_one() -> Page:
            page = stack.enter_context(fresh_page(browser, f"http://127.0.0.1:{port}/"))
            page.wait_for_selector(".equaliser[data-ready]", timeout=60_000)
            return page

        yield open_one


def choose(page: Page, box: str, name: str) -> None:
    field = page.locator(f"#{box} input")
    field.fill(name)
    field.press("Enter")


def test_a_method_with_a_base_asks_for_it_and_gives_each_model_a_lane(visit: Callable[[], Page], bench: Bench) -> None:
    page = visit()
    choose(page, "model-a", "left")
    choose(page, "model-b", "right")
    expect(page.locator("#checks")).to_contain_text("can be merged", timeout=60_000)
    expect(page.locator("#model-base")).to_have_count(0)

    choose(page, "method", "TIES")
    expect(page.locator("#needs")).to_contain_text("Choose the base", timeout=60_000)
    choose(page, "model-base", HOSTILE)

    expect(page.locator(".plot h3")).to_have_text(["A: left", "B: right"], timeout=60_000)
    expect(page.locator("#formula")).to_contain_text("onerror")
    expect(page.locator(".readout .share")).to_have_text("50 % of what left changed")
    density = page.locator("#parameter-density-0-2 input")
    density.fill("7")
    density.press("Enter")
    expect(page.locator("#checks")).to_contain_text("parameters.density: expected 0 to 1, found 7", timeout=60_000)
    density.fill("0.4")
    density.press("Enter")
    expect(page.get_by_role("button", name="Add to queue")).to_be_enabled(timeout=60_000)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Job 1 is in line.")).to_be_visible(timeout=60_000)

    recipe = bench.store.get(1).recipe
    assert "method: ties" in recipe
    assert "density: 0.4" in recipe
    assert page.evaluate("window.pwn") is None
    assert page.locator("img[src=x]").count() == 0


def test_a_third_model_gets_a_lane_and_may_be_removed_again(visit: Callable[[], Page]) -> None:
    page = visit()
    choose(page, "model-a", "left")
    choose(page, "model-b", "right")
    expect(page.locator("#checks")).to_contain_text("can be merged", timeout=60_000)

    page.get_by_role("button", name="Add a model").click()
    choose(page, "model-c", HOSTILE)

    expect(page.locator(".plot h3")).to_have_count(3, timeout=60_000)
    expect(page.locator(".readout .share")).to_have_text("33 % left of the result")
    expect(page.get_by_label("Normalize")).to_be_checked()
    page.get_by_role("button", name="Remove model C").click()
    expect(page.locator(".plot h3")).to_have_count(0, timeout=60_000)
    expect(page.locator("#formula")).to_contain_text(re.compile("Merged = left"))
