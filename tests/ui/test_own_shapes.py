"""Own shapes in the tray of the Equaliser, in a real Chromium."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from blockmerge.jobs.states import LOCAL
from blockmerge.ui.shape_shelf import ShapeShelf
from tests.tiny_models import write_llama
from tests.ui.conftest import Bench, fresh_page, wait_until

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=\"document.title='pwn'\"> ${document.title='pwn'} {{value}} \u202egnp"
ANCHORS = (0.0, 0.25, 1.0)
Visit = Callable[..., Page]


@pytest.fixture
def shelf(bench: Bench) -> ShapeShelf:
    return ShapeShelf(bench.settings.home, LOCAL)


@pytest.fixture
def visit(bench: Bench, browser: Browser, port: int) -> Iterator[Visit]:
    """The Merge tab with a pair of five layers and the tray open."""
    for name in ("left", "right"):
        write_llama(bench.settings.output / name, layers=5, seed=len(name))
    with ExitStack() as stack:

        def open_one(**options: object) -> Page:
            page = stack.enter_context(fresh_page(browser, f"http://127.0.0.1:{port}/", **options))
            for letter, name in (("a", "left"), ("b", "right")):
                page.locator(f"#model-{letter} input").fill(name)
                page.locator(f"#model-{letter} input").press("Enter")
            expect(page.locator(".lane [data-layer]")).to_have_count(5, timeout=30_000)
            page.locator("[data-act=shape]").click()
            return page

        yield open_one


def weights(page: Page) -> list[float]:
    return [float(bar.get_attribute("aria-valuenow") or "nan") for bar in page.locator(".lane [data-layer]").all()]


def test_a_shape_is_saved_used_renamed_handed_out_and_deleted(visit: Visit, shelf: ShapeShelf, tmp_path: Path) -> None:
    page = visit()
    page.locator("[data-shape=Rise]").click()
    page.locator("[data-act=shape-save-this]").click()
    page.get_by_label("Name of the shape").fill("My rise")
    page.locator("[data-act=shape-keep]").click()
    expect(page.get_by_text("Saved as “My rise”.")).to_be_visible()
    [kept] = shelf.shapes()
    assert kept.anchors == (0, 0.25, 0.5, 0.75, 1)
    assert weights(page) == [0, 0.25, 0.5, 0.75, 1]

    page.locator("[data-shape=Fall]").click()
    page.get_by_role("radio", name="My rise").click()
    assert weights(page) == [0, 0.25, 0.5, 0.75, 1]
    page.locator("[data-act=shape-rename]").click()
    page.get_by_label("Name of the shape").fill("My rise 2")
    page.get_by_label("Name of the shape").press("Enter")
    expect(page.get_by_role("radio", name="My rise 2")).to_be_visible()
    with page.expect_download() as download:
        page.locator("[data-act=shape-export]").click()
    download.value.save_as(tmp_path / "shape.json")
    assert json.loads((tmp_path / "shape.json").read_text("utf-8"))["name"] == "My rise 2"

    page.locator("[data-act=shape-delete]").click()
    expect(page.get_by_text("Delete “My rise 2” for good?")).to_be_visible()
    page.locator("[data-act=shape-leave]").click()
    assert len(shelf.shapes()) == 1
    page.locator("[data-act=shape-delete]").click()
    page.locator("[data-act=shape-delete-do]").click()
    wait_until(lambda: shelf.shapes() == ())
    expect(page.get_by_role("radio", name="My rise 2")).to_have_count(0)
    with page.expect_file_chooser() as chooser:
        page.locator("[data-act=shape-import]").click()
    chooser.value.set_files(tmp_path / "shape.json")
    expect(page.get_by_text("Imported as “My rise 2”.")).to_be_visible()
    assert [shape.anchors for shape in shelf.shapes()] == [kept.anchors]


@pytest.mark.parametrize("phone", [False, True])
def test_a_shape_of_any_length_and_name_is_sampled_at_these_layers(
    visit: Visit, shelf: ShapeShelf, phone: bool, camera: Callable[[Page, str], None]
) -> None:
    shelf.add(HOSTILE, ANCHORS)
    shelf.add("Late rise", ANCHORS)
    page = visit(
        viewport={"width": 390, "height": 844} if phone else {"width": 1280, "height": 800},
        color_scheme="dark" if phone else "light",
    )

    page.get_by_role("radio", name="Late rise").click()
    camera(page, f"shapes-{'phone-dark' if phone else 'light'}")
    assert page.locator(".tray").evaluate("(tray) => tray.scrollWidth <= tray.clientWidth")
    page.locator("[data-act=apply-shape]").click()

    assert weights(page) == [0, 0.125, 0.25, 0.625, 1]
    assert page.title() == "blockmerge"
    assert page.locator(".mine img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_forged_wish_gets_a_sentence_and_changes_nothing(visit: Visit, shelf: ShapeShelf) -> None:
    kept = shelf.add("Late rise", ANCHORS)
    page = visit()

    page.evaluate(
        "document.dispatchEvent(new CustomEvent('blockmerge-shapes-ask', {detail: {do: 'delete', id: '../x'}}))"
    )

    expect(page.get_by_text("There is no such shape any more. Reload the page.")).to_be_visible()
    assert shelf.shapes() == (kept,)


@pytest.fixture
def camera(tmp_path: Path) -> Callable[[Page, str], None]:
    folder = Path(__file__).parents[2] / "docs" / "screens" if os.environ.get("BLOCKMERGE_TEST_SCREENS") else tmp_path

    def take(page: Page, name: str) -> None:
        page.screenshot(path=folder / f"{name}.png")

    return take
