"""A weighted mean on the sphere: mergekit's `multislerp`."""

import torch
from torch import Tensor

from blockmerge.kernels.gram import GRAM
from blockmerge.kernels.kernel import Kernel, Measure, Setting, Tensors, affine, split_base

_SMALL = 1e-8


def multislerp(tensors: Tensors, setting: Setting) -> Tensor:
    """The direction of the weighted mean of the models' directions, at the weighted mean of their norms.

    Any shape; each tensor is one vector; with a base, its difference from it. The method's tangent step at that mean
    is left out: the weighted tangents sum to 0 there. Where the directions cancel out it is linear; mergekit refuses
    that for more than two models. Source: Goddard 2025, Multi-SLERP.
    """
    base, vectors = split_base(tensors, setting)
    result = affine(vectors, setting.statistics[0].tolist())
    return result if base is None else base + result


def _coefficients(gram: Tensor, setting: Setting) -> Tensor:
    weights = torch.tensor(setting.weights, dtype=torch.float64)
    norms = gram.diagonal().sqrt()
    unit_weights = weights / (norms + _SMALL)
    length = (unit_weights @ gram @ unit_weights).clamp_min(0).sqrt()
    if float(length) < _SMALL:
        return weights
    return unit_weights * ((norms * weights).sum() / length)


KERNEL = Kernel(multislerp, lambda _: (Measure(GRAM.part, _coefficients),))
