"""What the strip under the bars and the advice say of a difference."""

import pytest

from blockmerge.core.difference import BlockDifference, Difference
from blockmerge.jobs.difference import Measurement
from blockmerge.ui.difference.difference import advice, distances, strip_value


def difference(*layers: float, stack: str = "layers") -> Difference:
    blocks = tuple(BlockDifference(stack, number, "mlp", 10, apart, 1.0) for number, apart in enumerate(layers))
    return Difference((*blocks, BlockDifference(None, None, "head", 5, 9.0, 1.0)), 0.5, 1.0, ())


def test_a_layer_is_as_far_apart_as_its_modules_by_their_size() -> None:
    blocks = (
        BlockDifference("layers", 0, "attention", 30, 0.1, 1.0),
        BlockDifference("layers", 0, "mlp", 10, 0.5, 1.0),
        BlockDifference("layers", 1, "mlp", 10, None, None),
    )

    found = distances(Difference(blocks, 0.5, 1.0, ()))["layers"]

    assert found["attention"] == [0.1, 0.0]
    assert found["mlp"] == [0.5, 0.0]
    assert found["layers"] == [pytest.approx(((30 * 0.01 + 10 * 0.25) / 40) ** 0.5), 0.0]


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        ((0.0005, 0.0009, 0.2, 0.0), "Layers 0–1, 3 differ by less than 0.1 %: their weight hardly matters."),
        ((0.2, 0.0009), "Layer 1 differs by less than 0.1 %: its weight hardly matters."),
        ((0.0, 0.0), "All layers differ by less than 0.1 %: their weights hardly matter."),
    ],
)
def test_layers_that_hardly_differ_are_named(layers: tuple[float, ...], sentence: str) -> None:
    [line] = advice(difference(*layers))

    assert line.parts == [("quiet", sentence)]


def test_where_all_layers_differ_there_is_nothing_to_say() -> None:
    assert advice(difference(0.5, 0.001)) == []


def test_the_strip_says_what_is_known() -> None:
    assert strip_value(None) == {"state": "none"}
    assert strip_value(Measurement(done=1, total=4)) == {"state": "running", "text": "Measuring: 25 % read"}
    assert strip_value(Measurement(problem="<img>")) == {"state": "problem", "text": "<img>"}
    assert strip_value(Measurement(difference=difference(0.5)))["stacks"] == {"layers": {"layers": [0.5], "mlp": [0.5]}}
