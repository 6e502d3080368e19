"""What a weight of the grid means, and which lines it has: one for all models, or one for each."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from blockmerge.core.blocks import Blocks, StackBlocks
from blockmerge.core.layout import ROWS


class Kind(StrEnum):
    """As core.method.WeightKind, with the shares of two models, which are one line, told from those of several."""

    SHARE = "share"
    SHARES = "shares"
    AMOUNT = "amount"
    STRENGTH = "strength"


@dataclass(frozen=True, slots=True)
class Meaning:
    """`a` is what all weights at 0 make, `b` what one line at 1 makes: names that people know.

    `models` maps the key of each model that has a line of its own to its name, and is empty where one line is for all.
    `wide` says that the method takes weights beyond 0 to 1. `outer` are the rows that stand with a stack of each model
    and belong to none.
    """

    a: str
    b: str
    kind: Kind = Kind.SHARE
    models: Mapping[str, str] = field(default_factory=dict)
    wide: bool = True
    outer: tuple[str, ...] = ()


def lines_of_models(blocks: Blocks, meaning: Meaning) -> tuple[Blocks, Meaning]:
    """The blocks with a stack for each model: `a` where the models have one stack, else `a.encoder`, `a.decoder`, …

    A row outside the stacks stands with the stack whose end it follows. One of a name that this stack has as well is
    not shown and follows.
    """
    if not meaning.models:
        return blocks, meaning
    last = len(blocks.stacks) - 1
    homes = {row: 0 if row == "embeddings" else last for row in blocks.rows}
    outer = tuple(row for row, home in homes.items() if row not in blocks.stacks[home].rows)
    stacks = tuple(
        StackBlocks(
            entry_name(blocks, key, stack.name),
            stack.depth,
            stack.lanes,
            tuple(row for row in ROWS if row in stack.rows or (row in outer and homes[row] == place)),
        )
        for key in meaning.models
        for place, stack in enumerate(blocks.stacks)
    )
    return Blocks(stacks, ()), replace(meaning, outer=outer)


def entry_name(blocks: Blocks, key: str, stack: str) -> str:
    """What a stack of one model is called in the grid."""
    if not key:
        return stack
    return key if len(blocks.stacks) == 1 else f"{key}.{stack}"


def part_of(name: str, keys: Mapping[str, str]) -> str:
    """An entry's name without the key of its model: equal parts are the same stack of different models."""
    key = max((key for key in keys if name == key or name.startswith(f"{key}.")), key=len, default="")
    return name.removeprefix(key).removeprefix(".") if key else name
