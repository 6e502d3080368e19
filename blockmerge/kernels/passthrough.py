"""One model, as it is or scaled: mergekit's `passthrough`."""

from torch import Tensor

from blockmerge.kernels.kernel import Kernel, Setting, Tensors


def passthrough(tensors: Tensors, setting: Setting) -> Tensor:
    """scale × the model's tensor, of any shape. Source: mergekit's description of the method."""
    return tensors[0] * setting.number("scale")


KERNEL = Kernel(passthrough, is_pointwise=True)
