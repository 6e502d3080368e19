"""The shapes that a person keeps: a name and anchors spread evenly over the depth, so that one fits any model."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from blockmerge.core.shapes import DECIMALS
from blockmerge.core.yaml_reader import read_yaml
from blockmerge.errors import RecipeError
from blockmerge.ui.owner_files import OwnerFiles, check_name, free_name, new_id
from blockmerge.ui.wording import say

MOST_SHAPES = 100
MOST_ANCHORS = 1_000
LOWEST, HIGHEST = -1, 2  # of an anchor, as of a weight that extrapolates

_LIST_NAMES = ("anchors", "values")


@dataclass(frozen=True, slots=True)
class KeptShape:
    """`saved` is in seconds since 1970."""

    id: str
    name: str
    saved: float
    anchors: tuple[float, ...]


class ShapeShelf:
    """One owner's shapes. Every method raises RecipeError or StorageError."""

    def __init__(self, home: Path, owner: str) -> None:
        self._files = OwnerFiles(home, "shapes", owner)

    def shapes(self) -> tuple[KeptShape, ...]:
        """All that can be read, the oldest first: a place in the tray stays the same place."""
        found = (self._read(path) for path in self._files.paths())
        return tuple(sorted((kept for kept in found if kept), key=lambda kept: (kept.saved, kept.id)))

    def get(self, shape_id: object) -> KeptShape:
        path = self._files.path(shape_id)
        kept = self._read(path) if path else None
        if kept is None:
            raise RecipeError(say("shapes.gone"))
        return kept

    def add(self, name: str, anchors: object) -> KeptShape:
        """Keep a shape. Where the name is taken, a number is put behind it."""
        kept = self.shapes()
        if len(kept) >= MOST_SHAPES:
            raise RecipeError(say("shapes.full", most=MOST_SHAPES))
        plain = free_name(check_name(name, say("shapes.nameless")), {other.name for other in kept})
        added = KeptShape(new_id(), plain, time.time(), check_anchors(anchors))
        self._write(added)
        return added

    def rename(self, shape_id: object, name: str) -> KeptShape:
        before = self.get(shape_id)
        wanted = check_name(name, say("shapes.nameless"))
        if any(other.name == wanted and other.id != before.id for other in self.shapes()):
            raise RecipeError(say("shapes.taken", name=wanted))
        after = KeptShape(before.id, wanted, before.saved, before.anchors)
        self._write(after)
        return after

    def delete(self, shape_id: object) -> None:
        self._files.delete(self.get(shape_id).id)

    def _write(self, kept: KeptShape) -> None:
        self._files.write(kept.id, {"name": kept.name, "saved": kept.saved, "anchors": kept.anchors})

    def _read(self, path: Path) -> KeptShape | None:
        match self._files.read(path):
            case {"name": str(name), "saved": int(saved) | float(saved), "anchors": anchors}:
                try:
                    return KeptShape(path.stem, name, float(saved), check_anchors(anchors))
                except RecipeError:
                    return None
        return None


def check_anchors(anchors: object) -> tuple[float, ...]:
    """Weights as a shape holds them, rounded as those of a grid. Raises RecipeError."""
    if not isinstance(anchors, list | tuple) or not 1 <= len(anchors) <= MOST_ANCHORS:
        raise RecipeError(say("shapes.no_anchors", most=f"{MOST_ANCHORS:,}"))
    for place, anchor in enumerate(anchors, 1):
        if isinstance(anchor, bool) or not isinstance(anchor, int | float) or not LOWEST <= anchor <= HIGHEST:
            raise RecipeError(say("shapes.wrong_anchor", place=place, found=repr(anchor)[:60]))
    return tuple(round(float(anchor), DECIMALS) + 0.0 for anchor in anchors)  # + 0.0 makes 0.0 of −0.0


def read_shape_file(text: str, file_name: str) -> tuple[str, tuple[float, ...]]:
    """Name and anchors of a shape as YAML or JSON; one without a name gets that of its file. Raises RecipeError."""
    value = read_yaml(text, say("shapes.this_file"))
    lists = [name for name in _LIST_NAMES if isinstance(value, Mapping) and name in value]
    if not isinstance(value, Mapping) or len(lists) != 1 or not value.keys() <= {"name", lists[0]}:
        raise RecipeError(say("shapes.no_shape"))
    name = value.get("name", file_name)
    if not isinstance(name, str):
        raise RecipeError(say("shapes.no_shape"))
    return name, check_anchors(value[lists[0]])
