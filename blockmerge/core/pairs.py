"""Tensors of two checkpoints that belong together, and how models are named in sentences."""

from dataclasses import dataclass
from typing import NamedTuple

from blockmerge.core.layout import Layout
from blockmerge.core.tensors import DType, TensorSpec
from blockmerge.core.vocabulary import RowMap

LACKING = "has no such tensor"  # ends the reason of whatever only one model has


class Source(NamedTuple):
    """A tensor of one of the recipe's models; `model` is the model's key, such as "a"."""

    model: str
    tensor: TensorSpec


@dataclass(frozen=True, slots=True)
class Pair:
    """A tensor of the result and where its numbers come from, the owner's first.

    `copy_reason` is set when the only source's numbers are taken whatever the weight; `owner_dtype` where it is not the
    owner's. `rows` says which rows of the sources belong together where they have to be matched by token.
    """

    name: str
    sources: tuple[Source, ...]
    copy_reason: str = ""
    owner_dtype: DType | None = None
    rows: RowMap | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        shape = self.sources[0].tensor.shape
        return (self.rows.size, *shape[1:]) if self.rows is not None else shape


@dataclass(frozen=True, slots=True)
class MixedHead:
    """The heads of the models `tied_keys` are tied to their embeddings, those of others are not.

    `name` and `embeddings` are the owner's names, or what its head is called where it stores none.
    """

    name: str
    embeddings: str
    tied_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Matching:
    """All pairs in the owner's order, on a layout that has every one of them; what stays behind as (model key, name,
    reason); any problem stops the plan; notes are sentences about what was decided.

    `tied_copy` names a head that the owner stores although it is tied, and the embeddings that it is a copy of.
    `takes_other_rows` where the result has another model's vocabulary, and that is not the owner's.
    """

    layout: Layout
    pairs: tuple[Pair, ...] = ()
    left_out: tuple[tuple[str, str, str], ...] = ()
    mixed_head: MixedHead | None = None
    tied_copy: tuple[str, str] | None = None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    takes_other_rows: bool = False


def label(key: str) -> str:
    """A model's key as people read it: "a" is A."""
    return key.upper() if len(key) == 1 else key


def shape_text(shape: tuple[int, ...]) -> str:
    return "×".join(str(size) for size in shape) or "a single number"
