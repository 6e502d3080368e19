"""Every merge method: what it takes and what its weight means. Kernels are in blockmerge/kernels, one per entry."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Method:
    """What a method takes.

    `weight_low` and `weight_high` bound a weight; `source` is where the formula is from.
    """

    name: str
    title: str
    models: int
    weight_low: float
    weight_high: float
    source: str


LINEAR = Method(
    name="linear",
    title="Linear: average of the weights",
    models=2,
    weight_low=-1.0,
    weight_high=2.0,
    source="Wortsman et al. 2022, Model soups, arXiv:2203.05482; LM_BlockMerge's plain average",
)

METHODS: Mapping[str, Method] = {method.name: method for method in (LINEAR,)}
