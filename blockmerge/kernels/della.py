"""Differences dropped at random by rank, rescaled and elected by sign: mergekit's `della`."""

import torch
from torch import Tensor

from blockmerge.kernels.dropping import sums_for, thin_out
from blockmerge.kernels.kernel import Kernel, Setting, Tensors
from blockmerge.kernels.signs import elect


def della(tensors: Tensors, setting: Setting) -> Tensor:
    """Keeps each number of a difference with a chance that grows with its magnitude's rank in its row.

    Whole rows; a tensor of one dimension is one row. The chance goes from density − epsilon to density + epsilon. The
    paper divides what is kept by its own chance; mergekit, and here `rescale: l1`, keeps the sum of magnitudes.
    `normalize: true` gives the paper's mean. Source: Deep et al. 2024, DELLA-Merging, arXiv:2406.11617, section 3.
    """
    return elect(tensors[0], thin_out(tensors, setting, chances), setting)


def chances(change: Tensor, setting: Setting) -> Tensor:
    """For each number of whole rows its chance to be kept; of equal magnitudes the later has the higher rank."""
    density, epsilon = setting.number("density"), setting.number("epsilon")
    length = change.shape[-1]
    if length < 2:
        return torch.full_like(change, density)
    order = change.abs().sort(dim=-1, stable=True).indices
    steps = torch.arange(length, dtype=torch.float32, device=change.device).div_(length - 1)
    steps.mul_(2 * epsilon).add_(density - epsilon)
    return torch.empty_like(change).scatter_(-1, order, steps.expand_as(change))


KERNEL = Kernel(della, sums_for(chances))
