"""Every tab in every state, light and dark, on a desk and on a phone: axe finds nothing, nothing is cut.

BLOCKMERGE_TEST_SCREENS=1 writes the pictures to docs/screens.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from playwright.sync_api import Browser, Page, expect

from blockmerge.jobs.store import Store
from blockmerge.settings import read_settings
from tests.ui.conftest import Bench, fresh_page
from tests.ui.scenes import Camera, camera_folder, fill

__all__ = ["camera_folder"]
pytestmark = pytest.mark.browser

Look = Callable[[str], Camera]


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Under a short path that is no particular machine's, as the pictures show it."""
    with TemporaryDirectory(prefix="blockmerge-") as folder:
        settings = read_settings({"BLOCKMERGE_HOME": f"{folder}/home", "BLOCKMERGE_OUTPUT": f"{folder}/output"})
        with Store(settings.queue) as store:
            yield Bench(settings, store)


@pytest.fixture
def look(bench: Bench, browser: Browser, port: int, camera_folder: Path) -> Iterator[Look]:
    """Open a tab and stand before it with a camera."""
    with ExitStack() as stack:

        def open_one(tab: str) -> Camera:
            page = stack.enter_context(fresh_page(browser, f"http://127.0.0.1:{port}/", reduced_motion="reduce"))
            page.set_default_timeout(30_000)
            page.get_by_role("tab", name=re.compile(tab)).click()
            return Camera(page, camera_folder, lambda: bench.store.beat("worker"))

        yield open_one


def ready(page: Page, name: str) -> None:
    page.wait_for_selector(f".{name}[data-ready]")


def test_jobs(bench: Bench, look: Look) -> None:
    fill(bench)
    camera = look("Jobs")
    page = camera.page
    ready(page, "jobs")
    expect(page.locator(".job")).to_have_count(7)
    camera.look("jobs", main=True)

    page.get_by_role("button", name="Log, job 5").click()
    expect(page.locator(".log")).to_contain_text("layer 12")
    page.get_by_role("button", name="Edit, job 6").click()
    page.get_by_role("button", name="More, job 4").click()
    page.get_by_label("Compare with…, job 4").select_option("1")
    expect(page.locator(".legend")).to_be_visible()
    camera.look("jobs-open")

    page.get_by_role("button", name="Leave as it was").click()
    page.get_by_role("button", name="Remove from list, job 4").click()
    page.get_by_role("button", name="Run each shape once…").click()
    page.get_by_label("Rise", exact=True).check()
    camera.look("jobs-batch")


def test_no_jobs_yet(look: Look) -> None:
    camera = look("Jobs")
    ready(camera.page, "jobs")
    camera.look("jobs-empty")


def test_recipes(bench: Bench, look: Look) -> None:
    fill(bench)
    camera = look("Recipes")
    page = camera.page
    ready(page, "recipes")
    page.get_by_label("Compare with…").select_option("Tent 1.0")
    expect(page.locator(".legend")).to_be_visible()
    camera.look("recipes", main=True)

    page.get_by_role("button", name="Delete").click()
    camera.look("recipes-delete")
    page.get_by_role("button", name="Keep it").click()
    page.get_by_role("button", name="Rename").click()
    page.get_by_role("button", name="Import").click()
    page.get_by_label("Recipe as text").fill("hello")
    page.locator("[data-act=import]").click()
    expect(page.locator(".import .bad")).not_to_be_empty()
    camera.look("recipes-import")

    page.get_by_label("Recipe as text").fill(", ".join(["0.5"] * 26))
    page.locator("[data-act=import]").click()
    expect(page.get_by_text("Imported as “Imported”.")).to_be_visible()
    camera.look("recipes-imported")
    page.locator(".entry", has_text="Late steps").click()
    expect(page.get_by_text("These models cannot be merged by this recipe here:")).to_be_visible()
    camera.look("recipes-far")


def test_no_recipes_yet(look: Look) -> None:
    camera = look("Recipes")
    ready(camera.page, "recipes")
    camera.look("recipes-empty")


def test_settings(bench: Bench, look: Look) -> None:
    fill(bench)
    camera = look("Settings")
    ready(camera.page, "sheet")
    camera.page.get_by_role("button", name="Delete, interrupted.partial").click()
    camera.look("settings", main=True)
