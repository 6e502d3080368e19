"""Select, calculate, erase: mergekit's `sce`."""

import math

import torch
from torch import Tensor

from blockmerge.kernels.kernel import Kernel, Measure, Setting, Tensors, differences
from blockmerge.kernels.ranks import UPPER, count_lower, count_upper, find_upper, find_values


def sce(tensors: Tensors, setting: Setting) -> Tensor:
    """Selects the numbers whose differences vary most, weighs each model by the mean square of its differences there,
    and averages those that agree with the sign of their sum.

    Any shape. `select_topk` is a part of the numbers that vary at all; all that equal the threshold are selected.
    mergekit weighs all models alike where the mean squares sum to less than 1e-6, as those of a light fine-tuning do;
    here only where they are 0. Source: Wan et al. 2024, FuseChat, arXiv:2408.07990, section 3.3.
    """
    changes = _selected(tensors, setting)
    sign = torch.stack(changes).sum(0)
    positive = sign >= 0
    total, divisor = torch.zeros_like(sign), torch.zeros_like(sign)
    for change, weight in zip(changes, setting.statistics[-1].tolist(), strict=True):
        counts = torch.where(positive, change > 0, change < 0)
        total.add_(change.mul_(counts), alpha=weight)
        divisor.add_(counts, alpha=weight)
    return tensors[0] + total.div_(divisor.masked_fill_(divisor == 0, 1))


def _selected(tensors: Tensors, setting: Setting) -> list[Tensor]:
    changes = differences(tensors)
    if setting.number("select_topk") < 1:
        is_selected = _variance(changes) >= float(setting.statistics[1])
        changes = [change.mul_(is_selected) for change in changes]
    return changes


def _variance(changes: list[Tensor]) -> Tensor:
    return torch.stack(changes).var(0, unbiased=False)


def _upper(tensors: Tensors, _: Setting) -> Tensor:
    variance = _variance(differences(tensors))
    nonzero = variance.count_nonzero().view(1)
    return torch.cat([count_upper(variance), nonzero])


def _place(counts: Tensor, setting: Setting) -> Tensor:
    """Beyond the last place where nothing is selected."""
    selected = math.floor(setting.number("select_topk") * int(counts[UPPER]))
    if selected == 0:
        return torch.tensor([[-1, 0]])
    return find_upper(counts[:UPPER], [setting.elements - selected])


def _lower(tensors: Tensors, setting: Setting) -> Tensor:
    return count_lower([_variance(differences(tensors))], setting.statistics[0])


def _threshold(counts: Tensor, setting: Setting) -> Tensor:
    if int(setting.statistics[0][0, 0]) < 0:
        return torch.tensor(math.inf)
    return find_values(counts, setting.statistics[0])[0]


def _squares(tensors: Tensors, setting: Setting) -> Tensor:
    return torch.stack([change.square_().sum() for change in _selected(tensors, setting)]).double()


def _weights(squares: Tensor, _: Setting) -> Tensor:
    total = squares.sum()
    return squares / total if total > 0 else torch.full_like(squares, 1 / len(squares))


def _measures(setting: Setting) -> tuple[Measure, ...]:
    squares = Measure(_squares, _weights)
    if setting.number("select_topk") == 1:
        return (squares,)
    return Measure(_upper, _place), Measure(_lower, _threshold), squares


KERNEL = Kernel(sce, _measures)
