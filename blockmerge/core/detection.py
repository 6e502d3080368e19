"""Layers found in tensor names by one generic algorithm: names and shapes decide, the config only confirms.

A number in a name that counts 0, 1, 2 … over parts that share sub-names is a layer's index; everything else lies
outside the layers. Tried on 48 architectures of transformers and on 51 more that it had not seen.
"""

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from blockmerge.core.layout import LANES, ROWS, Layout, Place, Stack
from blockmerge.core.quirks import find_quirks, flatten, is_hidden, reseat
from blockmerge.core.stack_names import name_stacks
from blockmerge.errors import CheckpointError

Shapes = Mapping[str, tuple[int, ...]]

_GLUED = re.compile(r"(?<=[A-Za-z])_(\d+)(?=\.|$)")  # layers_3 is layers.3
_DEPTH_KEYS = re.compile(r"layer|depth|block|group")
_NOT_DEPTHS = re.compile(r"expert|dense|norm|period|offset|every|drop")

_NORM = re.compile(r"norm|^ln(_|$|\d)|_ln$", re.I)
_ROUTER = re.compile(r"router|^gate$|expert_gate$", re.I)
_MODULES = (
    ("mixer", re.compile(r"mixer|mamba|ssm", re.I)),
    ("attention", re.compile(r"attn|attention|^(q|k|v|o|w?qkv|query|key|value)(_|$)", re.I)),
    (
        "mlp",
        re.compile(
            r"mlp|ffn|^ff|feed_?forward|moe|expert|intermediate|dense|^fc|^lin\d|^w[io123]$|(up|gate|down)_proj|^output$",
            re.I,
        ),
    ),
)
_HEAD = re.compile(
    r"head|^cls\.|classif|predict|logit|score|pooler|^embed_out|^vocab_(?!emb)|^decoder\.(bias|weight)$", re.I
)
_EMBEDDINGS = re.compile(r"emb|(^|\.)w[tp]e\.|^shared\.|patch|cls_token|position|relative", re.I)
_VALUES = frozenset({"weight", "bias", "gamma", "beta"})
_DIGITS = 5  # of an index at most: no model has a million layers, and int() refuses thousands of digits
_SMALLEST_STACK = 0.2  # of the largest one's elements, for a stack that the config does not confirm


@dataclass(frozen=True, slots=True)
class _Hints:
    """Numbers that the config names: depths of stacks, sizes of vocabularies, counts of experts."""

    depths: frozenset[int]
    vocabularies: frozenset[int]
    experts: frozenset[int]


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


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where a number stands in a name: the prefix before it, and what follows, as one text and without numbers."""

    position: int
    prefix: str
    rest: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Seat:
    """A tensor inside a stack: the stack's prefix, the layer, and its name there, without numbers."""

    prefix: str
    index: int
    words: tuple[str, ...]


def detect_layout(shapes: Shapes, config: Mapping[str, object]) -> Layout:
    """Give every tensor of a checkpoint its place; stacks stand in the order in which their first tensors do.

    Raises CheckpointError where no layers are found.
    """
    hints, quirks = _read_hints(config), find_quirks(config)
    paths = flatten(quirks, {name: _GLUED.sub(r".\1", name).split(".") for name in shapes})
    spots = _find_spots(paths)
    runs = {prefix: run for prefix, run in _find_runs(paths, spots, hints).items() if not is_hidden(quirks, prefix)}
    seats = _take_seats(paths, spots, runs)
    prefixes = _choose_stacks(seats, runs, shapes)
    if not prefixes:
        raise CheckpointError(
            "No layers were found in the names of the tensors: nothing in them counts 0, 1, 2 … over parts alike. "
            "Choose a model made of layers."
        )
    seats = {name: seat for name, seat in seats.items() if seat.prefix in prefixes}
    return reseat(quirks, _Builder(shapes, hints, paths, seats, prefixes).build())


def _read_hints(config: Mapping[str, object]) -> _Hints:
    numbers = [(key, value) for key, value in _walk(config) if type(value) is int]
    return _Hints(
        frozenset(value for key, value in numbers if _DEPTH_KEYS.search(key) and not _NOT_DEPTHS.search(key)),
        frozenset(value for key, value in numbers if key.startswith("vocab_size")),
        frozenset(value for key, value in numbers if key.endswith("experts")),
    )


def _walk(value: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for key, entry in value.items():
        if isinstance(entry, Mapping):
            yield from _walk(entry)
        else:
            yield key, entry


def _find_spots(paths: Mapping[str, list[str]]) -> Mapping[str, tuple[_Spot, ...]]:
    """The numbers in every name; names that differ in numbers only, as most do, share what is found."""
    known: dict[tuple[str, ...], tuple[_Spot, ...]] = {}
    spots: dict[str, tuple[_Spot, ...]] = {}
    for name, path in paths.items():
        pattern = tuple(["*" if _is_index(part) else part for part in path])
        if pattern not in known:
            known[pattern] = tuple(_spots(pattern))
        spots[name] = known[pattern]
    return spots


def _spots(pattern: tuple[str, ...]) -> Iterator[_Spot]:
    for position, part in enumerate(pattern):
        if part == "*":
            rest = pattern[position + 1 :]
            words = tuple(word for word in rest if word != "*")
            yield _Spot(position, ".".join(pattern[:position]), ".".join(rest), words)


def _find_runs(
    paths: Mapping[str, list[str]], spots: Mapping[str, tuple[_Spot, ...]], hints: _Hints
) -> Mapping[str, _Run]:
    runs: dict[str, _Run] = {}
    for name, path in paths.items():
        for spot in spots[name]:
            run = runs.setdefault(spot.prefix, _Run())
            run.members.setdefault(int(path[spot.position]), set()).add(spot.rest)
    for run in runs.values():
        run.score = _score(run, hints)
    return runs


def _is_index(part: str) -> bool:
    return part.isdecimal() and len(part) <= _DIGITS


def _prefix(path: list[str], position: int) -> str:
    return ".".join("*" if _is_index(part) else part for part in path[:position])


def _score(run: _Run, hints: _Hints) -> int:
    """A stack counts from 0, its members have two sub-modules or more, and all of them share a name."""
    modules = {name.rpartition(".")[0] for names in run.members.values() for name in names if "." in name}
    # The config may count layers that the file lacks, as where one was pruned.
    is_whole = len(run.members) == run.depth or run.depth in hints.depths
    if min(run.members) != 0 or not is_whole or len(modules) < 2 or not set.intersection(*run.members.values()):
        return 0
    return 2 if run.depth in hints.depths else int(run.depth > 1)


def _take_seats(
    paths: Mapping[str, list[str]], spots: Mapping[str, tuple[_Spot, ...]], runs: Mapping[str, _Run]
) -> dict[str, _Seat]:
    """For each tensor the run that the config confirms, of several such the outermost."""
    scores = {prefix: run.score for prefix, run in runs.items() if run.score}
    seats: dict[str, _Seat] = {}
    for name, path in paths.items():
        found = [spot for spot in spots[name] if spot.prefix in scores]
        if found:
            best = max(found, key=lambda spot: (scores[spot.prefix], -spot.position))
            seats[name] = _Seat(best.prefix, int(path[best.position]), best.words)
    return seats


def _choose_stacks(seats: Mapping[str, _Seat], runs: Mapping[str, _Run], shapes: Shapes) -> tuple[str, ...]:
    """The runs that are stacks; of siblings, such as a stack and a list of small projections, only the richest."""
    sizes: dict[str, int] = {}
    for name, seat in seats.items():
        sizes[seat.prefix] = sizes.get(seat.prefix, 0) + math.prod(shapes[name])
    largest = max(sizes.values(), default=0)

    def is_stack(prefix: str) -> bool:
        if runs[prefix].score < 2 and sizes[prefix] < _SMALLEST_STACK * largest:
            return False
        siblings = (other for other in sizes if _parent(other) == _parent(prefix))
        return all(runs[other].richness <= runs[prefix].richness for other in siblings)

    return tuple(prefix for prefix in sizes if is_stack(prefix))


def _parent(prefix: str) -> str:
    return prefix.rpartition(".")[0]


def _root(prefix: str, others: Collection[str]) -> str:
    """The shortest beginning of a stack's prefix that no other stack shares: the model that the stack belongs to."""
    parts = prefix.split(".")
    for length in range(1, len(parts)):
        if not any(other != prefix and other.split(".")[:length] == parts[:length] for other in others):
            return ".".join(parts[:length])
    return prefix


@dataclass(frozen=True, slots=True)
class _Builder:
    """Turns seats into a Layout: what each tensor is, inside the layers and outside them."""

    shapes: Shapes
    hints: _Hints
    paths: Mapping[str, list[str]]
    seats: Mapping[str, _Seat]
    prefixes: tuple[str, ...]

    def build(self) -> Layout:
        roots = {prefix: _root(prefix, self.prefixes) for prefix in self.prefixes}
        towers = {prefix: self._tower(root) for prefix, root in roots.items()}
        names = name_stacks(towers)
        known: dict[tuple[object, ...], str] = {}
        places: dict[str, Place] = {}
        for name in self.paths:
            seat = self.seats.get(name)
            if seat is not None:
                key = (seat.words, self.shapes[name])
                if key not in known:
                    known[key] = self._module(seat.words, self.shapes[name])
                places[name] = Place(names[seat.prefix], seat.index, known[key])
            else:
                own = next((prefix for prefix in self.prefixes if self._is_under(name, roots[prefix])), None)
                places[name] = Place(names[own] if own else None, None, self._row(name, own, roots, towers))
        return self._layout(places, names)

    def _layout(self, places: Mapping[str, Place], names: Mapping[str, str]) -> Layout:
        depths = {prefix: max(s.index for s in self.seats.values() if s.prefix == prefix) + 1 for prefix in names}
        held: dict[tuple[str | None, int | None], set[str]] = {}
        for place in places.values():
            held.setdefault((place.stack if place.layer is not None else None, place.layer), set()).add(place.module)
        stacks = tuple(
            Stack(
                name,
                prefix,
                tuple(_in_order(held.get((name, layer), ()), LANES) for layer in range(depths[prefix])),
            )
            for prefix, name in names.items()
        )
        return Layout(stacks, _in_order(held.get((None, None), ()), ROWS), places)

    def _tower(self, root: str) -> str:
        """Where a convolution, but no vocabulary, lies beside the layers: "vision" or "audio"."""
        beside = [name for name in self.shapes if name not in self.seats and self._is_under(name, root)]
        rank = max((len(self.shapes[name]) for name in beside), default=0)
        if rank < 3 or any(self._is_vocabulary(name) and _EMBEDDINGS.search(name) for name in beside):
            return ""
        return "vision" if rank > 3 else "audio"

    def _is_under(self, name: str, root: str) -> bool:
        return f"{_prefix(self.paths[name], len(self.paths[name]))}.".startswith(f"{root}.")

    def _is_vocabulary(self, name: str) -> bool:
        shape = self.shapes[name]
        return len(shape) == 2 and shape[0] in self.hints.vocabularies

    def _module(self, words: tuple[str, ...], shape: tuple[int, ...]) -> str:
        """One of LANES for a tensor inside a layer; `words` is its name there, without numbers."""
        if len(shape) < 2 and any(_NORM.search(word) for word in words[-2:]):
            return "norm"
        if any(_ROUTER.search(word) for word in words):
            experts = self.hints.experts
            # In Llama `gate` alone is no router, so the shape has to agree where the config counts experts.
            if not experts or len(shape) < 2 or shape[0] in experts or any("expert" in word for word in words):
                return "router"
        return next((lane for word in words for lane, pattern in _MODULES if pattern.search(word)), "other")

    def _row(self, name: str, own: str | None, roots: Mapping[str, str], towers: Mapping[str, str]) -> str:
        """One of ROWS for a tensor outside the layers; `own` is the stack whose root it lies under."""
        path = self.paths[name]
        module = _prefix(path, len(path) - (path[-1] in _VALUES))
        last = module.rpartition(".")[2]
        is_norm = _NORM.search(last) is not None
        parents = {_parent(prefix) for prefix in self.prefixes} | set(roots.values())
        is_final = is_norm and _parent(module) in parents
        if _HEAD.search(name):
            return "head"
        if self._is_embedding(name, own, towers):
            return "embeddings"
        if is_final and "pre" not in last:
            return "final_norm"
        has_tower = any(towers.values())
        if has_tower and (not is_norm or own is None or (bool(towers[own]) and not is_final)):
            return "connector"
        return "outside"

    def _is_embedding(self, name: str, own: str | None, towers: Mapping[str, str]) -> bool:
        if self._is_vocabulary(name):
            return True
        if own is None and any(towers.values()):
            return False
        weight = self.shapes.get(name[:-4] + "weight", ())  # the bias of a convolution belongs to it
        return _EMBEDDINGS.search(name) is not None or len(self.shapes[name]) > 2 or len(weight) > 2


def _in_order(held: Iterable[str], order: tuple[str, ...]) -> tuple[str, ...]:
    found = set(held)
    return tuple(name for name in order if name in found)
