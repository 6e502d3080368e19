"""Tied heads: where the head of a language model is its embeddings, and what becomes of it when only one model's is.

Both tied: there is no head row; a file that stores both copies gets the embeddings' weight for both. Both untied: two
rows. Mixed: the tied side's head *is* its embeddings, and the result is untied unless both weights lie on the tied
side.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from blockmerge.core.layout import ROWS, Layout, Place
from blockmerge.core.tensors import Checkpoint

TOKEN_COLUMNS = ("final_logits_bias",)  # BART's family adds it to the logits: a token is a column

_NO_TOKENS = re.compile(r"position|token_type|segment", re.I)
_TEXT_PARTS = ("text_config", "decoder")  # where a config of several parts keeps the language model's


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
            return Head(embeddings, head, tied=_share_numbers(checkpoint, embeddings, head))
    return Head(embeddings, None, tied=True) if _means_tied(checkpoint) else None


def _share_numbers(checkpoint: Checkpoint, embeddings: str, head: str) -> bool:
    """Whether two stored copies mean one thing: they are the same bytes of one file, or the config says so and they
    begin alike. transformers does not tie two that differ, whatever the config says."""
    one, two = checkpoint.tensors[embeddings], checkpoint.tensors[head]
    if (one.file, one.offset) == (two.file, two.offset):
        return True
    samples = {checkpoint.samples.get(tensor.name) for tensor in (one, two)} - {None}
    return is_tied(checkpoint.config) is True and len(samples) < 2


def is_tied(config: Mapping[str, object]) -> bool | None:
    """What the config says of tied heads, or None where it says nothing."""
    for part in (config, *(config.get(name) for name in _TEXT_PARTS)):
        stated = part.get("tie_word_embeddings") if isinstance(part, Mapping) else None
        if isinstance(stated, bool):
            return stated
    return None


def _means_tied(checkpoint: Checkpoint) -> bool:
    """Whether a missing head means tying; a bare encoder has no head at all."""
    stated = is_tied(checkpoint.config)
    if stated is not None:
        return stated
    architectures = checkpoint.config.get("architectures")
    return isinstance(architectures, list) and any("LM" in str(name) for name in architectures)


@dataclass(frozen=True, slots=True)
class TokenRows:
    """The tensors, by their names in the files, that have one row for each token; `count` is their number of rows."""

    count: int = 0
    names: frozenset[str] = frozenset()


def find_vocabulary(checkpoint: Checkpoint, layout: Layout) -> TokenRows:
    """The embeddings of tokens, the head and its bias; none where a model has no vocabulary."""
    outside = {
        name: checkpoint.tensors[name]
        for name, place in layout.places.items()
        if place.layer is None and place.module in ("embeddings", "head") and not _NO_TOKENS.search(name)
    }
    stated = set(_sizes(checkpoint.config))
    counts = [
        t.shape[0] for name, t in outside.items() if len(t.shape) == 2 and layout.places[name].module == "embeddings"
    ]
    known = [count for count in counts if count in stated] or counts
    if not known:
        return TokenRows()
    count = max(known)
    return TokenRows(count, frozenset(t.name for t in outside.values() if t.shape[:1] == (count,)))


def _sizes(config: Mapping[str, object]) -> Iterator[int]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _sizes(value)
        elif key == "vocab_size" and type(value) is int:
            yield value


def move_head(layout: Layout, head: str, place: Place) -> Layout:
    """The layout with the tensor `head`, which it may not have had, at `place`."""
    places = {**layout.places, head: place}
    held = {place.module for place in places.values() if place.layer is None}
    return replace(layout, places=places, rows=tuple(name for name in ROWS if name in held))
