"""Where a worker thread computes: where its operands were read, or on a GPU that they are brought to.

The one seam between the two. A Bench asks its station for memory, brings operands there and sends results home.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from blockmerge.engine.buffers import Buffer
from blockmerge.engine.chunks import Grain
from blockmerge.errors import GpuError

# A GPU has thousands of cores to keep busy, and each of its kernels must be started: so it gets more at once.
COARSE = Grain(chunk=16 << 20, slice=1 << 23)


class Processors:
    """Everything stays where it was read."""

    waiting = 0

    def buffer(self) -> Buffer:
        return Buffer()

    def at_work(self) -> AbstractContextManager[None]:
        return nullcontext()

    def bring(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        return tensors

    def room(self, buffer: Buffer, nbytes: int, dtype: torch.dtype) -> Tensor:
        return buffer.tensor(nbytes, dtype)

    def send_home(self, result: Tensor, _: Buffer) -> tuple[Tensor, Callable[[], None]]:
        return result, _arrived


def _arrived() -> None:
    pass


class Gpu:
    """Operands go to a GPU and results come back by way of pinned memory, in a stream of their own.

    So while it computes, the thread reads the next chunk or writes the last one: `waiting` chunks may be begun beside
    the one at hand. Raises GpuError where the GPU has too little memory, or fails.
    """

    def __init__(self, device: torch.device, waiting: int = 1) -> None:
        self.waiting = waiting
        self._device = device
        self._module = torch.get_device_module(device)
        self._stream = self._module.Stream()

    def buffer(self) -> Buffer:
        return Buffer(pinned=self._device.type == "cuda")

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """What is done meanwhile is done in the stream, one thing after the other."""
        try:
            with self._module.stream(self._stream):
                yield
        except torch.OutOfMemoryError as error:
            raise GpuError(
                "The GPU has too little memory left for this merge. "
                "End what else uses it, or merge on the processors (device cpu)."
            ) from error
        except torch.AcceleratorError as error:
            raise GpuError(
                f"The GPU failed: {str(error).splitlines()[0]}. Merge again, or on the processors (device cpu)."
            ) from error

    def bring(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """Copies: what was read stays as it is, for whoever has to look at it again."""
        return [tensor.to(self._device, non_blocking=True, copy=True) for tensor in tensors]

    def room(self, _: Buffer, nbytes: int, dtype: torch.dtype) -> Tensor:
        return torch.empty(nbytes // dtype.itemsize, dtype=dtype, device=self._device)

    def send_home(self, result: Tensor, buffer: Buffer) -> tuple[Tensor, Callable[[], None]]:
        """Where the result will be, and what returns when it is there."""
        home = buffer.tensor(result.nbytes, result.dtype)
        home.copy_(result, non_blocking=True)
        event = self._module.Event()
        event.record()
        return home, event.synchronize


Station = Processors | Gpu


@dataclass(frozen=True, slots=True)
class Device:
    """What a merge is computed with: each of its threads gets a station of its own.

    `name` is that of the GPU, as its kind may decide the last bits; `grain` None that of the processors.
    """

    station: Callable[[], Station]
    grain: Grain | None = None
    name: str = ""


PROCESSORS = Device(Processors)
