"""RAM with what one model alone changed scaled up: mergekit's `ramplus_tl`."""

import torch
from torch import Tensor

from blockmerge.kernels.kernel import Kernel, Measure, Setting, Tensors, differences


def ramplus_tl(tensors: Tensors, setting: Setting) -> Tensor:
    """As `ram`, with what model i alone changed times 1 + r × min(shared / alone, alpha), counted over the tensor.

    Any shape. Source: Reinforced Agent Merging, arXiv:2601.13572; its tensor-local form is mergekit's.
    """
    changes = differences(tensors)
    is_changed = [change.abs() > setting.number("epsilon") for change in changes]
    counts = torch.stack(is_changed).sum(0)
    total = torch.zeros_like(tensors[0])
    for change, own, scale in zip(changes, is_changed, setting.statistics[0].tolist(), strict=True):
        factor = torch.where(counts == 1, scale, 1 / counts.clamp_min(1))
        total.add_(change.mul_(own).mul_(factor))
    return tensors[0] + total


def _counts(tensors: Tensors, setting: Setting) -> Tensor:
    """Per model: how many numbers it changed with others, and how many alone."""
    is_changed = torch.stack([change.abs_() > setting.number("epsilon") for change in differences(tensors)])
    is_flat = is_changed.flatten(1)
    shared = is_flat.sum(0) > 1
    return torch.stack([(is_flat & shared).sum(1), (is_flat & ~shared).sum(1)], dim=1)


def _scales(counts: Tensor, setting: Setting) -> Tensor:
    shared, alone = counts.double().unbind(1)
    return 1 + setting.number("r") * (shared / alone.clamp_min(setting.number("epsilon"))).clamp(
        0, setting.number("alpha")
    )


KERNEL = Kernel(ramplus_tl, lambda _: (Measure(_counts, _scales),))
