"""What one worker computes on: buffers that are made once, reused, and grow only for rows or tensors that need it."""

import mmap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blockmerge.checkpoints.files import read_into
from blockmerge.core.plan import Action
from blockmerge.core.tensors import DType
from blockmerge.engine.chunks import CHUNK, Chunk, FileRange
from blockmerge.kernels.in_memory import combine, seen_as, slices
from blockmerge.kernels.kernel import SLICE, Kernel, Setting

TORCH_DTYPES: Mapping[DType, torch.dtype] = {
    DType.FLOAT32: torch.float32,
    DType.FLOAT16: torch.float16,
    DType.BFLOAT16: torch.bfloat16,
}
# How the bits of a dtype are read as whole numbers, with a sign and without, and those of its positive Inf.
_WHOLE_NUMBERS: Mapping[torch.dtype, tuple[torch.dtype, type[np.unsignedinteger[Any]], int]] = {
    torch.float32: (torch.int32, np.uint32, 0x7F800000),
    torch.float16: (torch.int16, np.uint16, 0x7C00),
    torch.bfloat16: (torch.int16, np.uint16, 0x7F80),
}


class Bench:
    """One worker's buffers: for every source the bytes of a chunk and the float32 numbers of a slice, and a result."""

    def __init__(self, kernel: Kernel, inputs: Mapping[tuple[str, str], int]) -> None:
        self._kernel = kernel
        self._inputs = inputs
        self._bytes: list[mmap.mmap] = []
        self._floats: list[Tensor] = []
        self._result = mmap.mmap(-1, CHUNK)

    def measure(self, chunk: Chunk, setting: Setting, number: int) -> Sequence[Tensor]:
        """The parts of one pass over a chunk, a part for each slice."""
        measure = self._kernel.measures(setting)[number]
        tensors = self._read_tensors(chunk)
        setting = replace(setting, start=chunk.start)
        return [measure.part(part, now) for part, now in self._slices(tensors, chunk, setting)]

    def compute(self, chunk: Chunk, setting: Setting | None) -> tuple[memoryview, Mapping[str, int]]:
        """The chunk's bytes, and per tensor how many values came out as NaN or Inf that were not copied as such."""
        if chunk.action is Action.COPY:
            return self._read(chunk)[0], {}
        tensors = self._read_tensors(chunk)
        result = self._result_of(chunk)
        if setting is None:
            result.copy_(tensors[0])
        elif self._kernel.pair_into and len(tensors) == 2 and all(tensor.dtype is result.dtype for tensor in tensors):
            self._kernel.pair_into(tensors, setting, result)
        else:
            self._blend(tensors, chunk, setting, result)
        if _is_finite(result):
            return _bytes_of(result), {}
        return _settle_nonfinite(tensors, result, chunk)

    def _blend(self, tensors: Sequence[Tensor], chunk: Chunk, setting: Setting, result: Tensor) -> None:
        strength = 1.0 if chunk.step.weights else chunk.weight
        setting = replace(setting, start=chunk.start)
        begin = 0
        for part, now in self._slices(tensors, chunk, setting):
            end = begin + part[0].numel()
            result[begin:end] = combine(self._kernel, part, now, strength).reshape(-1)
            begin = end

    def _slices(
        self, tensors: Sequence[Tensor], chunk: Chunk, setting: Setting
    ) -> Iterator[tuple[list[Tensor], Setting]]:
        """The chunk's sources in float32, slice by slice, as the kernel sees them."""
        seen = [seen_as(tensor, chunk.scope, chunk.step.shape) for tensor in tensors]
        for part, now in slices(seen, setting, chunk.scope):
            yield [self._as_float(index, tensor) for index, tensor in enumerate(part)], now

    def _as_float(self, index: int, tensor: Tensor) -> Tensor:
        if tensor.dtype is torch.float32:
            return tensor
        while len(self._floats) <= index:
            self._floats.append(torch.empty(SLICE, dtype=torch.float32))
        if self._floats[index].numel() < tensor.numel():
            self._floats[index] = torch.empty(tensor.numel(), dtype=torch.float32)
        return self._floats[index][: tensor.numel()].view(tensor.shape).copy_(tensor)

    def _read(self, chunk: Chunk) -> list[memoryview]:
        views = []
        for index, source in enumerate(chunk.sources):
            if len(self._bytes) <= index:
                self._bytes.append(mmap.mmap(-1, CHUNK))
            if len(self._bytes[index]) < source.nbytes:
                self._bytes[index] = mmap.mmap(-1, source.nbytes)
            view = memoryview(self._bytes[index])[: source.nbytes]
            self._fill(view, source)
            views.append(view)
        return views

    def _fill(self, view: memoryview, source: FileRange) -> None:
        if not source.parts:
            read_into(self._inputs[source.file], view, source.offset)
            return
        start = 0
        for part in source.parts:
            if part.dtype is source.dtype:
                end = start + part.nbytes
                read_into(self._inputs[part.file], view[start:end], part.offset)
            else:
                end = start + part.nbytes * source.dtype.bits // part.dtype.bits
                raw = bytearray(part.nbytes)
                read_into(self._inputs[part.file], memoryview(raw), part.offset)
                tensor = torch.frombuffer(view[start:end], dtype=TORCH_DTYPES[source.dtype])
                tensor.copy_(torch.frombuffer(raw, dtype=TORCH_DTYPES[part.dtype]))
            start = end

    def _read_tensors(self, chunk: Chunk) -> list[Tensor]:
        return [
            torch.frombuffer(view, dtype=TORCH_DTYPES[source.dtype])
            for view, source in zip(self._read(chunk), chunk.sources, strict=True)
        ]

    def _result_of(self, chunk: Chunk) -> Tensor:
        if len(self._result) < chunk.nbytes:
            self._result = mmap.mmap(-1, chunk.nbytes)
        return torch.frombuffer(memoryview(self._result)[: chunk.nbytes], dtype=TORCH_DTYPES[chunk.dtype])


def _bytes_of(tensor: Tensor) -> memoryview:
    return tensor.view(torch.uint8).numpy().data


def _is_finite(tensor: Tensor) -> bool:
    """Whether there is no NaN and no Inf: these have the largest exponent, so their bits, read as whole numbers, are
    the largest of their sign. Two looks for a largest whole number cost a third of torch.aminmax.
    """
    signed, unsigned, smallest = _WHOLE_NUMBERS[tensor.dtype]
    bits = tensor.view(signed).numpy()
    # Read with a sign, the largest is a positive number if there is one; without, a negative one.
    return bool(bits.max() < smallest and bits.view(unsigned).max() < smallest + (1 << 8 * bits.itemsize - 1))


def _settle_nonfinite(tensors: Sequence[Tensor], result: Tensor, chunk: Chunk) -> tuple[memoryview, Mapping[str, int]]:
    """Inf − Inf is NaN, but what all models hold alike is copied, so it stays and is nobody's fault."""
    if any(tensor.dtype is not tensors[0].dtype for tensor in tensors):
        tensors = [tensor.float() for tensor in tensors]
    alike = _alike(tensors)
    if chunk.action is Action.BLEND:
        result = torch.where(alike, tensors[0].to(result.dtype), result)
    bad = ~torch.isfinite(result) & ~(alike & ~torch.isfinite(tensors[0]))
    return _bytes_of(result), _count(bad, chunk)


def _alike(tensors: Sequence[Tensor]) -> Tensor:
    """Where all have the same bits, the same NaN among them."""
    width = tensors[0].element_size()
    first, *others = (tensor.view(torch.uint8).view(-1, width) for tensor in tensors)
    alike = torch.ones(len(first), dtype=torch.bool)
    for other in others:
        alike &= (first == other).all(dim=1)
    return alike


def _count(bad: Tensor, chunk: Chunk) -> Mapping[str, int]:
    """How many elements of each tensor in the chunk are bad."""
    if not chunk.pieces:
        return {chunk.step.name: count} if (count := int(bad.sum())) else {}
    counts: dict[str, int] = {}
    start = 0
    for piece in chunk.pieces:
        elements = piece.nbytes * 8 // chunk.dtype.bits
        count = int(bad[start : start + elements].sum())
        start += elements
        if count:
            counts[piece.name] = counts.get(piece.name, 0) + count
    return counts
