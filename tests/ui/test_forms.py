"""What stands on the page as a recipe, and what a forged form gets."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from blockmerge.core.blocks import Blocks, StackBlocks
from blockmerge.core.layout import Layout, Place, Stack
from blockmerge.core.method import BaseUse, Parameter
from blockmerge.core.methods import METHODS
from blockmerge.core.parameters import read_parameters
from blockmerge.core.recipe import dump_recipe, parse_recipe, read_recipe
from blockmerge.core.wish import Wish
from blockmerge.errors import JobRequestError, RecipeError
from blockmerge.jobs.states import check_result_name
from blockmerge.ui.equaliser.grid import Grid, new_grid
from blockmerge.ui.equaliser.meaning import Meaning
from blockmerge.ui.forms import (
    LETTERS,
    LONGEST_NAME,
    Form,
    fill_form,
    fill_grid,
    make_recipe,
    meaning_of,
    read_form,
    size_as_text,
    suggest_name,
)
from blockmerge.ui.tabs.merge_widgets import every_parameter

FOLDERS = {"a": Path("/models/a"), "b": Path("/models/b")}
ONE = Blocks((StackBlocks("layers", 3, ("attention", "mlp"), ()),), ("embeddings", "final_norm", "head"))
TWO = Blocks(
    (StackBlocks("encoder", 2, ("mlp",), ("final_norm",)), StackBlocks("decoder", 3, ("mlp",), ())),
    ("embeddings", "head"),
)
_weight = st.integers(-1000, 2000).map(lambda n: n / 1000)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    blocks = draw(st.sampled_from([ONE, TWO]))
    lines = {}
    for stack in blocks.stacks:
        for lane in ("layers", *stack.lanes):
            if lane == "layers" or draw(st.booleans()):
                lines[stack.name, lane] = tuple(draw(st.lists(_weight, min_size=stack.depth, max_size=stack.depth)))
    keys = [(stack.name, row) for stack in blocks.stacks for row in stack.rows] + [(None, row) for row in blocks.rows]
    rows = {key: draw(st.none() | _weight) for key in keys}
    return Grid(Meaning("A", "B"), blocks, lines, rows, "Rise")


FORM = Form({"a": "a", "b": "b"}, name="merged", shard_size="2GB")


@given(grids())
def test_a_recipe_says_what_the_grid_shows(grid: Grid) -> None:
    recipe = make_recipe(replace(FORM, grid=grid), FOLDERS)

    assert dict(recipe.models) == {"a": str(FOLDERS["a"]), "b": str(FOLDERS["b"])}
    assert recipe.output.shard_size == 2 * 10**9
    several = len(grid.blocks.stacks) > 1
    for stack in grid.blocks.stacks:
        own = recipe.weights.stacks[stack.name] if several else recipe.weights
        assert {"layers": own.layers, **own.lanes} == {
            line: weights for (name, line), weights in grid.lines.items() if name == stack.name
        }
        assert own.rows == {
            row: weight
            for (name, row), weight in grid.rows.items()
            if name == (stack.name if several else None) and weight is not None
        }


def test_a_wrong_shard_size_is_told_with_its_place() -> None:
    lines = {("layers", "layers"): (0.0,) * 3}
    grid = Grid(Meaning("A", "B"), ONE, lines, dict.fromkeys([(None, "head")]), "Flat")

    with pytest.raises(RecipeError) as caught:
        make_recipe(replace(FORM, grid=grid, shard_size="5 apples", seed="x"), FOLDERS)

    assert caught.value.problems == (
        "seed: expected a whole number, found 'x'.",
        "output.shard_size: expected a size such as 5GB or 500MB (MB, GB, MiB or GiB), found '5 apples'.",
    )


FIELDS = {
    **dict.fromkeys([*LETTERS, "base", "name", *every_parameter()]),
    **{
        "method": "linear",
        "dtype": "as owner",
        "tokenizer": "a",
        "shard_size": " 5 GB ",
        "nonfinite": "refuse",
        "seed": "0",
    },
}


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("a", {"x": 1}, "Model A: a text of at most 1000 characters was expected."),
        ("h", ["b"], "Model H: a text of at most 1000 characters was expected."),
        ("name", "n" * 1001, "Name: a text of at most 1000 characters was expected."),
        ("shard_size", 5, "Shard size: a text of at most 1000 characters was expected."),
        ("keeps_nothing", "yes", "This was not understood. Reload the page."),
        ("visibility", "everyone", "This was not understood. Reload the page."),
        ("visibility", None, "This was not understood. Reload the page."),
        ("repository", ["ann/x"], "Repository: a text of at most 1000 characters was expected."),
        ("method", "<img>", "Method: one of the list was expected. Reload the page."),
        ("device", "tpu", "Computed on: one of the list was expected. Reload the page."),
        ("parameters.normalize.False", [1], "normalize: a number or a word was expected. Reload the page."),
    ],
)
def test_a_forged_field_gets_a_sentence(field: str, value: object, sentence: str) -> None:
    with pytest.raises(JobRequestError, match=f"^{re.escape(sentence)}$"):
        read_form({**FIELDS, field: value}, None)


@pytest.mark.parametrize(
    ("visibility", "wish"),
    [
        ("private", Wish("ann/merged", "mit")),
        ("public", Wish("ann/merged", "mit", is_public=True)),
        ("pull_request", Wish("ann/merged", "mit", as_pull_request=True)),
    ],
)
def test_what_keeps_nothing_goes_to_its_repository(visibility: str, wish: Wish) -> None:
    fields = {**FIELDS, "repository": " ann/merged ", "visibility": visibility, "licence": "mit"}

    assert read_form({**fields, "keeps_nothing": True}, None).wish == wish
    assert read_form({**fields, "keeps_nothing": False}, None).wish is None


def test_fields_that_are_empty_are_empty_texts() -> None:
    assert read_form(FIELDS, None) == Form(dict.fromkeys(LETTERS, ""), parameters={"normalize": None})


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (7.5, "expected 0 to 1, found 7.5"),
        (True, "expected a number, or lines as weights have, found True"),
        ("0.2", "expected a number, or lines as weights have, found '0.2'"),
    ],
)
def test_a_parameter_out_of_its_range_is_told_as_in_a_recipe(value: object, problem: str) -> None:
    form = read_form({**FIELDS, "method": "ties", "parameters.density.0.2": value}, None)

    problems = read_parameters(form.parameters | {"lambda": 1.0, "normalize": False}, METHODS["ties"])

    assert problems == (f"parameters.density: {problem}.",)


@given(st.text(max_size=300), st.text(max_size=300))
def test_a_suggested_name_is_a_name_with_room_for_a_number(a: str, b: str) -> None:
    name = suggest_name(a, b)

    assert check_result_name(name) == name
    assert len(name) <= LONGEST_NAME - 3


def test_a_suggested_name_tells_the_models() -> None:
    assert suggest_name("Mistral-7B-v0.1", "zephyr 7b/beta") == "mistral-7b-v0.1-x-zephyr-7b-beta"


def layout_of(blocks: Blocks) -> Layout:
    """A layout with exactly these blocks."""
    stacks = tuple(Stack(stack.name, stack.name, (stack.lanes,) * stack.depth) for stack in blocks.stacks)
    places = {f"{row}.weight": Place(None, None, row) for row in blocks.rows}
    for stack in blocks.stacks:
        places |= {f"{stack.name}.{row}.weight": Place(stack.name, None, row) for row in stack.rows}
        places |= {
            f"{stack.name}.{layer}.{lane}.weight": Place(stack.name, layer, lane)
            for layer in range(stack.depth)
            for lane in stack.lanes
        }
    return Layout(stacks, blocks.rows, places)


@st.composite
def whole_forms(draw: st.DrawFn) -> Form:
    """A form of any method with everything drawn: models, lines, rows, parameters and settings."""
    method = draw(st.sampled_from(list(METHODS.values())))
    most = min(method.most_models or 4, 4)
    letters = LETTERS[: draw(st.integers(max(method.fewest_models, 1), most))]
    base = method.base is BaseUse.REQUIRED or (method.base is BaseUse.OPTIONAL and draw(st.booleans()))
    form = Form(
        {letter: f"model {letter}" for letter in letters},
        base="the base" if base else "",
        method=method.name,
        parameters={entry.name: draw(values_of(entry)) for entry in method.parameters},
        name="merged",
        dtype=draw(st.sampled_from(["as owner", "float16"])),
        tokenizer=draw(st.sampled_from(letters)),
        shard_size=size_as_text(draw(st.integers(1_000_000, 10**13))),
        nonfinite=draw(st.sampled_from(["refuse", "warn"])),
        seed=str(draw(st.integers(0, 2**62))),
    )
    fresh = new_grid(meaning_of(form, form.references), draw(st.sampled_from([ONE, TWO])))
    lines = {
        (stack.name, lane): tuple(draw(st.lists(_weight, min_size=stack.depth, max_size=stack.depth)))
        for stack in fresh.blocks.stacks
        for lane in ("layers", *stack.lanes[: draw(st.integers(0, 1))])
    }
    rows = {key: draw(st.none() | _weight) for key in fresh.rows}
    return replace(form, grid=replace(fresh, lines=lines, rows=rows))


def values_of(entry: Parameter) -> st.SearchStrategy[object]:
    if entry.name == "normalize":
        return st.just(False)  # of two models it is none
    if isinstance(entry.default, bool):
        return st.booleans()
    if entry.choices:
        return st.sampled_from(entry.choices)
    return st.integers(1, 9) if isinstance(entry.default, int) else st.floats(entry.low, entry.high)


@given(whole_forms(), st.booleans())
def test_a_recipe_that_is_shown_makes_the_same_recipe_again(form: Form, has_globs: bool) -> None:
    assert form.grid is not None
    value = yaml.safe_load(dump_recipe(make_recipe(form, form.references)))
    if has_globs:
        for lines in value["weights"].values() if form.grid.meaning.models else [value["weights"]]:
            lines["tensors"] = {"*mlp.weight": 0.25}
    recipe = read_recipe(value)
    blocks = ONE if len({stack.depth for stack in form.grid.blocks.stacks}) == 1 else TWO

    again = fill_form(dump_recipe(recipe), "merged", lambda reference: reference)
    filled = fill_grid(recipe, form.grid.meaning, layout_of(blocks))

    assert (filled.lines, filled.rows) == (form.grid.lines, form.grid.rows)
    assert make_recipe(replace(again, grid=filled), form.references) == recipe


def test_the_keys_of_a_recipe_and_its_parameters_by_block_are_kept() -> None:
    text = """
        blockmerge: 1
        method: ties
        models: {mistral: m, zephyr: z}
        base: c
        weights: {mistral: {layers: 0.5}, zephyr: {layers: [0, 0.5, 1]}}
        parameters: {density: {layers: [0.1, 0.2, 0.3], embeddings: 1}, normalize: false}
        output: {tokenizer: zephyr}
    """
    form = fill_form(text, "", str)
    assert (form.models, form.tokenizer, form.parameters["density"]) == ({"a": "m", "b": "z"}, "b", None)

    grid = fill_grid(parse_recipe(text), meaning_of(form, form.references), layout_of(ONE))
    again = make_recipe(replace(form, grid=grid), form.references)

    assert again.parameters == parse_recipe(text).parameters
    assert (list(again.models), again.output.tokenizer) == (["mistral", "zephyr"], "zephyr")
    changed = make_recipe(replace(form, grid=grid, parameters={"density": 0.7, "normalize": False}), form.references)
    assert changed.parameters["density"] == 0.7


def test_more_models_than_there_are_boxes_are_refused() -> None:
    models = ", ".join(f"m{number}: x" for number in range(9))

    with pytest.raises(
        RecipeError, match=r"^models: the page shows up to 8, the recipe names 9\. Merge it with python"
    ):
        fill_form(f"blockmerge: 1\nmodels: {{{models}}}\nweights: {{layers: 0.5}}\n", "", str)
