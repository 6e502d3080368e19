"""The Merge tab by keyboard alone, from the empty page to a job in line, and what a screen reader is told."""

import pytest
import yaml
from playwright.sync_api import Browser, Page, expect

from tests.tiny_models import write_llama
from tests.ui.conftest import Bench, fresh_page

pytestmark = pytest.mark.browser

MOST_STOPS = 40
SLOW = 60_000  # a shared machine


def tab_to(page: Page, selector: str, key: str = "Tab") -> None:
    """Press Tab until the focus is there; every stop on the way must be in sight and have a name."""
    for _ in range(MOST_STOPS):
        page.keyboard.press(key)
        stop = page.evaluate(
            """(selector) => {
                const node = document.activeElement;
                const name = node.ariaLabel || node.labels?.[0]?.textContent || node.textContent || node.title;
                return [node.matches(selector), node.checkVisibility() && Boolean(name.trim()), node.outerHTML];
            }""",
            selector,
        )
        assert stop[1], f"a stop without name or out of sight: {stop[2][:200]}"
        if stop[0]:
            return
    raise AssertionError(f"no way to {selector}")


def test_from_the_empty_page_to_a_job_in_line_with_no_mouse(bench: Bench, browser: Browser, port: int) -> None:
    for seed, name in enumerate(("left", "right")):
        write_llama(bench.settings.output / name, layers=16, seed=seed)
    with fresh_page(browser, f"http://127.0.0.1:{port}/", viewport={"width": 1280, "height": 800}) as page:
        page.set_default_timeout(SLOW)
        page.wait_for_selector(".equaliser[data-ready]")
        for letter, name in (("a", "left"), ("b", "right")):
            tab_to(page, f"#model-{letter} input")
            page.keyboard.type(name)
            page.keyboard.press("Enter")
        expect(page.locator(".lane [data-layer]")).to_have_count(16, timeout=SLOW)
        expect(page.get_by_text("8 checks passed")).to_be_visible(timeout=SLOW)

        tab_to(page, "summary")
        page.keyboard.press("Enter")
        expect(page.get_by_text("Name: left-x-right is free.")).to_be_visible()
        tab_to(page, "[data-act=shape]")
        page.keyboard.press("Enter")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        chosen = page.locator(".tray [role=radio][aria-checked=true]").get_attribute("data-shape")
        page.keyboard.press("Escape")
        assert chosen != "Flat 0.50"

        tab_to(page, ".bar")
        for _ in range(12):
            page.keyboard.press("ArrowRight")
        page.keyboard.type("0.39")
        page.keyboard.press("Enter")
        bar = page.locator(".lane [data-layer='12']")
        expect(bar).to_have_attribute("aria-valuetext", "Layer 12, 39 percent right")
        expect(bar).to_have_role("spinbutton")
        expect(page.get_by_role("grid")).to_have_accessible_name("Weight of each layer, share of right")
        tab_to(page, "[data-row=head] .tick")
        page.keyboard.press("Space")
        tab_to(page, "[data-row=head] input[type=text]", "Shift+Tab")
        page.keyboard.type("0.25")
        page.keyboard.press("Enter")
        tab_to(page, "#name :is(input, textarea)")
        page.keyboard.press("Control+a")
        page.keyboard.type("by-hand")
        expect(page.get_by_text("Name: by-hand is free.")).to_be_visible(timeout=SLOW)
        tab_to(page, "#queue")
        page.keyboard.press("Enter")
        expect(page.get_by_text("Job 1 is in line.")).to_be_visible(timeout=SLOW)

    job = bench.store.get(1)
    weights = yaml.safe_load(job.recipe)["weights"]
    assert (job.name, weights["layers"][12], weights["head"]) == ("by-hand", 0.39, 0.25)
