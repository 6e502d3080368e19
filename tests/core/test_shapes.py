from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockmerge.core.shapes import DECIMALS, Interpolation, Preset, Shape, load_presets, read_presets, sample
from blockmerge.errors import RecipeError

PRESETS = load_presets()
GROUPS = {
    "Flat": ["0.25", "0.50", "0.75"],
    "Rise and fall": ["Rise", "Fall", "Smooth"],
    "Middle and ends": ["Middle", "Ends", "Smooth"],
    "Steps": ["First third", "Last third", "Alternate"],
}
HALF_A_STEP = 0.5 * 10**-DECIMALS + 1e-12  # what rounding may change

depths = st.integers(1, 200)
weights = st.floats(0, 1)
any_shape = st.builds(
    Shape,
    anchors=st.lists(weights, min_size=1, max_size=8).map(tuple),
    interpolation=st.sampled_from(Interpolation),
    strength=weights,
    flip=st.booleans(),
)


def test_the_presets_stand_on_the_page_in_their_groups() -> None:
    groups: dict[str, list[str]] = {}
    for preset in PRESETS.values():
        groups.setdefault(preset.group, []).append(preset.title)

    assert groups == GROUPS
    assert list(groups) == list(GROUPS)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_preset_says_what_it_does_in_a_sentence(preset: Preset) -> None:
    assert preset.description[0].isupper()
    assert preset.description.endswith(".")
    assert preset.name == preset.name.lower()


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
@given(depth=depths)
def test_a_preset_fits_any_depth_within_0_and_1(preset: Preset, depth: int) -> None:
    line = sample(preset.shape, depth)

    assert len(line) == depth
    assert all(0 <= weight <= 1 for weight in line)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("flat", (0.5, 0.5, 0.5, 0.5, 0.5)),
        ("rise", (0.0, 0.25, 0.5, 0.75, 1.0)),
        ("fall", (1.0, 0.75, 0.5, 0.25, 0.0)),
        ("smooth-rise", (0.0, 0.156, 0.5, 0.844, 1.0)),
        ("middle", (0.0, 0.5, 1.0, 0.5, 0.0)),
        ("ends", (1.0, 0.5, 0.0, 0.5, 1.0)),
        ("smooth-middle", (0.0, 0.5, 1.0, 0.5, 0.0)),
        ("first-third", (1.0, 1.0, 0.0, 0.0, 0.0)),
        ("last-third", (0.0, 0.0, 0.0, 1.0, 1.0)),
        ("alternate", (0.0, 1.0, 0.0, 1.0, 0.0)),
    ],
)
def test_a_preset_over_five_layers(name: str, line: tuple[float, ...]) -> None:
    assert sample(PRESETS[name].shape, 5) == line


@pytest.mark.parametrize("depth", range(1, 201))
def test_thirds_are_as_wide_as_each_other(depth: int) -> None:
    first, last = (sample(PRESETS[name].shape, depth) for name in ("first-third", "last-third"))

    assert first == last[::-1]
    assert abs(sum(first) - depth / 3) < 1


@pytest.mark.parametrize("interpolation", [Interpolation.LINEAR, Interpolation.SMOOTH])
@given(shape=any_shape, depth=st.integers(2, 200))
def test_the_ends_are_the_outer_anchors(interpolation: Interpolation, shape: Shape, depth: int) -> None:
    line = sample(Shape(shape.anchors, interpolation), depth)

    assert (line[0], line[-1]) == (round(shape.anchors[0], DECIMALS), round(shape.anchors[-1], DECIMALS))


@given(shape=any_shape, depth=depths)
def test_a_single_anchor_is_the_same_everywhere(shape: Shape, depth: int) -> None:
    assert set(sample(Shape(shape.anchors[:1], shape.interpolation), depth)) == {round(shape.anchors[0], DECIMALS)}


@given(shape=any_shape, depth=depths)
def test_no_weight_lies_beyond_the_anchors(shape: Shape, depth: int) -> None:
    line = sample(Shape(shape.anchors, shape.interpolation), depth)

    assert min(line) >= min(shape.anchors) - HALF_A_STEP
    assert max(line) <= max(shape.anchors) + HALF_A_STEP


@given(shape=any_shape, depth=depths)
def test_strength_scales_and_strength_0_is_all_a(shape: Shape, depth: int) -> None:
    whole = sample(Shape(shape.anchors, shape.interpolation, 1.0, shape.flip), depth)
    scaled = sample(shape, depth)

    assert scaled == pytest.approx([shape.strength * weight for weight in whole], abs=2 * HALF_A_STEP)
    assert set(sample(Shape(shape.anchors, shape.interpolation, 0.0, shape.flip), depth)) == {0.0}


@given(shape=any_shape, depth=depths)
def test_flip_turns_upside_down(shape: Shape, depth: int) -> None:
    upright = sample(Shape(shape.anchors, shape.interpolation), depth)
    flipped = sample(Shape(shape.anchors, shape.interpolation, flip=True), depth)

    assert [a + b for a, b in zip(upright, flipped, strict=True)] == pytest.approx([1.0] * depth, abs=2 * HALF_A_STEP)


@given(anchors=st.lists(weights, min_size=2, max_size=6, unique=True).map(sorted), depth=depths)
@pytest.mark.parametrize("interpolation", [Interpolation.LINEAR, Interpolation.SMOOTH, Interpolation.STEPS])
def test_rising_anchors_make_a_rising_line(interpolation: Interpolation, anchors: list[float], depth: int) -> None:
    line = sample(Shape(tuple(anchors), interpolation), depth)

    assert all(lower <= higher for lower, higher in pairwise(line))


def test_a_single_layer_gets_the_middle() -> None:
    assert sample(PRESETS["rise"].shape, 1) == (0.5,)
    assert sample(PRESETS["middle"].shape, 1) == (1.0,)


def test_weights_have_three_decimals_and_no_minus_zero() -> None:
    assert sample(Shape((0.0, 1.0)), 4) == (0.0, 0.333, 0.667, 1.0)
    assert str(sample(Shape((-0.0001, 0.0)), 2)) == "(0.0, 0.0)"


RIGHT = "title: T\ngroup: G\norder: 1\ndescription: D.\nanchors: [0.0, 1.0]\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        RIGHT.replace("order: 1\n", ""),
        RIGHT.replace("order: 1", "order: one"),
        RIGHT.replace("[0.0, 1.0]", "[]"),
        RIGHT.replace("[0.0, 1.0]", "[0.0, 1.5]"),
        RIGHT.replace("[0.0, 1.0]", "[0.0, high]"),
        RIGHT.replace("[0.0, 1.0]", "[true]"),
        RIGHT + "interpolation: zigzag\n",
        RIGHT + "strength: 1\n",
    ],
)
def test_a_wrong_preset_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.yaml").write_text(text, "utf-8")

    with pytest.raises(RecipeError) as caught:
        read_presets(tmp_path)

    assert str(caught.value) == (
        "mine.yaml is no preset: expected title, group, order, description, anchors from 0 to 1 "
        "and perhaps interpolation (linear, smooth, steps, cycle)."
    )


def test_a_preset_is_one_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(RIGHT + "interpolation: cycle\n", "utf-8")

    shape = Shape((0.0, 1.0), Interpolation.CYCLE)
    assert read_presets(tmp_path) == {"mine": Preset("mine", "T", "G", 1, "D.", shape)}
