"""Differences dropped at random by rank and rescaled: mergekit's `della_linear`."""

from torch import Tensor

from blockmerge.kernels.della import chances
from blockmerge.kernels.dropping import sums_for, thin_out
from blockmerge.kernels.kernel import Kernel, Setting, Tensors
from blockmerge.kernels.signs import add_up


def della_linear(tensors: Tensors, setting: Setting) -> Tensor:
    """As `della`, without an election: all that is kept is added up. Whole rows.

    Source: Deep et al. 2024, DELLA-Merging, arXiv:2406.11617, section 3.
    """
    return add_up(tensors[0], thin_out(tensors, setting, chances), setting)


KERNEL = Kernel(della_linear, sums_for(chances))
