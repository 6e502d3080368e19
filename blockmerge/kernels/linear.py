"""The plain average, weighted: LM_BlockMerge's method, mergekit's `linear`."""

from collections.abc import Mapping

import torch
from torch import Tensor

_BITS: Mapping[torch.dtype, torch.dtype] = {
    torch.float32: torch.int32,
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
}


def linear(a: Tensor, b: Tensor, weight: float) -> Tensor:
    """a × (1 − weight) + b × weight for two tensors of one shape and dtype.

    Computed in float32 whatever the dtype, and rounded once to it: torch.lerp on bfloat16 and float16 does just that.
    Finite elements that are equal in both stay as they are, to the bit. Not exact at 0 and 1 for Inf and NaN; there
    the engine copies bytes instead.
    Source: Wortsman et al. 2022, Model soups, section 2.
    """
    return _with_negative_zeros(torch.lerp(a, b, weight), a, b)


def _with_negative_zeros(blended: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """At some weights torch.lerp makes 0.0 of two -0.0: a + w × (b − a), where b − a is 0.0."""
    bits = _BITS[a.dtype]
    a_bits, negative_zero = a.view(bits), torch.iinfo(bits).min
    # Read as a whole number -0.0 is the smallest of all: looking for it costs a twentieth of the blend.
    if a.numel() == 0 or a_bits.amin() != negative_zero:
        return blended
    return torch.where((a_bits == negative_zero) & (b.view(bits) == negative_zero), a, blended)
