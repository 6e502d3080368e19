"""Where each tensor sits: stacks of layers, the modules inside them, and the rows outside."""

from collections.abc import Mapping
from dataclasses import dataclass

LANES = ("attention", "mlp", "norm", "router", "mixer", "other")
ROWS = ("embeddings", "final_norm", "head", "connector", "outside")


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor's seat. Inside the layers: a stack, a layer index and one of LANES; outside them `layer` is None and
    `module` is one of ROWS, with the stack whose root it lies under, or None where it lies under none."""

    stack: str | None
    layer: int | None
    module: str


@dataclass(frozen=True, slots=True)
class Stack:
    """A run of layers. `modules[i]` names the lanes that layer i has, in the order of LANES."""

    name: str
    prefix: str
    modules: tuple[tuple[str, ...], ...]

    @property
    def depth(self) -> int:
        return len(self.modules)


@dataclass(frozen=True, slots=True)
class Layout:
    """`places` has every tensor of the checkpoint exactly once; `rows` is in the order of ROWS."""

    stacks: tuple[Stack, ...]
    rows: tuple[str, ...]
    places: Mapping[str, Place]
