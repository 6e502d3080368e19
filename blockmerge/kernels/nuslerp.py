"""The arc between two tensors or between two differences, whole, by row or by column: mergekit's `nuslerp`."""

import torch
from torch import Tensor

from blockmerge.kernels.gram import GRAM
from blockmerge.kernels.kernel import Kernel, Measure, Setting, Tensors, split_base


def nuslerp(tensors: Tensors, setting: Setting) -> Tensor:
    """As `slerp`, of the models or, with a base, of their differences from it, which are then added to it.

    With `nuslerp_flatten` (the default) each tensor is one vector, of any shape. Without it each row is one, and with
    `nuslerp_row_wise` as well each vector runs along the first dimension, which needs the whole tensor. Parallel and
    zero vectors have no arc: there it is linear. Source: mergekit's description of the method.
    """
    base, (a, b) = split_base(tensors, setting)
    weight = setting.weights[1]
    if setting.parameters["nuslerp_flatten"]:
        gram = setting.statistics[0]
        result = _arc(a, b, weight, _cosine(gram[0, 0], gram[1, 1], gram[0, 1]))
    elif setting.parameters["nuslerp_row_wise"] and a.dim() > 1:
        result = _arc_of_rows(a.transpose(0, -1), b.transpose(0, -1), weight).transpose(0, -1)
    else:
        result = _arc_of_rows(a, b, weight)
    return result if base is None else base + result


def _arc_of_rows(a: Tensor, b: Tensor, weight: float) -> Tensor:
    aa, bb, ab = ((x * y).sum(-1, keepdim=True, dtype=torch.float64) for x, y in ((a, a), (b, b), (a, b)))
    return _arc(a, b, weight, _cosine(aa, bb, ab))


def _cosine(aa: Tensor, bb: Tensor, ab: Tensor) -> Tensor:
    """1, so that the way is straight, where one of the two is 0."""
    scale = (aa * bb).sqrt()
    return torch.where(scale > 0, ab / scale.clamp_min(1e-300), 1.0).clamp(-1, 1)


def _arc(a: Tensor, b: Tensor, weight: float, cos: Tensor) -> Tensor:
    angle = cos.acos()
    sine = angle.sin()
    has_arc = sine > 1e-7
    own = torch.where(has_arc, ((1 - weight) * angle).sin() / sine.clamp_min(1e-300), 1 - weight)
    other = torch.where(has_arc, (weight * angle).sin() / sine.clamp_min(1e-300), weight)
    arc = a * own.to(a.dtype) + b * other.to(b.dtype)
    return torch.where(has_arc, arc, torch.lerp(a, b, weight))


def _measures(setting: Setting) -> tuple[Measure, ...]:
    return (GRAM,) if setting.parameters["nuslerp_flatten"] else ()


KERNEL = Kernel(nuslerp, _measures)
