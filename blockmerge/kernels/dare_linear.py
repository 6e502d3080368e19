"""Differences dropped at random and rescaled: mergekit's `dare_linear`."""

from torch import Tensor

from blockmerge.kernels.dropping import sums_for, thin_out
from blockmerge.kernels.kernel import Kernel, Setting, Tensors
from blockmerge.kernels.signs import add_up


def dare_linear(tensors: Tensors, setting: Setting) -> Tensor:
    """Keeps each number of each difference with the chance `density`, divides it by that chance, and adds up.

    Any shape. The paper rescales by 1/density; mergekit, and here `rescale: l1`, so that the sum of magnitudes is kept.
    Source: Yu et al. 2023, Language models are Super Mario, arXiv:2311.03099, section 3.
    """
    return add_up(tensors[0], thin_out(tensors, setting, chance), setting)


def chance(_: Tensor, setting: Setting) -> float:
    """The same for every number."""
    return setting.number("density")


KERNEL = Kernel(dare_linear, sums_for(chance))
