"""How far A and B are apart, for the strip under the bars: a component without surface, and what it says."""

from collections.abc import Iterable, Sequence
from typing import Any

from blockmerge.core.difference import BlockDifference, Difference
from blockmerge.jobs.difference import Measurement
from blockmerge.ui.lines.line import Line
from blockmerge.ui.parts import OwnComponent
from blockmerge.ui.wording import say

HARDLY = 0.001  # a distance below which a weight hardly changes anything


class DifferenceLink(OwnComponent):
    """Hands its value to the Equaliser on the page, and fires `measure` when a person asks for it there."""

    SCRIPTS = ("difference",)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(elem_id="difference", **kwargs)


def strip_value(measurement: Measurement | None) -> dict[str, object]:
    """What the strip shows: nothing yet, progress, a problem, or the distance of every layer, module by module."""
    match measurement:
        case None:
            return {"state": "none"}
        case Measurement(problem=str(problem)) if problem:
            return {"state": "problem", "text": problem}
        case Measurement(difference=Difference() as difference):
            return {"state": "done", "stacks": distances(difference)}
        case _:
            share = measurement.done / measurement.total if measurement.total else 0
            return {"state": "running", "text": say("merge.measuring", percent=round(share * 100))}


def distances(difference: Difference) -> dict[str, dict[str, list[float]]]:
    """Stack → "layers" or a module → a distance for each layer. A layer's is that of its modules, by their size."""
    inside = [block for block in difference.blocks if block.layer is not None]
    found: dict[str, dict[str, list[float]]] = {}
    for stack in dict.fromkeys(str(block.stack) for block in inside):
        own = [block for block in inside if str(block.stack) == stack]
        depth = 1 + max(block.layer or 0 for block in own)
        modules = dict.fromkeys(block.module for block in own)
        found[stack] = {"layers": _by_layer(own, depth)}
        found[stack] |= {name: _by_layer((b for b in own if b.module == name), depth) for name in modules}
    return found


def _by_layer(blocks: Iterable[BlockDifference], depth: int) -> list[float]:
    squares, sizes = [0.0] * depth, [0] * depth
    for block in blocks:
        if block.layer is not None and block.distance is not None:
            squares[block.layer] += block.elements * block.distance**2
            sizes[block.layer] += block.elements
    return [(square / size) ** 0.5 if size else 0.0 for square, size in zip(squares, sizes, strict=True)]


def advice(difference: Difference) -> Sequence[Line]:
    """Where a weight hardly matters, in words; never a change."""
    stacks = distances(difference)
    sentences = []
    for stack, lines in stacks.items():
        alike = [layer for layer, distance in enumerate(lines["layers"]) if distance < HARDLY]
        if alike:
            name = "alike_all" if len(alike) == len(lines["layers"]) else "alike_one" if len(alike) == 1 else "alike"
            of = "_of" if len(stacks) > 1 else ""
            sentences.append(say(f"merge.{name}{of}", stack=stack, layer=alike[0], layers=_runs(alike)))
    return [Line("", [("quiet", sentence)]) for sentence in sentences]


def _runs(layers: Sequence[int]) -> str:
    """ "0–3, 7" """
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
