"""Layers found in tensor names by one generic algorithm: names and shapes decide, the config only confirms.

A number in a name that counts 0, 1, 2 … over parts that share sub-names is a layer's index; everything else lies
outside the layers. Tried on 48 architectures of transformers and on 51 more that it had not seen.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from blockmerge.core.config_hints import Hints, read_hints
from blockmerge.core.layout import Layout
from blockmerge.core.name_kinds import Kind, find_kinds
from blockmerge.core.places import Seat, Shapes, find_places, is_norm, parent
from blockmerge.core.quirks import find_quirks, flatten, reseat
from blockmerge.errors import CheckpointError

_SMALLEST_STACK = 0.2  # of the largest one's elements, for a stack that the config does not confirm


@dataclass(slots=True)
class _Run:
    """Everything that counts under one prefix: the sub-names of each index, with later numbers written as *."""

    members: dict[int, set[str]] = field(default_factory=dict)
    score: int = 0  # 0 no stack, 1 it may be one, 2 the config knows its depth

    @property
    def depth(self) -> int:
        return max(self.members) + 1

    @property
    def richness(self) -> tuple[int, int]:
        return self.score, len(set[str]().union(*self.members.values()))


def detect_layout(shapes: Shapes, config: Mapping[str, object]) -> Layout:
    """Give every tensor of a checkpoint its place; stacks stand in the order in which their first tensors do.

    Raises CheckpointError where no layers are found.
    """
    hints, quirks = read_hints(config), find_quirks(config)
    kinds = find_kinds(flatten(quirks, shapes))
    runs = _find_runs(kinds, hints)
    seats = _take_seats(kinds, runs)
    prefixes = _choose_stacks(seats, runs, shapes)
    if not prefixes:
        raise CheckpointError(
            "No layers were found in the names of the tensors: nothing in them counts 0, 1, 2 … over parts alike. "
            "Choose a model made of layers."
        )
    seated = [(kind, seat if seat is not None and seat.prefix in prefixes else None) for kind, seat in seats]
    return reseat(quirks, find_places(shapes, hints, _join_halves(seated, runs)))


def _find_runs(kinds: Iterable[Kind], hints: Hints) -> Mapping[str, _Run]:
    runs: dict[str, _Run] = {}
    for kind in kinds:
        for at, spot in enumerate(kind.spots):
            run = runs.setdefault(spot.prefix, _Run())
            for number in {numbers[at] for numbers in kind.numbers.values()}:
                run.members.setdefault(number, set()).add(spot.rest)
    for run in runs.values():
        run.score = _score(run, hints)
    return runs


def _score(run: _Run, hints: Hints) -> int:
    """A stack counts from 0, its members have two sub-modules or more, and all of them share a name."""
    modules = {name.rpartition(".")[0] for names in run.members.values() for name in names if "." in name}
    # The config may count layers that the file lacks, as where one was pruned.
    is_whole = len(run.members) == run.depth or run.depth in hints.depths
    if min(run.members) != 0 or not is_whole or len(modules) < 2 or not set.intersection(*run.members.values()):
        return 0
    return 2 if run.depth in hints.depths else int(run.depth > 1)


def _take_seats(kinds: Iterable[Kind], runs: Mapping[str, _Run]) -> Sequence[tuple[Kind, Seat | None]]:
    """For each kind of tensor the run that the config confirms, of several such the outermost."""
    scores = {prefix: run.score for prefix, run in runs.items() if run.score}
    seats: list[tuple[Kind, Seat | None]] = []
    for kind in kinds:
        found = [at for at, spot in enumerate(kind.spots) if spot.prefix in scores]
        best = max(found, key=lambda at: (scores[kind.spots[at].prefix], -at), default=None)
        seats.append((kind, None if best is None else Seat(kind.spots[best].prefix, best, kind.spots[best].words)))
    return seats


def _choose_stacks(
    seats: Iterable[tuple[Kind, Seat | None]], runs: Mapping[str, _Run], shapes: Shapes
) -> tuple[str, ...]:
    """The runs that are stacks; of siblings, such as a stack and a list of small projections, only the richest.

    A list of nothing but convolutions, as turns sound into frames, is no stack beside one that has matrices.
    """
    sizes: dict[str, int] = {}
    matrices: set[str] = set()
    for kind, seat in seats:
        if seat is not None:
            elements = sum(math.prod(shapes[name]) for name in kind.numbers)
            sizes[seat.prefix] = sizes.get(seat.prefix, 0) + elements
            if any(len(shapes[name]) == 2 for name in kind.numbers):
                matrices.add(seat.prefix)
    sizes = {prefix: size for prefix, size in sizes.items() if prefix in matrices or not matrices}
    largest = max(sizes.values(), default=0)

    def is_stack(prefix: str) -> bool:
        if runs[prefix].score < 2 and sizes[prefix] < _SMALLEST_STACK * largest:
            return False
        siblings = (other for other in sizes if parent(other) == parent(prefix))
        return all(runs[other].richness <= runs[prefix].richness for other in siblings)

    return tuple(prefix for prefix in sizes if is_stack(prefix))


def _join_halves(
    seats: Sequence[tuple[Kind, Seat | None]], runs: Mapping[str, _Run]
) -> Sequence[tuple[Kind, Seat | None]]:
    """XLM keeps attentions.3, ffns.3 and layer_norm1.3 in lists side by side: these are one layer. Where a stack has no
    norm, lists beside it that count as far as it does are the rest of its layers."""
    words: dict[str, set[str]] = {}
    for _, seat in seats:
        if seat is not None:
            words.setdefault(seat.prefix, set()).update(seat.words)
    halves: dict[str, str] = {}
    for prefix, held in words.items():
        if not any(map(is_norm, held)):
            halves.setdefault(parent(prefix), prefix)
    return [(kind, _seat_beside(kind, halves, runs) or seat) for kind, seat in seats]


def _seat_beside(kind: Kind, halves: Mapping[str, str], runs: Mapping[str, _Run]) -> Seat | None:
    for number, spot in enumerate(kind.spots):
        stack = halves.get(parent(spot.prefix))
        if stack is not None and runs[stack].members.keys() == runs[spot.prefix].members.keys():
            return Seat(stack, number, (spot.prefix.rpartition(".")[2], *spot.words))
    return None
