"""What the generic algorithm cannot see in names and shapes: one YAML file for each kind of model that needs it.

docs/extending.md walks through adding one.
"""

import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from blockmerge.core.layout import LANES, ROWS, Layout, Place
from blockmerge.core.yaml_reader import read_yaml
from blockmerge.errors import RecipeError

_FOLDER = Path(__file__).parent / "architectures"
KEYS = ("reason", "note", "flatten", "rows", "lanes")

Paths = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Quirk:
    """The exceptions of one `model_type`, found in a config or in a part of it.

    `reason` says why names and shapes are not enough; `note` is a sentence for the plan. `flatten` are prefixes such as
    "encoder.layers.*.blocks" whose two numbers count one stack, whatever stands before them; `rows` and `lanes` map
    globs on names to what the tensor is, outside the layers and inside them.
    """

    model_type: str
    reason: str
    note: str = ""
    flatten: tuple[str, ...] = ()
    rows: Mapping[str, str] = field(default_factory=dict)
    lanes: Mapping[str, str] = field(default_factory=dict)


@cache
def load_quirks() -> Mapping[str, Quirk]:
    """All of them by model type. Raises RecipeError for a file that is wrong."""
    return {path.stem: read_quirk(path.stem, path.read_text("utf-8")) for path in sorted(_FOLDER.glob("*.yaml"))}


def read_quirk(model_type: str, text: str) -> Quirk:
    """Raises RecipeError where the text is no such file, or has a key that nobody reads."""
    name = f"{model_type}.yaml"
    value = read_yaml(text, name)
    if not isinstance(value, dict) or not isinstance(value.get("reason"), str):
        raise RecipeError(f"{name} needs a 'reason': why names and shapes are not enough for this kind of model.")
    unknown = [key for key in value if key not in KEYS]
    if unknown:
        raise RecipeError(f"{name} has the unknown key {unknown[0]!r}. Known: {', '.join(KEYS)}.")
    rows, lanes = value.get("rows", {}), value.get("lanes", {})
    wrong = [row for row in rows.values() if row not in ROWS] + [lane for lane in lanes.values() if lane not in LANES]
    if wrong:
        raise RecipeError(f"{name} says {wrong[0]!r}. Rows are {', '.join(ROWS)}; lanes are {', '.join(LANES)}.")
    return Quirk(model_type, value["reason"], value.get("note", ""), tuple(value.get("flatten", ())), rows, lanes)


def find_quirks(config: Mapping[str, object]) -> tuple[Quirk, ...]:
    """Those of the model and of the models inside it, such as a vision tower."""
    known = load_quirks()
    return tuple(known[kind] for kind in dict.fromkeys(_model_types(config)) if kind in known)


def _model_types(config: Mapping[str, object]) -> Iterator[str]:
    kind = config.get("model_type")
    if isinstance(kind, str):
        yield kind
    for value in config.values():
        if isinstance(value, Mapping):
            yield from _model_types(value)


def flatten(quirks: Iterable[Quirk], names: Iterable[str]) -> Mapping[str, str]:
    """For every name the same with stage and block counted as one number; what lies beside the blocks of a stage goes
    to its last one."""
    patterns = [pattern.split(".*.") for quirk in quirks for pattern in quirk.flatten]
    if not patterns:
        return {name: name for name in names}
    paths = {name: name.split(".") for name in names}
    for outer, inner in patterns:
        paths = _flatten(paths, outer.split("."), inner.split("."))
    return {name: ".".join(path) for name, path in paths.items()}


def _flatten(paths: Paths, outer: list[str], inner: list[str]) -> Paths:
    found = {name: at for name, path in paths.items() if (at := _find(path, outer)) is not None}
    sizes: dict[int, int] = {}
    for name, at in found.items():
        stage, block = int(paths[name][at]), _block(paths[name], at, inner)
        sizes[stage] = max(sizes.get(stage, 0), 0 if block is None else block + 1)
    starts = {stage: sum(sizes[before] for before in sizes if before < stage) for stage in sizes}
    flat = dict(paths)
    for name, at in found.items():
        path = paths[name]
        stage, block = int(path[at]), _block(path, at, inner)
        number = starts[stage] + (max(sizes[stage] - 1, 0) if block is None else block)
        rest = path[at + 1 :] if block is None else path[at + len(inner) + 2 :]
        flat[name] = [*path[:at], str(number), *rest]
    return flat


def _find(path: Sequence[str], outer: list[str]) -> int | None:
    """Where the number after `outer` stands in the path."""
    for at in range(len(outer), len(path)):
        if path[at].isdecimal() and list(path[at - len(outer) : at]) == outer:
            return at
    return None


def _block(path: Sequence[str], at: int, inner: list[str]) -> int | None:
    end = at + 1 + len(inner)
    is_block = list(path[at + 1 : end]) == inner and end < len(path) and path[end].isdecimal()
    return int(path[end]) if is_block else None


def reseat(quirks: Iterable[Quirk], layout: Layout) -> Layout:
    """The layout with the rows and lanes that the quirks name."""
    places = {name: _reseated(quirks, name, place) for name, place in layout.places.items()}
    if places == layout.places:
        return layout
    held = {(place.stack, place.layer, place.module) for place in places.values()}
    stacks = tuple(
        replace(
            stack,
            modules=tuple(
                tuple(lane for lane in LANES if (stack.name, layer, lane) in held) for layer in range(stack.depth)
            ),
        )
        for stack in layout.stacks
    )
    outside = {module for _, layer, module in held if layer is None}
    return Layout(stacks, tuple(row for row in ROWS if row in outside), places)


def _reseated(quirks: Iterable[Quirk], name: str, place: Place) -> Place:
    for quirk in quirks:
        for glob, module in (quirk.rows if place.layer is None else quirk.lanes).items():
            if fnmatch.fnmatchcase(name, glob):
                return replace(place, module=module)
    return place
