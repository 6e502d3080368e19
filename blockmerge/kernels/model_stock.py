"""From the base towards the average: mergekit's `model_stock`."""

from itertools import combinations

import torch
from torch import Tensor

from blockmerge.kernels.gram import GRAM, cosine
from blockmerge.kernels.kernel import Kernel, Measure, Setting, Tensors, affine, differences

_SMALL = 1e-6


def model_stock(tensors: Tensors, setting: Setting) -> Tensor:
    """t × average + (1 − t) × base, with t = N cos θ / (1 + (N − 1) cos θ) and cos θ the mean cosine of the angles
    between the differences of N models from the base.

    Any shape, each tensor as one vector; with `filter_wise` row by row, whole rows. Where 1 + (N − 1) cos θ is 0 there
    is no estimate, and the base stays. Source: Jang et al. 2024, Model Stock, arXiv:2403.19522, equation 5.
    """
    base, *models = tensors
    average = affine(models, [1 / len(models)] * len(models))
    if not setting.parameters["filter_wise"]:
        return torch.lerp(base, average, float(setting.statistics[0]))
    return torch.lerp(base, average, _ratio(_mean_cosine_of_rows(tensors), len(models)).to(base.dtype))


def _ratio(cos: Tensor, count: int) -> Tensor:
    divisor = 1 + (count - 1) * cos
    is_singular = divisor.abs() < _SMALL
    return torch.where(is_singular, 0, count * cos / divisor.masked_fill(is_singular, 1))


def _mean_cosine_of_rows(tensors: Tensors) -> Tensor:
    changes = differences(tensors)
    norms = [change.square().sum(-1, keepdim=True, dtype=torch.float64).sqrt() for change in changes]
    cosines = [
        (changes[i] * changes[j]).sum(-1, keepdim=True, dtype=torch.float64) / (norms[i] * norms[j]).clamp_min(_SMALL)
        for i, j in combinations(range(len(changes)), 2)
    ]
    return torch.stack(cosines).clamp_(-1, 1).mean(0)


def _whole_ratio(gram: Tensor, _: Setting) -> Tensor:
    pairs = list(combinations(range(len(gram)), 2))
    cos = sum(cosine(gram, i, j) for i, j in pairs) / len(pairs)
    return _ratio(torch.tensor(cos, dtype=torch.float64), len(gram))


def _measures(setting: Setting) -> tuple[Measure, ...]:
    return () if setting.parameters["filter_wise"] else (Measure(GRAM.part, _whole_ratio),)


KERNEL = Kernel(model_stock, _measures)
