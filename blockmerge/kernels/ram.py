"""What one model changed, and the average of what several did: mergekit's `ram`."""

import torch
from torch import Tensor

from blockmerge.kernels.kernel import Kernel, Setting, Tensors, differences


def ram(tensors: Tensors, setting: Setting) -> Tensor:
    """base + the average of those differences that are larger than `epsilon`, number by number. Any shape.

    Source: Reinforced Agent Merging, arXiv:2601.13572.
    """
    changes = differences(tensors)
    counts = torch.zeros_like(tensors[0])
    for change in changes:
        is_changed = change.abs() > setting.number("epsilon")
        counts.add_(is_changed)
        change.mul_(is_changed)
    return tensors[0] + torch.stack(changes).sum(0).div_(counts.clamp_min_(1))


KERNEL = Kernel(ram, is_pointwise=True)
