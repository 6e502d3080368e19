"""The mean on the sphere: mergekit's `karcher`."""

import torch
from torch import Tensor

from blockmerge.kernels.gram import GRAM
from blockmerge.kernels.kernel import Kernel, Measure, Setting, Tensors, affine


def karcher(tensors: Tensors, setting: Setting) -> Tensor:
    """The direction with the least sum of squared angles to all models, at the mean of their norms.

    Any shape; each tensor is one vector. Found by steps along the mean of the logarithms, at most `max_iter`, until one
    is shorter than `tol`; the steps are taken in the models' coefficients, in float64. A tensor shorter than `tol` has
    no direction and counts for the norm alone. Source: Karcher 1977, Riemannian center of mass and mollifier smoothing.
    """
    return affine(tensors, setting.statistics[0].tolist())


def _coefficients(gram: Tensor, setting: Setting) -> Tensor:
    tolerance = setting.number("tol")
    norms = gram.diagonal().sqrt()
    valid = norms > tolerance
    inverse = torch.where(valid, 1 / norms.clamp_min(1e-300), 0)
    count = int(valid.sum())
    if count == 0:
        return torch.zeros_like(norms)
    cosines = gram * inverse[:, None] * inverse[None, :]
    shares = valid.double() / count
    mean = _unit(shares, cosines, valid)
    for _ in range(int(setting.number("max_iter"))):
        step = _step(mean, cosines, shares, tolerance)
        length = _length(step, cosines)
        if length < tolerance:
            break
        mean = _unit(mean * length.cos() + step * (length.sin() / length), cosines, valid)
    return mean * inverse * norms.mean()


def _step(mean: Tensor, cosines: Tensor, shares: Tensor, tolerance: float) -> Tensor:
    """The mean of the logarithms of all directions at `mean`; every vector here is one of coefficients."""
    dots = (cosines @ mean).clamp(-1, 1)
    angles = dots.acos()
    # Opposite to the mean there is no logarithm, and at the mean it is 0.
    factors = torch.where((angles >= tolerance) & (angles.sin() > 1e-9), shares * angles / angles.sin(), 0)
    return factors - mean * (factors * dots).sum()


def _length(vector: Tensor, cosines: Tensor) -> Tensor:
    return (vector @ cosines @ vector).clamp_min(0).sqrt()


def _unit(vector: Tensor, cosines: Tensor, valid: Tensor) -> Tensor:
    """At length 1; directions that cancel out have the first of them as their mean."""
    length = _length(vector, cosines)
    if float(length) > 1e-9:
        return vector / length
    return torch.nn.functional.one_hot(valid.long().argmax(), len(valid)).to(vector.dtype)


KERNEL = Kernel(karcher, lambda _: (Measure(GRAM.part, _coefficients),))
