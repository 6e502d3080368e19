"""What one worker does with a chunk: reads it into its own buffers, and measures or computes it there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blockmerge.checkpoints.files import read_into
from blockmerge.core.plan import Action
from blockmerge.core.tensors import DType
from blockmerge.engine.buffers import Buffer
from blockmerge.engine.chunks import Chunk, FileRange
from blockmerge.engine.odd_values import TOO_SMALL, Odd, count, settle_nonfinite
from blockmerge.kernels.in_memory import combine, seen_as, slices
from blockmerge.kernels.kernel import Kernel, Setting

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
        self._sources: list[Buffer] = []
        self._floats: list[Buffer] = []
        self._result = Buffer()

    def measure(self, chunk: Chunk, setting: Setting, number: int) -> Sequence[Tensor]:
        """The parts of one pass over a chunk, a part for each slice."""
        measure = self._kernel.measures(setting)[number]
        tensors = self._read_tensors(chunk)
        setting = replace(setting, start=chunk.start)
        return [measure.part(part, now) for part, now in self._slices(tensors, chunk, setting)]

    def compute(self, chunk: Chunk, setting: Setting | None) -> tuple[memoryview, Odd]:
        """The chunk's bytes, and how many values are NaN or Inf that were not copied as such, or became 0."""
        if chunk.action is Action.COPY:
            return self._read(chunk)[0], {}
        tensors = self._read_tensors(chunk)
        pair_into, odd = self._kernel.pair_into, {}
        if setting and pair_into and len(tensors) == 2 and all(tensor.dtype is _torch(chunk) for tensor in tensors):
            result = tensors[0]  # in place, as less memory is quicker
            pair_into(tensors, setting, result)
        else:
            result = self._result.tensor(chunk.nbytes, _torch(chunk))
            odd = self._blend(tensors, chunk, setting, result)
        if _is_finite(result):
            return _bytes_of(result), odd
        if result is tensors[0]:
            result = self._result.tensor(chunk.nbytes, _torch(chunk)).copy_(result)
            tensors = self._read_tensors(chunk)
        result, nonfinite = settle_nonfinite(tensors, result, chunk)
        return _bytes_of(result), odd | nonfinite

    def _blend(
        self, tensors: Sequence[Tensor], chunk: Chunk, setting: Setting | None, result: Tensor
    ) -> dict[tuple[str, str], int]:
        """Fill `result`; what of it became 0, where float16 is written that was none before."""
        may_vanish = chunk.dtype is DType.FLOAT16 and any(source.dtype is not chunk.dtype for source in chunk.sources)
        vanished: list[Tensor] = []
        begin = 0
        for part in self._blended(tensors, chunk, setting):
            end = begin + part.numel()
            result[begin:end] = part
            if may_vanish:
                vanished.append((result[begin:end] == 0) & (part != 0))
            begin = end
        return count(torch.cat(vanished), chunk, TOO_SMALL) if vanished else {}

    def _blended(self, tensors: Sequence[Tensor], chunk: Chunk, setting: Setting | None) -> Iterator[Tensor]:
        """The chunk's values in order, before they are rounded."""
        if setting is None:
            yield tensors[0]
            return
        strength = 1.0 if chunk.step.weights else chunk.weight
        for part, now in self._slices(tensors, chunk, replace(setting, start=chunk.start)):
            yield combine(self._kernel, part, now, strength).reshape(-1)

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
        floats = _nth(self._floats, index).tensor(4 * tensor.numel(), torch.float32)
        return floats.view(tensor.shape).copy_(tensor)

    def _read(self, chunk: Chunk) -> list[memoryview]:
        views = [_nth(self._sources, index).bytes(source.nbytes) for index, source in enumerate(chunk.sources)]
        for view, source in zip(views, chunk.sources, strict=True):
            self._fill(view, source)
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
        self._read(chunk)
        return [
            buffer.tensor(source.nbytes, TORCH_DTYPES[source.dtype])
            for buffer, source in zip(self._sources, chunk.sources, strict=False)
        ]


def _nth(buffers: list[Buffer], index: int) -> Buffer:
    while len(buffers) <= index:
        buffers.append(Buffer())
    return buffers[index]


def _torch(chunk: Chunk) -> torch.dtype:
    return TORCH_DTYPES[chunk.dtype]


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
