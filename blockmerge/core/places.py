"""What each tensor is, once the stacks are known: a lane inside a layer, or a row outside them."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from blockmerge.core.config_hints import Hints
from blockmerge.core.layout import LANES, ROWS, Layout, Place, Stack
from blockmerge.core.name_kinds import Kind, path_text
from blockmerge.core.stack_names import name_stacks

Shapes = Mapping[str, tuple[int, ...]]

_NORM = re.compile(r"norm|^ln(_|$|\d)|_ln$", re.I)
_ROUTER = re.compile(r"router|^gate$|expert_gate$", re.I)
_MODULES = (
    ("mixer", re.compile(r"mixer|mamba|ssm|lru|temporal|(^|_)l?conv", re.I)),
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
_TOWERS = {
    "vision": re.compile(r"vision|visual|image|img|(^|_)vit(_|$)", re.I),
    "audio": re.compile(r"audio|speech|sound|(^|_)mel(_|$)", re.I),
}
_VALUES = frozenset({"weight", "bias", "gamma", "beta"})


@dataclass(frozen=True, slots=True)
class Seat:
    """Where the tensors of one kind stand inside a stack: the stack's prefix, which of a name's numbers counts its
    layers, and the words behind that number."""

    prefix: str
    number: int
    words: tuple[str, ...]


def find_places(shapes: Shapes, hints: Hints, seats: Sequence[tuple[Kind, Seat | None]]) -> Layout:
    """The layout of a checkpoint whose kinds of tensors have these seats; those without one lie outside the layers."""
    rows = _Rows.of(shapes, hints, seats)
    found: dict[str, Place] = {}
    for kind, seat in seats:
        if seat is None:
            found |= {name: rows.place(name) for name in kind.numbers}
        else:
            found |= _places_inside(kind, seat, rows.stacks[seat.prefix], shapes, hints)
    return _layout({name: found[name] for name in shapes}, rows.stacks)


def _layout(places: Mapping[str, Place], names: Mapping[str, str]) -> Layout:
    held: dict[tuple[str | None, int | None], set[str]] = {}
    for place in {id(place): place for place in places.values()}.values():  # thousands of tensors share a few
        held.setdefault((place.stack if place.layer is not None else None, place.layer), set()).add(place.module)
    stacks = []
    for prefix, name in names.items():
        depth = 1 + max(layer for stack, layer in held if stack == name and layer is not None)
        lanes = tuple(_in_order(held.get((name, layer), ()), LANES) for layer in range(depth))
        stacks.append(Stack(name, prefix, lanes))
    return Layout(tuple(stacks), _in_order(held.get((None, None), ()), ROWS), places)


def _in_order(held: Collection[str], order: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in order if name in held)


def _places_inside(kind: Kind, seat: Seat, stack: str, shapes: Shapes, hints: Hints) -> Mapping[str, Place]:
    lanes: dict[tuple[int, ...], str] = {}
    made: dict[tuple[int, str], Place] = {}
    places: dict[str, Place] = {}
    for name, numbers in kind.numbers.items():
        shape = shapes[name]
        if shape not in lanes:
            lanes[shape] = _lane(seat.words, shape, hints)
        layer, lane = numbers[seat.number], lanes[shape]
        place = made.get((layer, lane))
        if place is None:
            place = made[layer, lane] = Place(stack, layer, lane)
        places[name] = place
    return places


def _lane(words: tuple[str, ...], shape: tuple[int, ...], hints: Hints) -> str:
    """One of LANES for a tensor inside a layer; `words` is its name there, without numbers."""
    if len(shape) < 2 and any(map(is_norm, words[-2:])):
        return "norm"
    if any(_ROUTER.search(word) for word in words):
        experts = hints.experts
        # In Llama `gate` alone is no router, so the shape has to agree where the config counts experts.
        if not experts or len(shape) < 2 or shape[0] in experts or any("expert" in word for word in words):
            return "router"
    return next((lane for word in words for lane, pattern in _MODULES if pattern.search(word)), "other")


@dataclass(frozen=True, slots=True)
class _Rows:
    """What lies outside the layers. `paths` has, of these names only, the path with * for numbers; by a stack's prefix
    `stacks` has its name, `roots` the root of the model it belongs to, and `towers` what kind of tower that is."""

    shapes: Shapes
    hints: Hints
    paths: Mapping[str, str]
    stacks: Mapping[str, str]
    roots: Mapping[str, str]
    towers: Mapping[str, str]

    @classmethod
    def of(cls, shapes: Shapes, hints: Hints, seats: Sequence[tuple[Kind, Seat | None]]) -> "_Rows":
        prefixes = tuple(dict.fromkeys(seat.prefix for _, seat in seats if seat is not None))
        roots = {prefix: _root(prefix, prefixes) for prefix in prefixes}
        paths = {name: path_text(kind.path) for kind, seat in seats if seat is None for name in kind.numbers}
        towers = {
            prefix: _tower_by_name(prefix, prefixes)
            or _tower({name: shapes[name] for name, path in paths.items() if _is_under(path, root)}, hints)
            for prefix, root in roots.items()
        }
        return cls(shapes, hints, paths, name_stacks(towers), roots, towers)

    @property
    def has_tower(self) -> bool:
        return any(self.towers.values())

    def place(self, name: str) -> Place:
        own = next((prefix for prefix, root in self.roots.items() if _is_under(self.paths[name], root)), None)
        return Place(self.stacks[own] if own else None, None, self._row(name, own))

    def _row(self, name: str, own: str | None) -> str:
        """One of ROWS; `own` is the prefix of the stack whose root the tensor lies under."""
        before, _, value = self.paths[name].rpartition(".")
        module = before if value in _VALUES else self.paths[name]
        last = module.rpartition(".")[2]
        ends = {*map(parent, self.stacks), *self.roots.values(), *([""] if len(self.stacks) == 1 else [])}
        is_at_end = is_norm(last) and parent(module) in ends
        if _HEAD.search(name):
            return "head"
        if self._is_embedding(name, own):
            return "embeddings"
        if is_at_end:
            return "embeddings" if "pre" in last else "final_norm"  # pre_layernorm is that of what enters the layers
        if self.has_tower and (not is_norm(last) or own is None or bool(self.towers[own])):
            return "connector"
        return "outside"

    def _is_embedding(self, name: str, own: str | None) -> bool:
        if _is_vocabulary(self.shapes[name], self.hints):
            return True
        if own is None and self.has_tower:
            return False
        weight = self.shapes.get(name[:-4] + "weight", ())  # the bias of a convolution belongs to it
        return _EMBEDDINGS.search(name) is not None or len(self.shapes[name]) > 2 or len(weight) > 2


def _tower_by_name(prefix: str, prefixes: Collection[str]) -> str:
    """What the parts of a prefix say that tell it from those of other stacks."""
    shared = set.intersection(*(set(other.split(".")) for other in prefixes))
    parts = [part for part in prefix.split(".") if part not in shared]
    return next((kind for kind, pattern in _TOWERS.items() if any(map(pattern.search, parts))), "")


def _tower(beside: Shapes, hints: Hints) -> str:
    """Where a convolution, but no vocabulary, lies beside the layers: "vision" or "audio"."""
    rank = max((len(shape) for name, shape in beside.items() if name.endswith("weight")), default=0)
    if rank < 3 or any(_is_vocabulary(shape, hints) and _EMBEDDINGS.search(name) for name, shape in beside.items()):
        return ""
    return "audio" if rank == 3 or hints.hears else "vision"


def _is_vocabulary(shape: tuple[int, ...], hints: Hints) -> bool:
    return len(shape) == 2 and shape[0] in hints.vocabularies


def _root(prefix: str, others: Collection[str]) -> str:
    """The shortest beginning of a stack's prefix that no other stack shares: the model that the stack belongs to."""
    parts = prefix.split(".")
    for length in range(1, len(parts)):
        if not any(other != prefix and other.split(".")[:length] == parts[:length] for other in others):
            return ".".join(parts[:length])
    return prefix


def _is_under(path: str, root: str) -> bool:
    return f"{path}.".startswith(f"{root}.")


def is_norm(word: str) -> bool:
    return _NORM.search(word) is not None


def parent(prefix: str) -> str:
    return prefix.rpartition(".")[0]
