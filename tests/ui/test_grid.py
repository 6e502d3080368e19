"""The grid's state: round trips, and every value that no page can make is refused with a sentence."""

import copy
import json
import math
from dataclasses import replace
from typing import Any, get_args

import gradio as gr
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockmerge.core.blocks import Blocks, StackBlocks
from blockmerge.core.layout import LANES, ROWS
from blockmerge.core.shapes import curve_of, load_presets
from blockmerge.errors import RecipeError
from blockmerge.ui.equaliser import grid as grid_module
from blockmerge.ui.equaliser.equaliser import Equaliser
from blockmerge.ui.equaliser.grid import Grid, carry_over, grid_value, new_grid, read_grid
from blockmerge.ui.equaliser.meaning import Kind, Meaning

PAIR, OTHER = Meaning("a", "b"), Meaning("c", "d")
WEIGHTS = st.integers(-1000, 2000).map(lambda thousandths: thousandths / 1000)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)
MISTRAL = Blocks(
    stacks=(StackBlocks("layers", 3, ("attention", "mlp", "norm"), ()),), rows=("embeddings", "final_norm", "head")
)
T5 = Blocks(
    stacks=(
        StackBlocks("encoder", 2, ("attention", "mlp"), ("final_norm",)),
        StackBlocks("decoder", 3, ("attention", "mlp", "other"), ("embeddings",)),
    ),
    rows=("head",),
)


def meanings() -> st.SearchStrategy[Meaning]:
    models = st.dictionaries(st.sampled_from("abcd"), NAMES, max_size=3)
    return st.builds(Meaning, NAMES, NAMES, st.sampled_from(Kind), models, st.booleans())


def subsets(names: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.sets(st.sampled_from(names)).map(lambda chosen: tuple(name for name in names if name in chosen))


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    stacks = tuple(
        StackBlocks(name, draw(st.integers(1, 5)), draw(subsets(LANES)), draw(subsets(ROWS)) if len(names) > 1 else ())
        for name in names
    )
    blocks = Blocks(stacks=stacks, rows=draw(subsets(ROWS)))
    fresh = new_grid(draw(meanings()), blocks)
    lines = {
        (stack.name, lane): tuple(draw(st.lists(WEIGHTS, min_size=stack.depth, max_size=stack.depth)))
        for stack in fresh.blocks.stacks
        for lane in ("layers", *draw(subsets(stack.lanes) if stack.lanes else st.just(())))
    }
    rows = {key: draw(st.none() | WEIGHTS) for key in fresh.rows}
    return Grid(fresh.meaning, fresh.blocks, lines, rows, draw(NAMES))


@given(grid=grids())
def test_a_grid_comes_back_from_the_browser_as_it_went(grid: Grid) -> None:
    assert read_grid(json.loads(json.dumps(grid_value(grid)))) == grid


@given(grid=grids())
def test_a_pair_with_the_same_blocks_keeps_every_weight(grid: Grid) -> None:
    fresh = Grid(replace(grid.meaning, a="other"), grid.blocks, {}, dict.fromkeys(grid.rows), "x")

    carried = carry_over(grid, fresh)

    assert carried.meaning.a == "other"
    assert (carried.blocks, carried.lines, carried.rows, carried.shape) == (
        grid.blocks,
        grid.lines,
        grid.rows,
        grid.shape,
    )


def test_a_pair_of_another_depth_starts_anew() -> None:
    edited = Grid(PAIR, MISTRAL, {("layers", "layers"): (0.1, 0.2, 0.3)}, dict(new_grid(PAIR, MISTRAL).rows), "x")

    assert carry_over(edited, new_grid(OTHER, T5)) == new_grid(OTHER, T5)


def test_a_pair_with_fewer_lanes_and_other_rows_keeps_what_it_has() -> None:
    fresh = new_grid(PAIR, MISTRAL)
    lines = {("layers", "layers"): (0.1, 0.2, 0.3), ("layers", "norm"): (1.0, 1.0, 1.0)}
    edited = Grid(PAIR, MISTRAL, lines, {**fresh.rows, (None, "head"): 0.7}, "x")
    fewer = Blocks(stacks=(StackBlocks("layers", 3, ("attention", "mlp"), ()),), rows=("head", "outside"))

    carried = carry_over(edited, new_grid(PAIR, fewer))

    assert carried.lines == {("layers", "layers"): (0.1, 0.2, 0.3)}
    assert carried.rows == {(None, "head"): 0.7, (None, "outside"): None}


def test_models_that_have_lines_of_their_own_begin_with_the_line_there_was() -> None:
    drawn = Grid(PAIR, MISTRAL, {("layers", "layers"): (0.1, 0.2, 0.3)}, {(None, "head"): 0.7}, "x")
    several = new_grid(Meaning("base", "TIES", Kind.AMOUNT, {"a": "A", "b": "B"}), MISTRAL)

    carried = carry_over(drawn, several)

    assert carried.lines == {("a", "layers"): (0.1, 0.2, 0.3), ("b", "layers"): (0.1, 0.2, 0.3)}
    assert [carried.rows[key, "head"] for key in "ab"] == [0.7, 0.7]
    assert carry_over(carried, new_grid(PAIR, MISTRAL)).lines == drawn.lines


def test_rows_outside_the_stacks_stand_with_the_stack_whose_end_they_follow() -> None:
    grid = new_grid(Meaning("base", "TIES", Kind.AMOUNT, {"a": "A", "b": "B"}), T5)

    assert [(stack.name, stack.rows) for stack in grid.blocks.stacks] == [
        ("a.encoder", ("final_norm",)),
        ("a.decoder", ("embeddings", "head")),
        ("b.encoder", ("final_norm",)),
        ("b.decoder", ("embeddings", "head")),
    ]
    assert grid.meaning.outer == ("head",)


def test_a_new_grid_is_half_of_each_and_its_rows_follow() -> None:
    grid = new_grid(PAIR, T5)

    assert grid.lines == {("encoder", "layers"): (0.5, 0.5), ("decoder", "layers"): (0.5, 0.5, 0.5)}
    assert grid.rows == {("encoder", "final_norm"): None, ("decoder", "embeddings"): None, (None, "head"): None}
    assert grid.shape == "Flat 0.50"


def test_weights_are_rounded_to_what_the_page_shows() -> None:
    value = grid_value(new_grid(PAIR, MISTRAL))
    value["stacks"][0]["lines"]["layers"] = [0.33333, -0.0001, 1]

    assert read_grid(value).lines["layers", "layers"] == (0.333, 0.0, 1.0)
    assert math.copysign(1, read_grid(value).lines["layers", "layers"][1]) == 1


def test_presets_come_with_their_curve_at_the_depth_of_each_stack() -> None:
    presets = grid_value(new_grid(PAIR, T5))["presets"]

    for shown, preset in zip(presets, load_presets().values(), strict=True):
        assert shown["curves"] == [curve_of(preset.shape, 2), curve_of(preset.shape, 3)]
    assert [shown["label"] for shown in presets][:6] == [
        "Flat 0.25",
        "Flat 0.50",
        "Flat 0.75",
        "Rise",
        "Fall",
        "Smooth rise",
    ]


def test_every_lane_and_row_of_the_core_is_known() -> None:
    assert get_args(grid_module.Lane) == LANES
    assert get_args(grid_module.Row) == ROWS


def forged(*path: str | int, value: Any, blocks: Blocks = MISTRAL) -> dict[str, Any]:
    """A good value with one thing in it replaced, or removed where the value is `...`."""
    whole = copy.deepcopy(grid_value(new_grid(PAIR, blocks)))
    inner: Any = whole
    for step in path[:-1]:
        inner = inner[step]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return whole


LINE = ("stacks", 0, "lines", "layers")
FORGERIES: list[tuple[Any, str]] = [
    (5, "grid: expected a mapping, found 5."),
    (forged("a", value=7), "a: expected a valid string, found 7."),
    (forged("a", value=""), "a: expected at least 1 character"),
    (forged("b", value="x" * 301), "b: expected at most 300 characters"),
    (forged("shape", value="x" * 301), "shape: expected at most 300 characters"),
    (forged("shape", value=...), "shape: this key is missing."),
    (forged("evil", value=1), "evil: this key is unknown."),
    (forged("stacks", value=[]), "stacks: expected at least 1 item"),
    (forged("stacks", value={}), "stacks: expected a valid list, found {}."),
    (forged("stacks", 0, "layers", value=0), "stacks[0].layers: expected greater than or equal to 1, found 0."),
    (forged("stacks", 0, "layers", value=1001), "stacks[0].layers: expected less than or equal to 1000, found 1001."),
    (forged("stacks", 0, "layers", value=True), "stacks[0].layers: expected a valid integer, found True."),
    (forged("stacks", 0, "layers", value=4), "stacks[0]: expected 4 weights in 'layers', one per layer, found 3."),
    (forged(*LINE, value=[0.5]), "stacks[0]: expected 3 weights in 'layers', one per layer, found 1."),
    (forged(*LINE, value=...), "stacks[0]: the line 'layers' is missing."),
    (forged(*LINE, 1, value=math.nan), "stacks[0].lines.layers[1]: expected a finite number, found nan."),
    (forged(*LINE, 1, value=math.inf), "stacks[0].lines.layers[1]: expected a finite number, found inf."),
    (forged(*LINE, 1, value=True), "stacks[0].lines.layers[1]: expected a valid number, found True."),
    (forged(*LINE, 1, value="0.5"), "stacks[0].lines.layers[1]: expected a valid number, found '0.5'."),
    (forged(*LINE, 1, value=None), "stacks[0].lines.layers[1]: expected a valid number, found None."),
    (forged(*LINE, 1, value=2.001), "stacks[0].lines.layers[1]: expected less than or equal to 2, found 2.001."),
    (forged(*LINE, 1, value=-1.5), "stacks[0].lines.layers[1]: expected greater than or equal to -1, found -1.5."),
    (forged("stacks", 0, "lines", "router", value=[0, 0, 0]), "stacks[0]: 'router' is no lane of this stack."),
    (forged("stacks", 0, "lines", "nose", value=[0, 0, 0]), "stacks[0].lines.nose: expected 'layers', 'attention'"),
    (forged("stacks", 0, "lanes", value=["mlp", "mlp"]), "stacks[0]: a lane is named twice."),
    (forged("stacks", 0, "lanes", value=["nose"]), "stacks[0].lanes[0]: expected 'attention', 'mlp'"),
    (forged("stacks", 0, "rows", value={"head": None}), "grid: with one stack its rows stand beside it."),
    (forged("stacks", 1, "name", value="encoder", blocks=T5), "grid: two stacks have one name."),
    (forged("kind", value="size"), "kind: expected 'share', 'shares', 'amount' or 'strength', found 'size'."),
    (forged("models", value=[{"key": "a", "name": "x"}] * 2), "grid: two models have one key."),
    (forged("models", value=[{"key": "", "name": "x"}]), "models[0].key: expected at least 1 character"),
    (forged("outer", value=["nose"]), "outer[0]: expected 'embeddings', 'final_norm'"),
    (forged("wide", value=1), "wide: expected a valid boolean, found 1."),
    (forged("rows", "nose", value=None), "rows.nose: expected 'embeddings', 'final_norm'"),
    (forged("rows", "head", value=3), "rows.head: expected less than or equal to 2, found 3."),
    (forged("rows", "head", value=False), "rows.head: expected a valid number, found False."),
]


@pytest.mark.parametrize(("value", "sentence"), FORGERIES)
def test_a_forged_value_is_refused_with_its_place(value: object, sentence: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_grid(value)

    assert str(caught.value).startswith(sentence), str(caught.value)
    assert str(caught.value).endswith("Reload the page.")


def test_a_value_with_many_faults_names_only_some() -> None:
    with pytest.raises(RecipeError) as caught:
        read_grid(forged(*LINE, value=["x"] * 900))

    assert len(caught.value.problems) == 5


def test_the_component_hands_over_a_grid_and_escapes_what_it_refuses() -> None:
    equaliser = Equaliser(new_grid(PAIR, MISTRAL))

    assert equaliser.preprocess(None) is None
    assert equaliser.preprocess(grid_value(new_grid(PAIR, MISTRAL))) == new_grid(PAIR, MISTRAL)
    with pytest.raises(gr.Error, match="found &#x27;&lt;img&gt;&#x27;") as caught:
        equaliser.preprocess(forged("rows", "head", value="<img>"))
    assert "<img>" not in caught.value.message


def test_the_example_of_the_api_is_a_value_that_it_takes() -> None:
    equaliser = Equaliser()

    assert isinstance(equaliser.preprocess(equaliser.example_payload()), Grid)
    assert set(equaliser.api_info()["properties"]) == set(equaliser.example_payload())
