"""The Merge tab and the empty Try tab in every state: axe finds nothing, nothing is cut, the grid needs no scrolling.

BLOCKMERGE_TEST_SCREENS=1 writes the pictures to docs/screens.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from playwright.sync_api import Browser, Page, expect

from blockmerge.jobs.store import Store
from blockmerge.settings import read_settings
from tests.tiny_models import write_llama
from tests.ui.conftest import Bench, fresh_page
from tests.ui.scenes import LAYERS, LONG, A, B, Camera, camera_folder

__all__ = ["camera_folder"]
pytestmark = pytest.mark.browser

DEEP = "Llama-2-13b"
SLOW = 60_000  # a shared machine


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Under a short path that is no particular machine's, as the pictures show it."""
    with TemporaryDirectory(prefix="blockmerge-") as folder:
        settings = read_settings({"BLOCKMERGE_HOME": f"{folder}/home", "BLOCKMERGE_OUTPUT": f"{folder}/output"})
        for seed, name in enumerate((A, B, *(Path(long).name for long in LONG), DEEP)):
            write_llama(settings.output / name, layers=LAYERS + 8 * (name == DEEP), seed=seed)
        with Store(settings.queue) as store:
            yield Bench(settings, store)


Look = Callable[[], Camera]


@pytest.fixture
def look(bench: Bench, browser: Browser, port: int, camera_folder: Path) -> Iterator[Look]:
    with ExitStack() as stack:

        def open_one() -> Camera:
            address, size = f"http://127.0.0.1:{port}/", {"width": 1280, "height": 800}
            page = stack.enter_context(fresh_page(browser, address, reduced_motion="reduce", viewport=size))
            page.set_default_timeout(SLOW)
            page.wait_for_selector(".equaliser[data-ready]")
            return Camera(page, camera_folder, lambda: bench.store.beat("worker"))

        yield open_one


def choose(page: Page, **names: str) -> None:
    for box, name in names.items():
        field = page.locator(f"#{box.replace('_', '-')} input")
        field.fill(name)
        field.press("Enter")


def choose_pair(page: Page, a: str = A, b: str = B) -> None:
    choose(page, model_a=a, model_b=b)
    page.get_by_text("These two can be merged.").wait_for()
    page.locator(".lane [data-layer]").first.wait_for()


def bottom(page: Page, selector: str) -> float:
    box = page.locator(selector).bounding_box()
    assert box is not None
    return box["y"] + box["height"]


def test_nothing_chosen(look: Look) -> None:
    look().look("merge-empty")


def test_a_pair_and_its_checks(look: Look) -> None:
    camera = look()
    choose_pair(camera.page)
    camera.page.get_by_role("radio", name="Bars").focus()
    camera.look("merge-pair", main=True)

    camera.page.get_by_text("8 checks passed").click()
    expect(camera.page.get_by_text("Tensors: 291 of 291 match in name and shape.")).to_be_visible()
    camera.look("merge-checks")


def test_a_problem_and_a_name_that_is_taken(look: Look) -> None:
    camera = look()
    page = camera.page
    choose(page, model_a=A, model_b=DEEP)
    expect(page.get_by_text("A has 32 layers, B has 40.")).to_be_visible()
    camera.look("merge-problem")

    page.get_by_role("button", name="Choose another B").click()
    expect(page.locator("#model-b input")).to_be_focused()
    choose_pair(page)
    name = page.locator("#name :is(input, textarea)")
    name.fill(B)
    mend = page.get_by_role("button", name=f"Use {B}-2")
    expect(mend).to_be_visible()
    camera.look("merge-name-taken")
    mend.click()
    expect(name).to_have_value(f"{B}-2")
    expect(page.get_by_text("8 checks passed")).to_be_visible()


@pytest.mark.parametrize("view", ["Sliders", "Table", "Text"])
def test_the_other_views(look: Look, view: str) -> None:
    camera = look()
    choose_pair(camera.page)

    camera.page.get_by_role("radio", name=view, exact=True).click()

    camera.look(f"merge-{view.lower()}")


def test_every_module_beyond_0_and_1_with_long_names(look: Look) -> None:
    camera = look()
    choose_pair(camera.page, *(Path(long).name for long in LONG))

    camera.page.get_by_role("radio", name="Each module").click()
    camera.page.get_by_role("checkbox", name="Allow beyond 0–1").check()

    camera.look("merge-modules")


def test_a_method_with_a_base_and_a_third_model(look: Look) -> None:
    camera = look()
    page = camera.page
    choose_pair(page)
    choose(page, method="TIES")
    page.get_by_text("Choose the base to see").wait_for()
    page.get_by_role("button", name="Add a model").click()
    choose(page, model_base=Path(LONG[0]).name, model_c=Path(LONG[1]).name)
    page.get_by_text("These 4 can be merged.").wait_for()

    camera.look("merge-ties")


def test_the_empty_try_tab(look: Look) -> None:
    camera = look()
    camera.page.get_by_role("tab", name="Try").click()
    expect(camera.page.get_by_text("Nothing asked yet.")).to_be_visible()

    camera.look("try-empty")


@pytest.mark.parametrize(("height", "last"), [(800, ".readout"), (720, ".strip-row")])
def test_the_whole_grid_of_32_layers_is_drawn_without_scrolling(look: Look, height: int, last: str) -> None:
    page = look().page
    page.set_viewport_size({"width": 1280, "height": height})
    choose_pair(page)

    bar = page.locator("#bar").bounding_box()
    assert bar is not None
    assert page.evaluate("scrollY") == 0
    assert bottom(page, last) <= bar["y"]


def test_every_control_of_the_merge_tab_has_a_sentence(look: Look) -> None:
    """Where the sentence is not on the page beside it, the title has it."""
    page = look().page
    choose_pair(page)
    page.locator("#more > button").click()

    silent = page.evaluate(
        """() => [...document.querySelectorAll('#models input, #result input, #result textarea, .toolbar [role=radio],'
              + ' .toolbar .check, .toolbar button')].filter((node) => node.checkVisibility())
            .filter((node) => !node.title && !node.closest('.block')?.querySelector('.info-text, .info')
              && !(node.closest('label')?.title))
            .map((node) => node.outerHTML.slice(0, 120))"""
    )

    assert silent == []
