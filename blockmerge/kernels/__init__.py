"""One pure function per merge method, found by the method's name."""

from collections.abc import Callable, Mapping

from torch import Tensor

from blockmerge.kernels.linear import linear

KERNELS: Mapping[str, Callable[[Tensor, Tensor, float], Tensor]] = {"linear": linear}
