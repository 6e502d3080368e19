"""Tied heads: where the head of a language model is its embeddings, and what becomes of it when only one model's is.

Both tied: there is no head row; a file that stores both copies gets the embeddings' weight for both. Both untied: two
rows. Mixed: the tied side's head *is* its embeddings, and the result is untied unless both weights lie on the tied
side.
"""

from dataclasses import dataclass, replace

from blockmerge.core.layout import ROWS, Layout, Place
from blockmerge.core.tensors import Checkpoint


@dataclass(frozen=True, slots=True)
class Head:
    """The names of a checkpoint's embeddings and head; `head` is None where the file stores none."""

    embeddings: str
    head: str | None
    tied: bool


def find_head(checkpoint: Checkpoint, layout: Layout) -> Head | None:
    """The head and the embeddings it may be tied to, or None for a model that has no vocabulary at either end.

    Names come from the files; the config only says whether two stored copies, or a missing head, mean tying.
    """
    by_row: dict[str, list[str]] = {"embeddings": [], "head": []}
    for name, place in layout.places.items():
        if place.layer is None and place.module in by_row and len(checkpoint.tensors[name].shape) == 2:
            by_row[place.module].append(name)
    if not by_row["embeddings"]:
        return None
    # The vocabulary is the longest of them; positions may by chance have the shape of a matrix in the head.
    embeddings = max(by_row["embeddings"], key=lambda name: checkpoint.tensors[name].shape[0])
    for head in by_row["head"]:
        if checkpoint.tensors[head].shape == checkpoint.tensors[embeddings].shape:
            return Head(embeddings, head, tied=checkpoint.config.get("tie_word_embeddings") is True)
    return Head(embeddings, None, tied=True) if _means_tied(checkpoint) else None


def _means_tied(checkpoint: Checkpoint) -> bool:
    """Whether a missing head means tying; a bare encoder has no head at all."""
    stated = checkpoint.config.get("tie_word_embeddings")
    if isinstance(stated, bool):
        return stated
    architectures = checkpoint.config.get("architectures")
    return isinstance(architectures, list) and any("LM" in str(name) for name in architectures)


def move_head(layout: Layout, head: str, place: Place) -> Layout:
    """The layout with the tensor `head`, which it may not have had, at `place`."""
    places = {**layout.places, head: place}
    held = {place.module for place in places.values() if place.layer is None}
    return replace(layout, places=places, rows=tuple(name for name in ROWS if name in held))
