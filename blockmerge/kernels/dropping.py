"""Differences of which a part is dropped at random, and what is left made up for: what DARE and DELLA share."""

from collections.abc import Callable

import torch
from torch import Tensor

from blockmerge.kernels.kernel import Measure, Setting, Tensors, differences
from blockmerge.kernels.random_numbers import uniform

Chances = Callable[[Tensor, Setting], Tensor | float]  # for each number of a difference, the chance to be kept
_SMALL = 1e-7  # sums of magnitudes below it are not rescaled, as in mergekit


def thin_out(tensors: Tensors, setting: Setting, chances: Chances) -> list[Tensor]:
    """What is kept of each difference, rescaled.

    `rescale: paper` scales each number by 1 / its chance, which keeps the expectation; `l1` all numbers of a tensor by
    one factor, so that the sum of their magnitudes is what it was.
    """
    changes = differences(tensors)
    density, rescale = setting.number("density"), setting.parameters["rescale"]
    if density == 1:
        return changes
    if density == 0:
        return [change.zero_() for change in changes]
    for index, change in enumerate(changes):
        chance = chances(change, setting)
        change.mul_(_draw(change, index, setting) < chance)
        if rescale == "paper":
            change.div_(chance)
        elif rescale == "l1":
            before, after = setting.statistics[0][index].tolist()
            change.mul_(before / after if min(before, after) >= _SMALL else 1.0)
    return changes


def sums_for(chances: Chances) -> Callable[[Setting], tuple[Measure, ...]]:
    """For `rescale: l1`, each difference's sum of magnitudes before and after the dropping; else nothing."""

    def part(tensors: Tensors, setting: Setting) -> Tensor:
        rows = []
        for index, change in enumerate(differences(tensors)):
            kept = _draw(change, index, setting) < chances(change, setting)
            magnitude = change.abs_()
            rows.append(torch.stack([magnitude.sum(), (magnitude * kept).sum()]))
        return torch.stack(rows).double()

    def measures(setting: Setting) -> tuple[Measure, ...]:
        return (Measure(part),) if setting.parameters["rescale"] == "l1" and 0 < setting.number("density") < 1 else ()

    return measures


def _draw(change: Tensor, index: int, setting: Setting) -> Tensor:
    return uniform(setting.keys[index], setting.start, change.numel(), change.device).view(change.shape)
