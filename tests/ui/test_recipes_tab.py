"""The Recipes tab: what is asked of it, what it says, and the tab in a real Chromium."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser, Page, expect

from blockmerge.checkpoints.library import Library
from blockmerge.core.recipe import Recipe, dump_recipe, parse_recipe
from blockmerge.errors import RecipeError
from blockmerge.jobs.states import LOCAL, JobState, NewJob, Ticket
from blockmerge.ui.recipe_plans import on_this_page
from blockmerge.ui.recipe_shelf import KeptRecipe, RecipeShelf
from blockmerge.ui.recipe_views import difference, weights_of
from blockmerge.ui.tabs import Context
from blockmerge.ui.tabs.recipes import Asked, Desk, keep_recipe, read_asked
from tests.tiny_models import write_llama
from tests.ui.conftest import Bench, fresh_page

HOSTILE = "<img src=x onerror=\"document.title='pwn'\"> ${Object.assign(document,{title:'pwn'})} {{value}} \u202egnp"

ROAD = (JobState.WAITING, JobState.CHECKING, JobState.MERGING, JobState.VERIFYING, JobState.DONE)


def recipe_of(weights: str, models: str = "{a: left, b: right}", method: str = "linear") -> Recipe:
    return parse_recipe(f"blockmerge: 1\nmethod: {method}\nmodels: {models}\nweights: {{{weights}}}\n")


RISE = recipe_of("layers: [0, 0.25, 0.75, 1]")
TENT = recipe_of("layers: [0, 1, 1, 0]")


@pytest.fixture
def desk(bench: Bench) -> Desk:
    for name in ("left", "right"):
        write_llama(bench.settings.output / name, layers=4, seed=len(name))
    library = Library((bench.settings.output,), any_path=False)
    return Desk(Context(bench.settings, bench.store, library, bench.identity), LOCAL)


def test_a_recipe_is_shown_with_its_sentence_and_its_files(desk: Desk) -> None:
    kept = desk.shelf.add("Zephyr late", RISE, "warm")

    shown: Any = desk.carry_out(Asked("choose", kept.id))["chosen"]

    assert shown["about"] == "left × right, Linear, precision of the first model."
    assert "".join(text for _, text in shown["formula"]) == (
        "Merged = left × (1 − w) + right × w, with w from 0.00 to 1.00. 2 layers are copied, 2 computed."
    )
    assert [kind for kind, _ in shown["formula"] if kind] == ["a", "b"]
    assert (shown["weights"], shown["layers"], shown["depth"]) == ((0, 0.25, 0.75, 1), 4, "4 layers")
    assert parse_recipe(shown["yaml"]) == parse_recipe(shown["json"]) == parse_recipe(shown["link"]) == RISE
    assert yaml.safe_load(shown["mergekit"])["merge_method"] == "linear"
    assert shown["unsaid"] == []


def test_a_recipe_whose_models_are_not_here_says_so(desk: Desk) -> None:
    kept = desk.shelf.add("Far", recipe_of("layers: {preset: rise}", "{a: org/a, b: right}"))

    shown: Any = desk.carry_out(Asked("choose", kept.id))["chosen"]

    assert shown["formula"] == []
    assert shown["problems"][0].startswith("There is no model 'org/a' here.")
    assert shown["unsaid"] == ["mergekit YAML needs the names in the models' files, and these models are not here."]
    assert shown["depth"] == "any number of layers, drawn at 32"


def test_renaming_and_deleting_show_what_is_left(desk: Desk) -> None:
    late, early = desk.shelf.add("Late", RISE), desk.shelf.add("Early", TENT)

    renamed: Any = desk.carry_out(Asked("rename", late.id, name="Later", note="n"))
    assert (renamed["chosen"]["name"], renamed["chosen"]["note"]) == ("Later", "n")

    left: Any = desk.carry_out(Asked("delete", late.id))
    assert [entry["name"] for entry in left["recipes"]] == ["Early"]
    assert left["chosen"]["id"] == early.id


def test_an_import_is_kept_and_reported(desk: Desk) -> None:
    text = "merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\nparameters: {t: [0, 1]}\n"

    view: Any = desk.carry_out(Asked("import", text=text, name="From mergekit"))

    assert view["chosen"]["name"] == "From mergekit"
    assert view["report"][0] == ["ok", "Imported as “From mergekit”."]
    assert view["report"][1] == ["ok", "Exact: The weights, the method and the models are read as they are written."]
    assert [kind for kind, _ in view["report"][2:]] == ["warn", "warn"]


def test_numbers_without_models_take_those_of_the_newest_recipe(desk: Desk) -> None:
    numbers = " ".join(["0.5"] * 26)
    first: Any = desk.carry_out(Asked("import", text=numbers))
    assert first["chosen"]["pair"] == "lowercase × capitals"

    desk.shelf.add("Mine", RISE)
    second: Any = desk.carry_out(Asked("import", text=numbers))
    assert (second["chosen"]["pair"], second["chosen"]["name"]) == ("left × right", "Imported 2")


@pytest.mark.parametrize(
    "told",
    [
        None, 1, "use", [], {}, {"do": 1}, {"do": "use", "id": 1}, {"do": "use", "id": float("nan")},
        {"do": "choose", "id": "x", "more": "y"}, {"do": "import", "text": ["0.5"]}, {"id": "x"},
    ],
)  # fmt: skip
def test_a_forged_event_is_refused(told: object) -> None:
    with pytest.raises(RecipeError, match=r"^This was not understood\. Reload the page\.$"):
        read_asked(told)


@pytest.mark.parametrize("do", ["choose", "compare", "use", "try", "rename", "delete"])
def test_another_persons_recipe_is_none(desk: Desk, do: str) -> None:
    theirs = RecipeShelf(desk.context.settings.home, "browser:1").add("Theirs", RISE)

    with pytest.raises(RecipeError, match=r"^There is no such recipe any more\. Reload the page\.$"):
        desk.carry_out(Asked(do, theirs.id, name="Mine"))
    assert RecipeShelf(desk.context.settings.home, "browser:1").recipes() == (theirs,)


def test_an_unknown_wish_is_refused(desk: Desk) -> None:
    with pytest.raises(RecipeError, match=r"^This was not understood\."):
        desk.carry_out(Asked("burn"))


def test_a_kept_recipe_holds_no_path_of_this_machine(desk: Desk) -> None:
    folder = desk.context.settings.output
    text = f"blockmerge: 1\nmodels: {{a: {folder / 'left'}, b: {folder / 'right'}}}\nweights: {{layers: 0.5}}\n"

    kept = keep_recipe(desk.context, LOCAL, "Mine", text)

    assert kept.recipe.models == {"a": "left", "b": "right"}
    assert on_this_page(desk.context.library, kept.recipe) == kept.recipe


@pytest.mark.parametrize(
    ("mine", "other", "words"),
    [
        (RISE, RISE, "Both have the same weights."),
        (RISE, TENT, "Mean 0.50 and 0.50. Furthest apart at layer 3: 1.00 and 0.00."),
        (
            RISE,
            recipe_of("layers: {preset: fall}", method="slerp"),
            "Methods differ: Linear and SLERP. Mean 0.50 and 0.50. Furthest apart at 0 % of the depth: 0.00 and 1.00.",
        ),
        (
            RISE,
            recipe_of("layers: [0, 0.25, 0.75, 1]", "{a: x, b: y}"),
            "They are for different models. Both have the same weights.",
        ),
    ],
)
def test_two_recipes_are_compared_in_words(mine: Recipe, other: Recipe, words: str) -> None:
    assert difference(mine, other) == words


@pytest.mark.parametrize(
    ("recipe", "numbers"),
    [
        (recipe_of("mlp: [0, 1], attention: [1, 0], norm: 0"), (1, 0)),
        (recipe_of("stacks: {text: {layers: [0, 1]}, vision: {layers: 0}}"), (0, 1)),
        (recipe_of("a: {layers: 0.3}, b: {layers: [0.7, 0.6]}", method="multislerp"), (0.7, 0.6)),
    ],
)
def test_the_line_that_says_most_is_drawn(recipe: Recipe, numbers: tuple[float, ...]) -> None:
    assert weights_of(recipe).numbers == numbers


def finished(desk: Desk, name: str, recipe: Recipe) -> int:
    """A merge that was made from a recipe, as a job keeps it: its models are folders."""
    output, store = desk.context.settings.output, desk.context.store
    folders = {key: str(output / reference) for key, reference in recipe.models.items()}
    (output / name).mkdir()
    text = dump_recipe(recipe.model_copy(update={"models": folders}))
    job = store.add(NewJob(name, text, output / name, ("left", "right")))
    for before, after in pairwise(ROAD):
        store.move(Ticket(job, 1), {before}, after)
    return job


def test_a_recipe_that_has_a_result_can_be_tried(desk: Desk) -> None:
    rise, tent = desk.shelf.add("Rise", RISE), desk.shelf.add("Tent", TENT)
    older, newer = finished(desk, "older", RISE), finished(desk, "newer", RISE)

    def result(kept: KeptRecipe) -> object:
        shown: Any = desk.carry_out(Asked("choose", kept.id))["chosen"]
        return shown["result"]

    assert (result(rise), result(tent)) == (newer, None)
    (desk.context.settings.output / "newer").rmdir()
    assert result(rise) == older
    assert Desk(desk.context, "browser:1").result(rise) is None


# In the browser


@pytest.fixture
def open_recipes(desk: Desk, browser: Browser, port: int) -> Iterator[Callable[..., Page]]:
    with ExitStack() as stack:

        def open_one(query: str = "?tab=recipes", **options: object) -> Page:
            page = stack.enter_context(fresh_page(browser, f"http://127.0.0.1:{port}/", **options))
            page.goto(f"http://127.0.0.1:{port}/{query}")
            page.wait_for_selector(".recipes[data-ready]", timeout=30_000)
            return page

        yield open_one


def names(page: Page) -> list[str]:
    return page.locator(".entry b").all_inner_texts()


@pytest.mark.browser
def test_a_recipe_is_found_compared_renamed_and_deleted(desk: Desk, open_recipes: Callable[..., Page]) -> None:
    desk.shelf.add("Tent", TENT)
    desk.shelf.add("Zephyr late", RISE, "warm and long")
    page = open_recipes()
    assert names(page) == ["Zephyr late", "Tent"]

    page.get_by_role("searchbox", name="Search recipes").fill("warm")
    assert names(page) == ["Zephyr late"]
    page.get_by_role("searchbox", name="Search recipes").fill("")

    page.get_by_label("Compare with…").select_option("Tent")
    expect(page.get_by_text("Furthest apart at layer 3: 1.00 and 0.00.")).to_be_visible()
    expect(page.locator(".curve .other")).to_have_count(1)

    page.get_by_role("button", name="Rename").click()
    page.get_by_label("Name", exact=True).fill("Zephyr later")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", name="Zephyr later")).to_be_visible()

    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("alert")).to_have_text("Delete “Zephyr later” for good?")
    page.get_by_role("button", name="Keep it").click()
    assert len(desk.shelf.recipes()) == 2
    page.get_by_role("button", name="Delete").click()
    page.locator("[data-act=delete-do]").click()
    expect(page.locator(".entry")).to_have_count(1)
    assert [kept.name for kept in desk.shelf.recipes()] == ["Tent"]


def test_what_stands_on_the_merge_tab_is_kept_under_its_name(desk: Desk) -> None:
    text = "blockmerge: 1\nmodels: {a: left, b: right}\nweights: {layers: 0.5}\n"

    named: Any = desk.carry_out(Asked("keep", text=text, name="left-x-right"))
    bare: Any = desk.carry_out(Asked("keep", text=text))

    assert named["chosen"]["name"] == "left-x-right"
    assert bare["chosen"]["name"] == "left × right"
    with pytest.raises(RecipeError, match=r"^Nothing stands on the Merge tab yet\. Choose two models there first\.$"):
        desk.carry_out(Asked("keep"))


@pytest.mark.browser
def test_the_merge_tab_is_saved_with_one_click(desk: Desk, open_recipes: Callable[..., Page]) -> None:
    desk.shelf.add("Zephyr late", RISE)
    page = open_recipes()
    page.get_by_role("button", name="Use").click()
    expect(page.locator(".lane [data-layer]")).to_have_count(4, timeout=30_000)
    page.get_by_role("tab", name="Recipes").click()

    page.get_by_role("button", name="Save from Merge tab").click()

    expect(page.locator(".entry")).to_have_count(2)
    [newest, _] = desk.shelf.recipes()
    assert newest.recipe.weights == RISE.weights


@pytest.mark.browser
def test_use_shows_the_recipe_on_the_merge_tab(desk: Desk, open_recipes: Callable[..., Page]) -> None:
    desk.shelf.add("Zephyr late", RISE)
    page = open_recipes()

    page.get_by_role("button", name="Use").click()

    expect(page.get_by_role("tab", name="Merge")).to_have_attribute("aria-selected", "true")
    bars = page.locator(".lane [data-layer]")
    expect(bars).to_have_count(4, timeout=30_000)
    assert [float(bar.get_attribute("aria-valuenow") or "nan") for bar in bars.all()] == [0, 0.25, 0.75, 1]


@pytest.mark.browser
def test_a_recipe_is_handed_out_as_files_and_as_a_link(
    desk: Desk, open_recipes: Callable[..., Page], tmp_path: Path
) -> None:
    kept = desk.shelf.add("Zephyr/late", RISE)
    desk.shelf.add("Newest", TENT)
    page = open_recipes(f"?tab=recipes&recipe={kept.id}")
    expect(page.get_by_role("heading", name="Zephyr/late")).to_be_visible()

    saved = {}
    for act in ("yaml", "json", "mergekit"):
        with page.expect_download() as download:
            page.locator(f"[data-act={act}]").click()
        download.value.save_as(tmp_path / act)
        saved[act] = ((tmp_path / act).read_text("utf-8"), download.value.suggested_filename)
    page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', {value: {writeText: (text) => { window.got = text; }}})"
    )
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()

    assert parse_recipe(saved["yaml"][0]) == parse_recipe(saved["json"][0]) == RISE
    assert saved["yaml"][1] == "Zephyr-late.yaml"
    assert yaml.safe_load(saved["mergekit"][0])["merge_method"] == "linear"
    page.goto(page.evaluate("window.got"))
    expect(page.locator(".lane [data-layer]")).to_have_count(4, timeout=30_000)


@pytest.mark.browser
def test_a_pasted_mergekit_file_is_imported_with_a_report(desk: Desk, open_recipes: Callable[..., Page]) -> None:
    page = open_recipes()
    expect(page.get_by_text(re.compile("^No recipes yet"))).to_be_visible()
    page.get_by_role("button", name="Import").click()
    page.get_by_label("Recipe as text").fill("hello")
    page.locator("[data-act=import]").click()
    expect(page.locator(".import .bad")).to_contain_text("This is no recipe: expected")

    page.get_by_label("Recipe as text").fill(
        "merge_method: slerp\nbase_model: left\nmodels: [{model: left}, {model: right}]\nparameters: {t: [0, 1]}\n"
    )
    page.locator("[data-act=import]").click()

    expect(page.get_by_text("Imported as “Imported”.")).to_be_visible()
    expect(page.get_by_text("Approximate: A list of numbers is spread evenly over the layers")).to_be_visible()
    expect(page.locator(".import")).to_be_hidden()
    [kept] = desk.shelf.recipes()
    assert kept.recipe.method == "slerp"


@pytest.mark.browser
def test_hostile_names_notes_and_models_stay_text(desk: Desk, open_recipes: Callable[..., Page]) -> None:
    models = json.dumps({"a": f"x/{HOSTILE}", "b": "b" * 300})
    kept = desk.shelf.add(HOSTILE, recipe_of("layers: 0.5", models), HOSTILE)
    desk.shelf.add("Other", TENT)
    page = open_recipes(f"?tab=recipes&recipe={kept.id}")

    expect(page.locator(".detail h2")).to_have_text(HOSTILE)
    expect(page.locator(".detail .note")).to_have_text(HOSTILE)
    expect(page.locator(".detail .about")).to_contain_text("b" * 300)
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("alert")).to_have_text(f"Delete “{HOSTILE}” for good?")
    assert page.title() == "blockmerge"
    assert page.locator(".recipes img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.browser
def test_from_a_recipe_to_a_conversation_with_its_result(desk: Desk, open_recipes: Callable[..., Page]) -> None:
    desk.shelf.add("Rise", RISE)
    job = finished(desk, "mine", RISE)
    page = open_recipes()

    page.get_by_role("button", name="Try", exact=True).click()

    expect(page.get_by_role("tab", name="Try")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#try-job input")).to_have_value(re.compile(rf"\bjob {job}\b"))
