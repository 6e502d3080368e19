"""The arc between two tensors: mergekit's `slerp`."""

import math

import torch
from torch import Tensor

from blockmerge.kernels.gram import GRAM, cosine
from blockmerge.kernels.kernel import Kernel, Setting, Tensors

PARALLEL = 0.9995  # a cosine beyond which the arc is taken as straight, as in mergekit


def slerp(tensors: Tensors, setting: Setting) -> Tensor:
    """sin((1 − w)θ)/sin θ × a + sin(wθ)/sin θ × b, where θ is the angle between a and b, each taken as one vector.

    Any shape. Parallel and zero tensors have no arc: there it is linear. mergekit's angle differs in its last bits, as
    it adds the products up in another order. Source: Shoemake 1985, section 3.3, Slerp(q1, q2; u).
    """
    a, b = tensors
    weight, cos = setting.weights[1], cosine(setting.statistics[0], 0, 1)
    if abs(cos) > PARALLEL or float(setting.statistics[0].diagonal().min()) == 0:
        return torch.lerp(a, b, weight)
    angle = math.acos(cos)
    shares = [math.sin(part * angle) / math.sin(angle) for part in (1 - weight, weight)]
    return b.mul_(shares[1]).add_(a, alpha=shares[0])


KERNEL = Kernel(slerp, lambda _: (GRAM,))
