"""Names of one model in another's spelling: the same weights are saved under different names by different code.

BERT is found with and without `bert.`, OPT as `decoder.` and `model.decoder.`, GPT-2 as `h.` and `transformer.h.`, old
norms have gamma and beta, and wrappers leave `module.` and `_orig_mod.` behind. Nothing here is a list of models: the
spelling that makes most tensors of equal shape meet is the right one.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Shapes = Mapping[str, tuple[int, ...]]

_WRAPPERS = re.compile(r"(^|\.)_orig_mod(?=\.)|^module(?=\.)")
_OLD_NORM = re.compile(r"(norm[^.]*|ln[^.]*)\.(gamma|beta)$", re.I)
_LATER = re.compile(r"(^|\.)0*[1-9]\d*(\.|$)")  # the first layer, and the first expert in it, speak for all
_NEW = {"gamma": "weight", "beta": "bias"}
_KINDS = ("encoder", "decoder", "text", "vision", "audio")
_MAX_PREFIX = 4  # parts of a name that code may put before, or find before, the model's own name
_MAX_ROUNDS = 8  # a vision-language model has a prefix for each of its parts


@dataclass(frozen=True, slots=True)
class Rename:
    """Names that begin with `found` are read as if they began with `read_as`; either may be empty."""

    found: str
    read_as: str

    @property
    def parts(self) -> frozenset[str]:
        return frozenset(part for prefix in (self.found, self.read_as) for part in prefix.split(".") if part)

    def __call__(self, name: str) -> str | None:
        """The name in the other spelling, or None where it does not begin so."""
        if not self.found:
            return f"{self.read_as}.{name}"
        if not name.startswith(f"{self.found}."):
            return None
        rest = name[len(self.found) + 1 :]
        return f"{self.read_as}.{rest}" if self.read_as else rest


@dataclass(frozen=True, slots=True)
class Alignment:
    """`names` maps every name of the other checkpoint to the owner's spelling, each to a different one.

    `respelled` counts the names that met without a rename: those of wrappers and of old norms.
    """

    names: Mapping[str, str]
    renames: tuple[Rename, ...]
    respelled: int


def align(own: Shapes, other: Shapes) -> Alignment:
    """Spell the other's names as the owner does.

    Equal names always meet. Then the prefix that makes most of the rest meet, with equal shapes, is taken, as long as
    one does; it never leads two tensors to one name.
    """
    if own.keys() == other.keys():
        return Alignment({name: name for name in other}, (), 0)
    simple = {_simplify(name): name for name in own}
    names = {name: name for name in other if name in own}
    _take(names, {name: simple.get(_simplify(name)) for name in other if name not in names})
    respelled = sum(name != target for name, target in names.items())
    renames: list[Rename] = []
    while len(renames) < _MAX_ROUNDS:
        taken = set(names.values())
        open_other = {name: _simplify(name) for name in other if name not in names}
        rename = _best_rename(
            {key: own[name] for key, name in simple.items() if name not in taken},
            {key: other[name] for name, key in open_other.items()},
            frozenset[str]().union(*(rename.parts for rename in renames)),
        )
        if rename is None:
            break
        _take(names, {name: simple.get(rename(key) or "") for name, key in open_other.items()})
        renames.append(rename)
    _spell_rest(names, other, renames, own)
    return Alignment({name: names[name] for name in other}, tuple(renames), respelled)


def _spell_rest(names: dict[str, str], other: Iterable[str], renames: Iterable[Rename], own: Shapes) -> None:
    """Write what met nothing as the owner would, so that it falls into the same layer."""
    rest = [name for name in other if name not in names]
    taken = {*own, *rest}
    for name in rest:
        spelled = (rename(_simplify(name)) for rename in renames)
        names[name] = next((new for new in spelled if new is not None and new not in taken), name)
        taken.add(names[name])


def _take(names: dict[str, str], found: Mapping[str, str | None]) -> None:
    """Add what was found, but no name twice."""
    taken = set(names.values())
    for name, target in found.items():
        if target is not None and target not in taken:
            names[name] = target
            taken.add(target)


def _simplify(name: str) -> str:
    """The name without wrappers, and with the norms' weights called as they are today."""
    plain = _WRAPPERS.sub("", name).removeprefix(".")
    return _OLD_NORM.sub(lambda match: f"{match[1]}.{_NEW[match[2].lower()]}", plain)


def _best_rename(own: Shapes, other: Shapes, known: frozenset[str]) -> Rename | None:
    """The rename that makes most tensors meet with equal shapes; of equals the shortest.

    One meeting alone may be chance, unless the rename is made of parts that are `known` from others.
    """
    ends: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for name, shape in own.items():
        if _LATER.search(name):
            continue
        for prefix, rest in _splits(name):
            ends.setdefault((rest, shape), []).append(prefix)
    met: Counter[Rename] = Counter()
    for name, shape in other.items():
        if _LATER.search(name):
            continue
        # `a.b.weight` and `c.b.weight` meet by a → c and by a.b → c.b: only the longest common end counts.
        found, prefixes = next(((p, ends[rest, shape]) for p, rest in _splits(name) if (rest, shape) in ends), ("", []))
        is_numbered = any(part.isdecimal() for part in name.split("."))
        met.update(Rename(found, prefix) for prefix in prefixes if _may_be_one(found, prefix, is_numbered))
    likely = [rename for rename in met if met[rename] > 1 or rename.parts <= known]
    return max(likely, key=lambda rename: (met[rename], -len(rename.found) - len(rename.read_as)), default=None)


def _splits(name: str) -> Iterable[tuple[str, str]]:
    """The ways to part a name into a prefix and a rest of two parts or more, the shortest prefix first."""
    parts = name.split(".")
    for length in range(min(_MAX_PREFIX, len(parts) - 2) + 1):
        if any(part.isdecimal() for part in parts[:length]) and not _is_sentence_transformer(parts):
            return
        yield ".".join(parts[:length]), ".".join(parts[length:])


def _is_sentence_transformer(parts: list[str]) -> bool:
    """sentence-transformers calls its first module 0: `0.auto_model.encoder…`."""
    return parts[0] == "0"


def _may_be_one(found: str, read_as: str, is_numbered: bool) -> bool:
    """A vision tower is not a text model, and outside the layers a pooler is not a head, whatever the shapes."""
    kinds = [{kind for kind in _KINDS if kind in prefix} for prefix in (found, read_as)]
    if all(kinds) and kinds[0] != kinds[1]:
        return False
    if is_numbered:
        return True
    short, long = sorted((found, read_as), key=len)
    return long.endswith(f".{short}") if short else "." not in long
