"""Differences dropped at random, rescaled and elected by sign: mergekit's `dare_ties`."""

from torch import Tensor

from blockmerge.kernels.dare_linear import chance
from blockmerge.kernels.dropping import sums_for, thin_out
from blockmerge.kernels.kernel import Kernel, Setting, Tensors
from blockmerge.kernels.signs import elect


def dare_ties(tensors: Tensors, setting: Setting) -> Tensor:
    """As `dare_linear`, but only what agrees in sign is added up. Any shape.

    Source: Yu et al. 2023, arXiv:2311.03099, section 3; Yadav et al. 2023, arXiv:2306.01708.
    """
    return elect(tensors[0], thin_out(tensors, setting, chance), setting)


KERNEL = Kernel(dare_ties, sums_for(chance))
