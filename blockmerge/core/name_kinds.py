"""Tensor names grouped by kind: most differ from others in numbers only, so each kind is looked at once."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

# A number that stands alone between dots; layers_3 is layers.3. No model has a million layers, and int() refuses
# thousands of digits.
_NUMBER = re.compile(r"[._](?<![^A-Za-z]_)(\d{1,5})(?![^.])")


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a number stands in a name: the prefix before it, and what follows, as one text and without numbers."""

    prefix: str
    rest: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """Names that differ in numbers only. `path` has None for a number, and there is a spot for each; `numbers` has, by
    name, those that stand there."""

    path: tuple[str | None, ...]
    spots: tuple[Spot, ...]
    numbers: dict[str, tuple[int, ...]] = field(default_factory=dict)


def find_kinds(spelled: Mapping[str, str]) -> Sequence[Kind]:
    """The kinds in the order of their first names; `spelled` has for every name the one whose numbers count."""
    return _find_kinds(tuple(spelled.items()))


@lru_cache(maxsize=4)  # a merge asks several times for the same names: to open each model, and to plan
def _find_kinds(spelled: Sequence[tuple[str, str]]) -> Sequence[Kind]:
    kinds: dict[tuple[str, ...], Kind] = {}
    for name, counted in spelled:
        pieces = _NUMBER.split(f".{counted}")  # what lies between numbers, and the numbers, in turn
        between = tuple(pieces[::2])
        kind = kinds.get(between)
        if kind is None:
            kind = kinds[between] = _new_kind(between)
        kind.numbers[name] = tuple(map(int, pieces[1::2]))
    return tuple(kinds.values())


def _new_kind(between: Sequence[str]) -> Kind:
    first, *others = (piece.split(".")[1:] for piece in between)
    path = (*first, *(part for parts in others for part in (None, *parts)))
    return Kind(path, tuple(_spots(path)))


def path_text(path: Sequence[str | None]) -> str:
    """The path with * for numbers."""
    return ".".join("*" if part is None else part for part in path)


def _spots(path: tuple[str | None, ...]) -> Iterator[Spot]:
    for position, part in enumerate(path):
        if part is None:
            rest = path[position + 1 :]
            words = tuple(word for word in rest if word is not None)
            yield Spot(path_text(path[:position]), path_text(rest), words)
