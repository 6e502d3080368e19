"""A whole merge of one tensor in memory: what the engine does in chunks, for live merging and as the tests' measure."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from blockmerge.core.method import Scope
from blockmerge.kernels.kernel import SLICE, Kernel, Setting, Tensors, conclude, sample_runs
from blockmerge.kernels.negative_zeros import find_negative_zeros, put_negative_zeros


def merge_tensors(kernel: Kernel, tensors: Tensors, setting: Setting, scope: Scope, strength: float = 1.0) -> Tensor:
    """The method's result for float32 tensors of one shape, blended into the first of them by `strength`."""
    shape = tensors[0].shape
    if tensors[0].numel() == 0:
        return tensors[0].clone()
    seen = [seen_as(tensor, scope, tuple(shape)) for tensor in tensors]
    measures = kernel.measures(setting)
    while len(setting.statistics) < len(measures):
        measure = measures[len(setting.statistics)]
        measured = [_sample(tensor) for tensor in seen] if measure.of_sample else seen
        # What is found is small, and concluded on the processors wherever the tensors are.
        parts = [measure.part(_copies(part), now).cpu() for part, now in slices(measured, setting, scope)]
        setting = conclude(measures, parts, setting)
    return combine(kernel, _copies(seen), setting, strength).view(shape)


def _copies(tensors: Tensors) -> Tensors:
    return [tensor.clone() for tensor in tensors]


def _sample(tensor: Tensor) -> Tensor:
    return torch.cat([tensor[run] for run in sample_runs(len(tensor))])


def combine(kernel: Kernel, tensors: Tensors, setting: Setting, strength: float) -> Tensor:
    """The method's result, blended into the first tensor by `strength`. It may write over the others."""
    negative_zeros = find_negative_zeros(tensors)
    result = kernel.combine(tensors, setting)
    if strength != 1:
        result = tensors[0].lerp(result, strength)
    put_negative_zeros(result, negative_zeros)
    return result


def seen_as(tensor: Tensor, scope: Scope, shape: tuple[int, ...]) -> Tensor:
    """A run of a tensor of this shape as a kernel of this scope sees it: flat, as rows, or as the whole that it is."""
    if scope is Scope.CHUNK:
        return tensor.view(-1)
    if scope is Scope.ROWS:
        return tensor.view(-1, row_length(shape))
    return tensor.view(shape)


def row_length(shape: tuple[int, ...]) -> int:
    return shape[-1] if shape else 1


def slices(
    tensors: Tensors, setting: Setting, scope: Scope, most: int | None = None
) -> Iterator[tuple[Tensors, Setting]]:
    """The runs in which a measure goes through a tensor: `most` elements (SLICE), or as many whole rows as fit, one at
    least."""
    if scope is Scope.TENSOR:
        yield tensors, setting
        return
    width = tensors[0].shape[-1] if scope is Scope.ROWS else 1
    count = max(1, (most or SLICE) // width)
    for start in range(0, tensors[0].shape[0], count):
        part = [tensor[start : start + count] for tensor in tensors]
        yield part, replace(setting, start=setting.start + start * width)
