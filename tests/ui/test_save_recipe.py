"""What stands on the Merge tab becomes a recipe of the Recipes tab with one click."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from blockmerge.jobs.states import LOCAL
from blockmerge.ui.recipe_shelf import RecipeShelf
from tests.ui.conftest import Bench, fresh_page


@pytest.mark.browser
def test_save_recipe_keeps_what_stands_there_under_the_results_name(
    bench: Bench, browser: Browser, port: int, tmp_path: Path
) -> None:
    folder = Path(__file__).parents[2] / "docs" / "screens" if os.environ.get("BLOCKMERGE_TEST_SCREENS") else tmp_path
    options = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}
    with fresh_page(browser, f"http://127.0.0.1:{port}/", **options) as page:
        save = page.get_by_role("button", name="Save recipe")
        expect(save).to_be_disabled(timeout=30_000)
        page.get_by_role("button", name="Use the example pair").click()
        expect(save).to_be_enabled(timeout=30_000)
        beside = [page.locator(f"#{name}").bounding_box() for name in ("save-recipe", "queue")]
        assert len({box["y"] for box in beside if box}) == 1
        page.screenshot(path=folder / "save-recipe-phone-dark.png")
        page.set_viewport_size({"width": 1280, "height": 800})

        save.click()
        expect(page.get_by_text("Saved as “lowercase-x-capitals” on the Recipes tab.")).to_be_visible()
        page.evaluate("document.body.classList.remove('dark')")
        page.wait_for_timeout(300)  # for the colours' own change
        page.screenshot(path=folder / "save-recipe-light.png")

    [kept] = RecipeShelf(bench.settings.home, LOCAL).recipes()
    assert kept.recipe.models == {"a": "example/lowercase", "b": "example/capitals"}
