"""The picture of weights, read back by Pillow."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from blockmerge.checkpoints.picture import GAP, HEIGHT, WIDTH, draw_weights

EDGE = (198, 83, 10)


def edges(png: bytes, panel: int = 0) -> list[float]:
    """How high the edge is above each pixel column of a panel, as a share of the way from bottom to top."""
    picture = np.asarray(Image.open(BytesIO(png)))
    top = panel * (HEIGHT + GAP)
    is_edge = (picture[top : top + HEIGHT] == EDGE).all(axis=2)
    first = is_edge.argmax(axis=0)
    assert (is_edge.sum(axis=0) == 3).all()
    return [float(1 - row / (HEIGHT - 3)) for row in first]


def test_every_layer_is_a_bar_as_high_as_its_weight() -> None:
    found = edges(draw_weights([[0, 0.25, 0.5, 1]]))

    assert len(found) == WIDTH
    for place, weight in enumerate((0, 0.25, 0.5, 1)):
        assert found[place * WIDTH // 4 + 5] == pytest.approx(weight, abs=0.01)


def test_all_lines_have_one_scale_that_holds_weights_beyond_0_and_1() -> None:
    png = draw_weights([[0, 1], [-1, 2]])

    assert Image.open(BytesIO(png)).size == (WIDTH, 2 * HEIGHT + GAP)
    assert [edges(png, 0)[x] for x in (5, -5)] == pytest.approx([1 / 3, 2 / 3], abs=0.01)
    assert [edges(png, 1)[x] for x in (5, -5)] == pytest.approx([0, 1], abs=0.01)


def test_more_layers_than_pixels_are_drawn_too() -> None:
    assert edges(draw_weights([[0.5] * 1000])) == pytest.approx([0.5] * WIDTH, abs=0.01)
