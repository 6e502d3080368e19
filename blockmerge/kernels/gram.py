"""The inner products of all tensors with each other: all that the methods on the sphere need to know of them.

What these methods compute lies in the span of their inputs, so two passes are enough: products, then a combination.
"""

import math

import torch
from torch import Tensor

from blockmerge.kernels.kernel import Measure, Setting, Tensors, split_base


def _products(tensors: Tensors, setting: Setting) -> Tensor:
    """Each product in float32 over a slice; the slices are added up exactly."""
    _, vectors = split_base([tensor.flatten() for tensor in tensors], setting)
    count = len(vectors)
    found = {(i, j): float(torch.dot(vectors[i], vectors[j])) for i in range(count) for j in range(i, count)}
    rows = [[found[min(i, j), max(i, j)] for j in range(count)] for i in range(count)]
    return torch.tensor(rows, dtype=torch.float64)


GRAM = Measure(_products)


def cosine(gram: Tensor, i: int, j: int) -> float:
    """Of the angle between two of the tensors; 0 where one of them is 0."""
    scale = math.sqrt(float(gram[i, i]) * float(gram[j, j]))
    return max(-1.0, min(1.0, float(gram[i, j]) / scale)) if scale > 0 else 0.0
