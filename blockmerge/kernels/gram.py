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
    rows = [[float(torch.dot(x, y)) if i <= j else 0.0 for j, y in enumerate(vectors)] for i, x in enumerate(vectors)]
    upper = torch.tensor(rows, dtype=torch.float64)
    return upper + upper.triu(1).T


GRAM = Measure(_products)


def cosine(gram: Tensor, i: int, j: int) -> float:
    """Of the angle between two of the tensors; 0 where one of them is 0."""
    scale = math.sqrt(float(gram[i, i]) * float(gram[j, j]))
    return max(-1.0, min(1.0, float(gram[i, j]) / scale)) if scale > 0 else 0.0
