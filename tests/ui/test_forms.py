"""What stands on the page as a recipe, and what a forged form gets."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockmerge.core.blocks import Blocks, StackBlocks
from blockmerge.errors import JobRequestError, RecipeError
from blockmerge.jobs.states import check_result_name
from blockmerge.ui.equaliser.grid import Grid
from blockmerge.ui.forms import LONGEST_NAME, Form, make_recipe, read_form, suggest_name

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
    return Grid("A", "B", blocks, lines, rows, "Rise")


@given(grids())
def test_a_recipe_says_what_the_grid_shows(grid: Grid) -> None:
    recipe = make_recipe(Form("a", "b", grid, "merged", "2GB"), FOLDERS)

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
    grid = Grid("A", "B", ONE, {("layers", "layers"): (0.0,) * 3}, dict.fromkeys([(None, "head")]), "Flat")

    with pytest.raises(RecipeError) as caught:
        make_recipe(Form("a", "b", grid, "merged", "5 apples"), FOLDERS)

    assert (
        str(caught.value) == "output.shard_size: expected a size such as 5GB or 500MB (MB, GB, MiB or GiB), "
        "found '5 apples'."
    )


@pytest.mark.parametrize(
    ("values", "label"),
    [
        (({"x": 1}, "b", None, "n", "5GB"), "Model A"),
        (("a", ["b"], None, "n", "5GB"), "Model B"),
        (("a", "b", None, "n" * 1001, "5GB"), "Name"),
        (("a", "b", None, "n", 5), "Shard size"),
    ],
)
def test_a_forged_field_gets_a_sentence(values: tuple[object, object, None, object, object], label: str) -> None:
    expected = f"{label}: a text of at most 1000 characters was expected."

    with pytest.raises(JobRequestError, match=f"^{re.escape(expected)}$"):
        read_form(*values)


def test_fields_that_are_empty_are_empty_texts() -> None:
    assert read_form(None, None, None, None, " 5GB ") == Form("", "", None, "", "5GB")


@given(st.text(max_size=300), st.text(max_size=300))
def test_a_suggested_name_is_a_name_with_room_for_a_number(a: str, b: str) -> None:
    name = suggest_name(a, b)

    assert check_result_name(name) == name
    assert len(name) <= LONGEST_NAME - 3


def test_a_suggested_name_tells_the_models() -> None:
    assert suggest_name("Mistral-7B-v0.1", "zephyr 7b/beta") == "mistral-7b-v0.1-x-zephyr-7b-beta"
