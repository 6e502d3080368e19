"""Numbers swapped where they lie near: mergekit's `nearswap`."""

import torch
from torch import Tensor

from blockmerge.kernels.kernel import Kernel, Setting, Tensors

_SMALL = 1e-6


def nearswap(tensors: Tensors, setting: Setting) -> Tensor:
    """base + min(t / distance, 1) × (model − base), number by number. Any shape.

    Source: alchemonaut 2024, the card of QuartetAnemoi-70B-t0.0001.
    """
    base, model = tensors
    distance = (model - base).abs_().clamp_min_(_SMALL)
    return torch.lerp(base, model, (setting.number("t") / distance).clamp_max_(1))


KERNEL = Kernel(nearswap, is_pointwise=True)
