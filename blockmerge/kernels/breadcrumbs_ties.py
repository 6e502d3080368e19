"""Differences without their largest and smallest values, elected by sign: mergekit's `breadcrumbs_ties`."""

from torch import Tensor

from blockmerge.kernels.breadcrumbs import crumbs, measures
from blockmerge.kernels.kernel import Kernel, Setting, Tensors
from blockmerge.kernels.signs import elect


def breadcrumbs_ties(tensors: Tensors, setting: Setting) -> Tensor:
    """As `breadcrumbs`, but only what agrees in sign is added up. Any shape.

    Source: Davari and Belilovsky 2023, arXiv:2312.06795; Yadav et al. 2023, arXiv:2306.01708.
    """
    return elect(tensors[0], crumbs(tensors, setting), setting)


KERNEL = Kernel(breadcrumbs_ties, measures)
