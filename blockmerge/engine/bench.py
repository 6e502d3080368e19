"""What one worker does with a chunk: reads it into its own buffers, and measures or computes it at its station."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from blockmerge.engine.stations import PROCESSORS, Device, Processors, Station
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


@dataclass(slots=True)
class _Slot:
    """Buffers for one chunk: for every source its bytes, and a result."""

    make: Callable[[], Buffer]
    sources: list[Buffer] = field(default_factory=list)
    result: Buffer = field(init=False)

    def __post_init__(self) -> None:
        self.result = self.make()

    def source(self, index: int) -> Buffer:
        while len(self.sources) <= index:
            self.sources.append(self.make())
        return self.sources[index]


@dataclass(frozen=True, slots=True)
class Begun:
    """A chunk that is computed: `result` is whole once `arrive` has returned, `tensors` are what it is made from.

    `vanished` are the values, slice by slice, that became 0.
    """

    chunk: Chunk
    slot: _Slot
    station: Station
    tensors: Sequence[Tensor]
    result: Tensor
    arrive: Callable[[], None]
    vanished: Sequence[Tensor] = ()


class Bench:
    """One worker's buffers: a slot for every chunk that may be begun, and the float32 numbers of a slice."""

    def __init__(self, kernel: Kernel, inputs: Mapping[tuple[str, str], int], device: Device = PROCESSORS) -> None:
        self._kernel = kernel
        self._inputs = inputs
        self._station = device.station()
        self._slice = device.grain.slice if device.grain else None
        with self._station.at_work():
            self._slots = deque(_Slot(self._station.buffer) for _ in range(self.waiting + 1))
        self._floats: list[Buffer] = []

    @property
    def waiting(self) -> int:
        """How many chunks may be begun and not finished when the next one comes."""
        return self._station.waiting

    def measure(self, chunk: Chunk, setting: Setting, number: int) -> Sequence[Tensor]:
        """The parts of one pass over a chunk, a part for each slice."""
        measure, station = self._kernel.measures(setting)[number], self._station
        with station.at_work():
            tensors = station.bring(self._read_tensors(chunk, self._slots[0]))
            setting = replace(setting, start=chunk.start)
            return [measure.part(part, now).cpu() for part, now in self._slices(tensors, chunk, setting)]

    def begin(self, chunk: Chunk, setting: Setting | None) -> Begun | memoryview:
        """Compute a chunk, or begin to; the bytes of one that is only copied."""
        slot = self._slots[0]
        self._slots.rotate(-1)
        if chunk.action is Action.COPY:
            return self._read(chunk, slot)[0]
        # Without a setting the numbers are only rounded, for which no GPU is worth the way.
        station = self._station if setting else Processors()
        with station.at_work():
            return self._computed(chunk, setting, slot, station)

    def finish(self, begun: Begun) -> tuple[memoryview, Odd]:
        """The chunk's bytes, and how many values are NaN or Inf that were not copied as such, or became 0."""
        chunk, tensors, result = begun.chunk, begun.tensors, begun.result
        with begun.station.at_work():
            begun.arrive()
            odd = count(torch.cat(list(begun.vanished)), chunk, TOO_SMALL) if begun.vanished else {}
        if _is_finite(result):
            return _bytes_of(result), odd
        if result is tensors[0]:
            result = begun.slot.result.tensor(chunk.nbytes, _torch(chunk)).copy_(result)
        result, nonfinite = settle_nonfinite(self._read_tensors(chunk, begun.slot), result, chunk)
        return _bytes_of(result), odd | nonfinite

    def _computed(self, chunk: Chunk, setting: Setting | None, slot: _Slot, station: Station) -> Begun:
        read = self._read_tensors(chunk, slot)
        tensors = station.bring(read)
        pair_into = self._kernel.pair_into
        vanished: Sequence[Tensor] = ()
        has_own_dtype = [tensor.dtype is _torch(chunk) for tensor in tensors]
        # In place where it can be, as less memory is quicker.
        result = tensors[0] if has_own_dtype[0] else station.room(slot.result, chunk.nbytes, _torch(chunk))
        if setting and pair_into and len(tensors) == 2 and all(has_own_dtype):
            pair_into(tensors, setting, result)
        else:
            vanished = self._blend(tensors, chunk, setting, result)
        home, arrive = station.send_home(result, slot.result)
        return Begun(chunk, slot, station, read, home, arrive, vanished)

    def _blend(
        self, tensors: Sequence[Tensor], chunk: Chunk, setting: Setting | None, result: Tensor
    ) -> Sequence[Tensor]:
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
        return vanished

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
        for part, now in slices(seen, setting, chunk.scope, self._slice):
            yield self._as_floats(part), now

    def _as_floats(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """In one go, as each call of torch waits for Python's lock when it returns."""
        floats = [self._floats_of(index, tensor) for index, tensor in enumerate(tensors)]
        wanted = [(own, tensor) for own, tensor in zip(floats, tensors, strict=True) if own is not tensor]
        if wanted:
            torch._foreach_copy_([own for own, _ in wanted], [tensor for _, tensor in wanted])
        return floats

    def _floats_of(self, index: int, tensor: Tensor) -> Tensor:
        """Room for a tensor's numbers in float32: itself, where these are."""
        if tensor.dtype is torch.float32:
            return tensor
        while len(self._floats) <= index:
            self._floats.append(Buffer())
        return self._station.room(self._floats[index], 4 * tensor.numel(), torch.float32).view(tensor.shape)

    def _read(self, chunk: Chunk, slot: _Slot) -> list[memoryview]:
        views = [slot.source(index).bytes(source.nbytes) for index, source in enumerate(chunk.sources)]
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

    def _read_tensors(self, chunk: Chunk, slot: _Slot) -> list[Tensor]:
        self._read(chunk, slot)
        return [
            buffer.tensor(source.nbytes, TORCH_DTYPES[source.dtype])
            for buffer, source in zip(slot.sources, chunk.sources, strict=False)
        ]


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
