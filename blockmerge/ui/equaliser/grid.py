"""The state of the slider grid: what the browser is given and, strictly checked, what it sends back."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from blockmerge.core.blocks import Blocks, StackBlocks
from blockmerge.core.layout import LANES, ROWS
from blockmerge.core.shapes import DECIMALS, Preset, curve_of, load_presets, sample
from blockmerge.errors import RecipeError
from blockmerge.ui.equaliser.meaning import Kind, Meaning, lines_of_models, part_of
from blockmerge.ui.wording import say

MOST_LAYERS = 1000
MOST_STACKS = 32
MOST_PROBLEMS = 5  # told at once; a forged value may have thousands
LONGEST_NAME = 300

Line = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """The weights as they are drawn; `meaning` says what one is. As a rule it is the share of `b`.

    `lines` is keyed by stack and "layers" or a lane. Every stack has "layers"; a lane is there only where that module
    has a line of its own. `rows` is keyed by stack (None: outside every stack) and row; a row that is None follows its
    end layer: embeddings the first, all others the last. `shape` says in words what the lines look like.
    """

    meaning: Meaning
    blocks: Blocks
    lines: Mapping[tuple[str, str], Line]
    rows: Mapping[tuple[str | None, str], float | None]
    shape: str


def new_grid(meaning: Meaning, blocks: Blocks) -> Grid:
    """Every block of these checkpoints at 0.5, in a line for all models or, where they have their own, in each."""
    blocks, meaning = lines_of_models(blocks, meaning)
    lines = {(stack.name, "layers"): (0.5,) * stack.depth for stack in blocks.stacks}
    rows: dict[tuple[str | None, str], float | None] = dict.fromkeys(_row_keys(blocks))
    return Grid(meaning=meaning, blocks=blocks, lines=lines, rows=rows, shape="Flat 0.50")


def name_shape(grid: Grid) -> Grid:
    """The grid with the name of the preset that all its lines are drawn by, if there is one."""
    lines = [(line, stack.depth) for stack in grid.blocks.stacks for line in _lines_of(grid, stack).values()]
    for preset in load_presets().values():
        if all(line == sample(preset.shape, depth) for line, depth in lines):
            return replace(grid, shape=preset.label)
    return replace(grid, shape=say("grid.from_recipe"))


def _lines_of(grid: Grid, stack: StackBlocks) -> dict[str, Line]:
    """Those that a stack has, by "layers" and lane."""
    return {lane: grid.lines[stack.name, lane] for lane in ("layers", *stack.lanes) if (stack.name, lane) in grid.lines}


def carry_over(grid: Grid, fresh: Grid) -> Grid:
    """The weights of `grid` in `fresh`, where it has the same depths; else `fresh` as it is.

    A line that is new, as another method or one more model has brought it, begins as the last one of its stack.
    """
    parts = {part_of(stack.name, grid.meaning.models): stack for stack in grid.blocks.stacks}
    source = {stack.name: stack for stack in grid.blocks.stacks}
    one = grid.blocks.stacks[-1] if len(parts) == 1 else None
    lines: dict[tuple[str, str], Line] = {}
    rows = dict(fresh.rows)
    for stack in fresh.blocks.stacks:
        old = source.get(stack.name) or parts.get(part_of(stack.name, fresh.meaning.models)) or one
        if old is None or old.depth != stack.depth or len(parts) != _parts(fresh):
            return fresh
        lines |= {
            (stack.name, lane): line for lane, line in _lines_of(grid, old).items() if lane in ("layers", *stack.lanes)
        }
        rows |= {(stack.name, row): grid.rows.get((old.name, row), grid.rows.get((None, row))) for row in stack.rows}
    last = grid.blocks.stacks[-1].name
    rows |= {(None, row): grid.rows.get((None, row), grid.rows.get((last, row))) for row in fresh.blocks.rows}
    return replace(fresh, lines=lines, rows=rows, shape=grid.shape)


def _parts(grid: Grid) -> int:
    return len({part_of(stack.name, grid.meaning.models) for stack in grid.blocks.stacks})


def grid_value(grid: Grid) -> dict[str, Any]:
    """The grid as JSON, with the curve of each preset at each stack's depth; `read_grid` reads it back."""
    return {
        "a": grid.meaning.a,
        "b": grid.meaning.b,
        "kind": grid.meaning.kind.value,
        "models": [{"key": key, "name": name} for key, name in grid.meaning.models.items()],
        "wide": grid.meaning.wide,
        "outer": list(grid.meaning.outer),
        "stacks": [
            {
                "name": stack.name,
                "layers": stack.depth,
                "lanes": list(stack.lanes),
                "lines": {lane: list(map(_rounded, line)) for lane, line in _lines_of(grid, stack).items()},
                "rows": _rows_value(grid, stack.name, stack.rows),
            }
            for stack in grid.blocks.stacks
        ],
        "rows": _rows_value(grid, None, grid.blocks.rows),
        "shape": grid.shape,
        "presets": [_preset_value(preset, grid.blocks) for preset in load_presets().values()],
    }


def read_grid(value: object) -> Grid:
    """The grid that a browser sent. Raises RecipeError, naming the place, for anything that the page cannot make."""
    try:
        return _as_grid(_GridValue.model_validate(value))
    except ValidationError as error:
        problems = [_sentence(detail) for detail in error.errors()[:MOST_PROBLEMS]]
        raise RecipeError(*problems) from error


def _row_keys(blocks: Blocks) -> list[tuple[str | None, str]]:
    inside: list[tuple[str | None, str]] = [(stack.name, row) for stack in blocks.stacks for row in stack.rows]
    return inside + [(None, row) for row in blocks.rows]


def _rounded(weight: float) -> float:
    return round(weight, DECIMALS) + 0.0  # −0.0 + 0.0 is 0.0


def _rows_value(grid: Grid, stack: str | None, rows: tuple[str, ...]) -> dict[str, float | None]:
    weights = {row: grid.rows[stack, row] for row in rows}
    return {row: None if weight is None else _rounded(weight) for row, weight in weights.items()}


def _preset_value(preset: Preset, blocks: Blocks) -> dict[str, Any]:
    return {
        "group": preset.group,
        "title": preset.title,
        "label": preset.label,
        "description": preset.description,
        "curves": [curve_of(preset.shape, stack.depth) for stack in blocks.stacks],
    }


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Weight = Annotated[float, Field(ge=-1, le=2)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_NAME)]
Lane = Literal["attention", "mlp", "norm", "router", "mixer", "other"]
LineName = Literal["layers", "attention", "mlp", "norm", "router", "mixer", "other"]
Row = Literal["embeddings", "final_norm", "head", "connector", "outside"]


class _StackValue(_Strict):
    name: Name
    layers: Annotated[int, Field(ge=1, le=MOST_LAYERS)]
    lanes: Annotated[list[Lane], Field(max_length=len(LANES))]
    lines: dict[LineName, Annotated[list[Weight], Field(max_length=MOST_LAYERS)]]
    rows: dict[Row, Weight | None]

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if len(set(self.lanes)) != len(self.lanes):
            raise _wrong(say("refused.lane_twice"))
        if "layers" not in self.lines:
            raise _wrong(say("refused.no_layers"))
        for lane, line in self.lines.items():
            if lane != "layers" and lane not in self.lanes:
                raise _wrong(say("refused.no_lane", lane=lane))
            if len(line) != self.layers:
                raise _wrong(say("refused.weights", expected=self.layers, lane=lane, found=len(line)))
        return self


class _ModelValue(_Strict):
    key: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_NAME)]
    name: Name


class _GridValue(_Strict):
    a: Name
    b: Name
    kind: Literal["share", "shares", "amount", "strength"] = "share"
    models: Annotated[list[_ModelValue], Field(max_length=MOST_STACKS)] = []
    wide: bool = True
    outer: Annotated[list[Row], Field(max_length=len(ROWS))] = []
    stacks: Annotated[list[_StackValue], Field(min_length=1, max_length=MOST_STACKS)]
    rows: dict[Row, Weight | None]
    shape: Name
    presets: Any = None  # shown, never read

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if len({stack.name for stack in self.stacks}) != len(self.stacks):
            raise _wrong("two stacks have one name")
        if len(self.stacks) == 1 and self.stacks[0].rows and not self.models:
            raise _wrong("with one stack its rows stand beside it")
        if len({model.key for model in self.models}) != len(self.models):
            raise _wrong("two models have one key")
        return self


def _wrong(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("grid", sentence)


def _as_grid(value: _GridValue) -> Grid:
    stacks = tuple(
        StackBlocks(stack.name, stack.layers, _in_order(LANES, stack.lanes), _in_order(ROWS, stack.rows))
        for stack in value.stacks
    )
    lines = {
        (stack.name, str(lane)): tuple(map(_rounded, line))
        for stack in value.stacks
        for lane, line in stack.lines.items()
    }
    rows: dict[tuple[str | None, str], float | None] = {
        (stack, row): None if weight is None else _rounded(weight)
        for stack, held in [*((stack.name, stack.rows) for stack in value.stacks), (None, value.rows)]
        for row, weight in held.items()
    }
    blocks = Blocks(stacks=stacks, rows=_in_order(ROWS, value.rows))
    models = {model.key: model.name for model in value.models}
    meaning = Meaning(value.a, value.b, Kind(value.kind), models, value.wide, tuple(value.outer))
    return Grid(meaning=meaning, blocks=blocks, lines=lines, rows=rows, shape=value.shape)


def _in_order(known: tuple[str, ...], given: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in known if name in given)


def _sentence(detail: ErrorDetails) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"] if part != "[key]")
    place, text = path.removeprefix(".")[:80] or "grid", _expectation(detail)
    return say("refused.grid", place=place, text=text)


def _expectation(detail: ErrorDetails) -> str:
    match detail["type"]:
        case "grid":
            return detail["msg"]
        case "missing":
            return say("refused.key_missing")
        case "extra_forbidden":
            return say("refused.key_unknown")
        case "model_type":
            expected = say("refused.mapping")
        case _:
            expected = re.sub(r"^\w+ should (be|have) ", "", detail["msg"])
    found = repr(detail["input"])
    return say("refused.expected", expected=expected, found=found if len(found) <= 60 else f"{found[:59]}…")
