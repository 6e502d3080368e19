"""How the task arithmetic family adds up what is left of the differences from the base."""

import torch
from torch import Tensor

from blockmerge.kernels.kernel import Setting


def add_up(base: Tensor, changes: list[Tensor], setting: Setting) -> Tensor:
    """base + lambda × Σ weight × change; with `normalize`, divided by the sum of the weights unless that is 0.

    Overwrites the changes. Source: Ilharco et al. 2022, arXiv:2212.04089.
    """
    total = changes[0].mul_(setting.weights[0])
    for change, weight in zip(changes[1:], setting.weights[1:], strict=True):
        total.add_(change, alpha=weight)
    return torch.add(base, total, alpha=setting.number("lambda") / _divisor(setting))


def _divisor(setting: Setting) -> float:
    total = sum(setting.weights)
    return total if setting.parameters["normalize"] and abs(total) >= 1e-8 else 1.0


def elect(base: Tensor, changes: list[Tensor], setting: Setting) -> Tensor:
    """As `add_up`, but of each number only those changes count that have the sign of the weighted sum of all of them.

    With `normalize`, the divisor is the sum of the weights of those that count: the disjoint mean. A sum of 0 counts as
    positive. Overwrites the changes. Source: Yadav et al. 2023, TIES-Merging, arXiv:2306.01708, section 4.
    """
    torch._foreach_mul_(changes, setting.weights)
    first, *others = changes
    sign = first + others[0] if others else first.clone()
    for change in others[1:]:
        sign.add_(change)
    torch.copysign(torch.ones((), device=base.device), sign, out=sign)
    torch._foreach_mul_(changes, [sign] * len(changes))
    torch._foreach_clamp_min_(changes, 0)  # what agrees with the sign, as a magnitude
    total = _mean_of_agreeing(changes, setting.weights) if setting.parameters["normalize"] else _sum(changes)
    return torch.addcmul(base, total, sign, value=setting.number("lambda"), out=total)


def _sum(agreeing: list[Tensor]) -> Tensor:
    total, *others = agreeing
    for change in others:
        total.add_(change)
    return total


def _mean_of_agreeing(agreeing: list[Tensor], weights: tuple[float, ...]) -> Tensor:
    """Their sum over the sum of the weights of those that are not 0, number by number; 0 where all are 0."""
    total, *others = agreeing
    divisor = total.sign().mul_(weights[0])  # faster than to compare, as none is below 0
    for change, weight in zip(others, weights[1:], strict=True):
        total.add_(change)
        divisor.add_(change.sign_(), alpha=weight)
    if min(weights) > 0:
        return total.div_(divisor.clamp_min_(min(weights)))
    return total.div_(divisor.masked_fill_(divisor == 0, 1))
