"""The blocks of a checkpoint by name, and the weight that a recipe gives to each tensor."""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from blockmerge.core.layout import LANES, ROWS, Layout, Place, Stack
from blockmerge.core.recipe import Lines, Recipe, ShapeLine, StackWeights
from blockmerge.core.shapes import Shape, load_presets, sample

Line = float | tuple[float, ...] | ShapeLine


@dataclass(frozen=True, slots=True)
class StackBlocks:
    """The legal names inside one stack: how many layers, which lanes exist in any of them, which rows belong to it."""

    name: str
    depth: int
    lanes: tuple[str, ...]
    rows: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Blocks:
    """Every block that a recipe may name for this checkpoint. `rows` belong to no stack.

    With one stack its rows stand beside its layers, so they are in `rows` and the stack has none of its own.
    """

    stacks: tuple[StackBlocks, ...]
    rows: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TensorWeights:
    """The weight of every tensor by name, and the recipe's weights with shapes and defaults written out as numbers."""

    by_name: Mapping[str, float]
    resolved: Mapping[str, object]


def list_blocks(layout: Layout) -> Blocks:
    """The one list of legal names that `inspect`, `template`, the page and the plan share."""
    single = len(layout.stacks) == 1
    held = {(None if single else place.stack, place.module) for place in layout.places.values() if place.layer is None}

    def rows(stack: str | None) -> tuple[str, ...]:
        return tuple(row for row in ROWS if (stack, row) in held)

    stacks = tuple(
        StackBlocks(
            name=stack.name,
            depth=stack.depth,
            lanes=tuple(lane for lane in LANES if any(lane in modules for modules in stack.modules)),
            rows=() if single else rows(stack.name),
        )
        for stack in layout.stacks
    )
    return Blocks(stacks=stacks, rows=rows(None))


def resolve_line(line: Line, depth: int) -> tuple[float, ...] | str:
    """The line as `depth` numbers, or a sentence saying why it does not fit."""
    if isinstance(line, ShapeLine):
        preset = load_presets()[line.preset].shape if line.preset is not None else Shape(anchors=line.anchors or ())
        shape = Shape(
            anchors=preset.anchors, interpolation=preset.interpolation, strength=line.strength, flip=line.flip
        )
        return sample(shape, depth)
    if isinstance(line, tuple):
        return line if len(line) == depth else f"expected {depth} numbers, one per layer, found {len(line)}"
    return (float(line),) * depth


class _Resolver:
    """Walks one recipe against one layout, collecting weights and problems as it goes."""

    def __init__(self, layout: Layout, path: str) -> None:
        self.layout = layout
        self.path = path
        self.blocks = list_blocks(layout)
        self.single = len(layout.stacks) == 1
        self.problems: list[str] = []
        self.lines: dict[tuple[str, str], tuple[float, ...]] = {}
        self.rows: dict[tuple[str | None, str], float] = {}
        self.lost: set[str] = set()  # stacks whose line `layers` was reported as missing or wrong

    def read_stack(self, stack: Stack, blocks: StackBlocks, weights: StackWeights, path: str) -> dict[str, object]:
        """Fill `lines` for one stack; returns its resolved weights."""
        resolved: dict[str, object] = {}
        wanted = {"layers": weights.layers, **weights.lanes}
        for name, line in wanted.items():
            if line is None:
                continue
            if name != "layers" and name not in blocks.lanes:
                self.problems.append(
                    f"{path}{name}: these checkpoints have no such lane. Known: {', '.join(blocks.lanes)}."
                )
                continue
            numbers = resolve_line(line, stack.depth)
            if isinstance(numbers, str):
                self.problems.append(f"{path}{name}: {numbers}.")
                continue
            self.lines[stack.name, name] = numbers
            resolved[name] = list(numbers)
        bare = [lane for lane in blocks.lanes if lane not in weights.lanes]
        if weights.layers is None and bare:
            self.problems.append(f"{path}layers: this key is missing, and nothing else steers {', '.join(bare)}.")
        if (stack.name, "layers") not in self.lines and (weights.layers is not None or bare):
            self.lost.add(stack.name)
        return resolved

    def read_rows(self, rows: Sequence[str], stack: str | None, weights: StackWeights, path: str) -> dict[str, object]:
        """Fill `rows` for one stack, or for none; returns them as resolved weights."""
        for row in weights.rows:
            if row not in rows:
                known = f"Known here: {', '.join(rows)}." if rows else "There are none here."
                self.problems.append(f"{path}{row}: these checkpoints have no such row. {known}")
        resolved: dict[str, object] = {}
        for row in rows:
            weight = weights.rows.get(row, self._followed(row, stack))
            if weight is None:
                if self.end_stack(row, stack) in self.lost:
                    continue
                self.problems.append(f"{path}{row}: this key is missing, and there is no line 'layers' to follow.")
                continue
            self.rows[stack, row] = weight
            resolved[row] = weight
        return resolved

    def end_stack(self, row: str, stack: str | None) -> str:
        """The stack whose end a row follows: its own, else the first for embeddings and the last for all others."""
        return stack or self.layout.stacks[0 if row == "embeddings" else -1].name

    def _followed(self, row: str, stack: str | None) -> float | None:
        line = self.lines.get((self.end_stack(row, stack), "layers"))
        return None if line is None else line[0 if row == "embeddings" else -1]

    def weight_of(self, place: Place) -> float | None:
        if place.layer is None or place.stack is None:
            return self.rows.get((None if self.single else place.stack, place.module))
        line = self.lines.get((place.stack, place.module)) or self.lines.get((place.stack, "layers"))
        return None if line is None else line[place.layer]


def resolve_weights(recipe: Recipe, layout: Layout) -> TensorWeights | tuple[str, ...]:
    """The weight of every tensor, for a recipe that has one line of weights and not one per model."""
    return resolve_lines(recipe.weights, layout, "weights")


def resolve_lines(lines: Lines, layout: Layout, path: str) -> TensorWeights | tuple[str, ...]:
    """The number of every tensor of the owner, or every reason why the lines at `path` do not fit its layout.

    A glob under `tensors` wins over a lane, a lane over `layers`. A row left out follows its end layer: embeddings the
    first, all others the last.
    """
    resolver = _Resolver(layout, path)
    resolved = _read_all(resolver, lines)
    globs, glob_problems = _match_globs(lines.tensors, layout.places, path)
    resolver.problems += glob_problems
    by_name: dict[str, float] = {}
    for name, place in layout.places.items():
        weight = globs.get(name, resolver.weight_of(place))
        if weight is not None:
            by_name[name] = weight
    if resolver.problems:
        return tuple(resolver.problems)
    if lines.tensors:
        resolved["tensors"] = dict(sorted(lines.tensors.items()))
    return TensorWeights(by_name=by_name, resolved=resolved)


def _read_all(resolver: _Resolver, weights: Lines) -> dict[str, object]:
    layout, blocks, path = resolver.layout, resolver.blocks, resolver.path
    if resolver.single:
        if weights.stacks:
            resolver.problems.append(f"{path}.stacks: these checkpoints have one stack; write its weights beside it.")
        resolved = resolver.read_stack(layout.stacks[0], blocks.stacks[0], weights, f"{path}.")
        return resolved | resolver.read_rows(blocks.rows, None, weights, f"{path}.")
    names = tuple(stack.name for stack in layout.stacks)
    for name in weights.stacks:
        if name not in names:
            resolver.problems.append(f"{path}.stacks.{name}: there is no such stack. Known: {', '.join(names)}.")
    for line in ("layers", *weights.lanes):
        if line != "layers" or weights.layers is not None:
            resolver.problems.append(
                f"{path}.{line}: these checkpoints have {len(names)} stacks; write {path}.stacks.{names[0]}.{line}."
            )
    stacks: dict[str, object] = {}
    for stack, held in zip(layout.stacks, blocks.stacks, strict=True):
        own = weights.stacks.get(stack.name, StackWeights())
        inner = f"{path}.stacks.{stack.name}."
        stacks[stack.name] = resolver.read_stack(stack, held, own, inner) | resolver.read_rows(
            held.rows, stack.name, own, inner
        )
    return {"stacks": stacks} | resolver.read_rows(blocks.rows, None, weights, f"{path}.")


def _match_globs(globs: Mapping[str, float], names: Iterable[str], path: str) -> tuple[dict[str, float], list[str]]:
    matched: dict[str, tuple[str, float]] = {}
    problems: list[str] = []
    all_names = tuple(names)
    for glob, weight in globs.items():
        hits = [name for name in all_names if fnmatch.fnmatchcase(name, glob)]
        if not hits:
            problems.append(f"{path}.tensors[{glob!r}]: no tensor has such a name, e.g. {all_names[0]!r} is one.")
        for name in hits:
            other = matched.setdefault(name, (glob, weight))
            if other[1] != weight:
                problems.append(
                    f"{path}.tensors: {other[0]!r} says {other[1]} and {glob!r} says {weight} for {name}. Keep one."
                )
                break
    return {name: weight for name, (_, weight) in matched.items()}, problems
