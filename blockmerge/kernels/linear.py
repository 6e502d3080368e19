"""The plain average, weighted: LM_BlockMerge's method, mergekit's `linear`."""

import torch
from torch import Tensor

from blockmerge.kernels.kernel import Kernel, Setting, Tensors, affine
from blockmerge.kernels.negative_zeros import find_negative_zeros, put_negative_zeros


def linear(a: Tensor, b: Tensor, weight: float) -> Tensor:
    """a × (1 − weight) + b × weight for two tensors of one shape and dtype.

    Computed in float32 whatever the dtype, and rounded once to it: torch.lerp on bfloat16 and float16 does just that.
    Finite elements that are equal in both stay as they are, to the bit. Not exact at 0 and 1 for Inf and NaN; there
    the engine copies bytes instead.
    Source: Wortsman et al. 2022, Model soups, section 2.
    """
    result = torch.lerp(a, b, weight)
    put_negative_zeros(result, find_negative_zeros((a, b)))
    return result


def weighted_average(tensors: Tensors, setting: Setting) -> Tensor:
    """The sum of the tensors times their weights, which sum to 1; of two, `linear`. Any shape.

    Source: Wortsman et al. 2022, Model soups, section 2.
    """
    if len(tensors) == 2:
        return linear(tensors[0], tensors[1], setting.weights[1])
    return affine(tensors, setting.weights)


def _pair_into(tensors: Tensors, setting: Setting, out: Tensor) -> None:
    a, b = tensors
    negative_zeros = find_negative_zeros(tensors)  # before `out`, which may be one of them, is written
    torch.lerp(a, b, setting.weights[1], out=out)
    put_negative_zeros(out, negative_zeros)


KERNEL = Kernel(weighted_average, is_pointwise=True, pair_into=_pair_into)
