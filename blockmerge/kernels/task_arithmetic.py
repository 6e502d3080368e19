"""Sums of differences from a base: mergekit's `task_arithmetic`."""

from torch import Tensor

from blockmerge.kernels.kernel import Kernel, Setting, Tensors, differences
from blockmerge.kernels.signs import add_up


def task_arithmetic(tensors: Tensors, setting: Setting) -> Tensor:
    """base + lambda × Σ weight × (model − base), of any shape.

    Source: Ilharco et al. 2022, Editing models with task arithmetic, arXiv:2212.04089, section 2.
    """
    return add_up(tensors[0], differences(tensors), setting)


KERNEL = Kernel(task_arithmetic, is_pointwise=True)
