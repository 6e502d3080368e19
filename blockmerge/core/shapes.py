"""Shapes: a weight as a function of depth 0 to 1, so that one shape fits any number of layers.

A preset is a shape with a name: a file in the folder presets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from blockmerge.core.yaml_reader import read_yaml
from blockmerge.errors import RecipeError

DECIMALS = 3  # of a weight: what the page shows is what a recipe says

_FOLDER = Path(__file__).parent / "presets"


class Interpolation(StrEnum):
    """How the weights between two anchors come about; anchors are spread evenly over the depth."""

    LINEAR = "linear"  # straight lines from anchor to anchor
    SMOOTH = "smooth"  # 3t² − 2t³ from anchor to anchor: flat at both
    STEPS = "steps"  # one band of layers for each anchor, as equal as they come
    CYCLE = "cycle"  # the anchors in turn, layer by layer


@dataclass(frozen=True, slots=True)
class Shape:
    """Weights at evenly spread depths. `flip` turns it upside down (1 − w); `strength` (0 to 1) then scales it."""

    anchors: tuple[float, ...]
    interpolation: Interpolation = Interpolation.LINEAR
    strength: float = 1.0
    flip: bool = False


@dataclass(frozen=True, slots=True)
class Preset:
    """A shape with a name for recipes, a title and a group for the page, and a sentence that says what it does."""

    name: str
    title: str
    group: str
    order: int
    description: str
    shape: Shape

    @property
    def label(self) -> str:
        """What it is called where its group is not shown."""
        return f"Flat {self.title}" if self.group == "Flat" else self.name.replace("-", " ").capitalize()


def sample(shape: Shape, depth: int) -> tuple[float, ...]:
    """The weight of each of `depth` layers, rounded to DECIMALS. A single layer gets the middle of the shape."""
    curve = curve_of(shape, depth)
    # + 0.0 makes 0.0 of −0.0.
    return tuple(round(shape.strength * (1 - weight if shape.flip else weight), DECIMALS) + 0.0 for weight in curve)


def curve_of(shape: Shape, depth: int) -> tuple[float, ...]:
    """The shape at `depth` layers as it is drawn, before flip and strength, not rounded."""
    if shape.interpolation is Interpolation.CYCLE:
        return tuple(shape.anchors[layer % len(shape.anchors)] for layer in range(depth))
    if shape.interpolation is Interpolation.STEPS:
        # Where the middle of the layer lies: so bands at both ends are as wide as each other at any depth.
        return tuple(shape.anchors[(2 * layer + 1) * len(shape.anchors) // (2 * depth)] for layer in range(depth))
    depths = [layer / (depth - 1) for layer in range(depth)] if depth > 1 else [0.5]
    return tuple(_value(shape, at) for at in depths)


def _value(shape: Shape, at: float) -> float:
    anchors = shape.anchors
    place = at * (len(anchors) - 1)
    before = int(place)
    share = place - before
    if share == 0:
        return anchors[before]  # an anchor itself, to the bit
    if shape.interpolation is Interpolation.SMOOTH:
        share = share * share * (3 - 2 * share)
    return anchors[before] + (anchors[before + 1] - anchors[before]) * share


@cache
def load_presets() -> Mapping[str, Preset]:
    """The presets of this package by name, in the order of the page."""
    return read_presets(_FOLDER)


def read_presets(folder: Path) -> Mapping[str, Preset]:
    """The presets of a folder by name, in the order of the page. Raises RecipeError for a file that is wrong."""
    presets = [_read_preset(path) for path in folder.glob("*.yaml")]
    return {preset.name: preset for preset in sorted(presets, key=lambda preset: (preset.order, preset.name))}


def _read_preset(path: Path) -> Preset:
    match read_yaml(path.read_text("utf-8"), path.name):
        case {
            "title": str(title),
            "group": str(group),
            "order": int(order),
            "description": str(description),
            "anchors": [_, *_] as anchors,
            **rest,
        } if rest.keys() <= {"interpolation"} and all(_is_weight(anchor) for anchor in anchors):
            interpolation = str(rest.get("interpolation", "linear"))
            if interpolation in tuple(Interpolation):
                shape = Shape(tuple(float(anchor) for anchor in anchors), Interpolation(interpolation))
                return Preset(path.stem, title, group, order, description, shape)
    raise RecipeError(
        f"{path.name} is no preset: expected title, group, order, description, anchors from 0 to 1 "
        f"and perhaps interpolation ({', '.join(Interpolation)})."
    )


def _is_weight(anchor: object) -> bool:
    return isinstance(anchor, int | float) and not isinstance(anchor, bool) and 0 <= anchor <= 1
