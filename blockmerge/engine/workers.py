"""The threads of a merge: each takes a chunk, reads it into its own buffers, computes, writes and digests it."""

import mmap
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import Event, Lock

import torch
import xxhash
from torch import Tensor

from blockmerge.checkpoints.files import read_into, write_all
from blockmerge.core.plan import Action
from blockmerge.core.tensors import DType
from blockmerge.engine.chunks import CHUNK, Chunk
from blockmerge.kernels import KERNELS

TORCH_DTYPES: Mapping[DType, torch.dtype] = {
    DType.FLOAT32: torch.float32,
    DType.FLOAT16: torch.float16,
    DType.BFLOAT16: torch.bfloat16,
}
_WIDEST = 2  # a float32 source of a 16-bit result needs twice the bytes of its chunk


@dataclass(slots=True)
class Tally:
    """What the workers have done so far; guarded by `lock`."""

    lock: Lock = field(default_factory=Lock)
    done: int = 0
    digests: dict[tuple[str, int], bytes] = field(default_factory=dict)
    nonfinite: dict[str, int] = field(default_factory=dict)
    last: Chunk | None = None


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """File descriptors: inputs by (model key, shard name), outputs by shard name."""

    inputs: Mapping[tuple[str, str], int]
    outputs: Mapping[str, int]


class Crew:
    """Worker threads over one iterable of chunks. An error in one stops them all and is raised by `wait`."""

    def __init__(self, chunks: Iterable[Chunk], files: OpenFiles, method: str) -> None:
        self.tally = Tally()
        self._chunks = iter(chunks)
        self._files = files
        self._kernel = KERNELS[method]
        self._stop = Event()
        self._work: list[Future[None]] = []

    def start(self, pool: ThreadPoolExecutor, threads: int) -> None:
        # The workers are the parallelism; torch's own threads would only fight them for the same cores.
        torch.set_num_threads(1)
        self._work = [pool.submit(self._run) for _ in range(threads)]

    def stop(self) -> None:
        self._stop.set()

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds`; True when all have ended. Raises the first error of any worker."""
        done, running = wait(self._work, timeout=seconds, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
        return not running

    def _take(self) -> Chunk | None:
        with self.tally.lock:
            return None if self._stop.is_set() else next(self._chunks, None)

    def _run(self) -> None:
        bench = _Bench(self._kernel)
        try:
            while (chunk := self._take()) is not None:
                self._finish(bench, chunk)
        finally:
            self._stop.set()

    def _finish(self, bench: "_Bench", chunk: Chunk) -> None:
        result, nonfinite = bench.compute(chunk, self._files.inputs)
        write_all(self._files.outputs[chunk.file], result, chunk.offset)
        digests: dict[tuple[str, int], bytes] = {}
        start = 0
        for piece in chunk.pieces:
            digests[piece.name, piece.block] = xxhash.xxh3_128_digest(result[start : start + piece.nbytes])
            start += piece.nbytes
        with self.tally.lock:
            self.tally.done += chunk.nbytes
            self.tally.digests |= digests
            self.tally.last = chunk
            for name, count in nonfinite.items():
                self.tally.nonfinite[name] = self.tally.nonfinite.get(name, 0) + count


class _Bench:
    """One worker's buffers, made once and reused: two reads of a chunk; the kernel's result is a third."""

    def __init__(self, kernel: Callable[[Tensor, Tensor, float], Tensor]) -> None:
        self._kernel = kernel
        self._buffers = [memoryview(mmap.mmap(-1, CHUNK * _WIDEST)) for _ in range(2)]

    def compute(self, chunk: Chunk, inputs: Mapping[tuple[str, str], int]) -> tuple[memoryview, Mapping[str, int]]:
        """The chunk's bytes, and per tensor how many values came out as NaN or Inf that were not copied as such."""
        views = [buffer[: source.nbytes] for buffer, source in zip(self._buffers, chunk.sources, strict=False)]
        for view, source in zip(views, chunk.sources, strict=True):
            read_into(inputs[source.file], view, source.offset)
        if chunk.action is Action.COPY:
            return views[0], {}
        tensors = [
            torch.frombuffer(view, dtype=TORCH_DTYPES[source.dtype])
            for view, source in zip(views, chunk.sources, strict=True)
        ]
        target = TORCH_DTYPES[chunk.dtype]
        if any(tensor.dtype is not target for tensor in tensors):
            tensors = [tensor.float() for tensor in tensors]
        result = self._combine(tensors, chunk).to(target)
        if _is_finite(result):
            return _bytes_of(result), {}
        # Inf − Inf is NaN, but what both models hold alike is copied, so it stays and is nobody's fault.
        alike = _alike(tensors[0], tensors[-1])
        result = torch.where(alike, tensors[0].to(target), result)
        bad = ~torch.isfinite(result) & ~(alike & ~torch.isfinite(tensors[0]))
        return _bytes_of(result), _count(bad, chunk)

    def _combine(self, tensors: Sequence[Tensor], chunk: Chunk) -> Tensor:
        if chunk.action is Action.CAST:
            return tensors[0]
        return self._kernel(tensors[0], tensors[1], chunk.weight)


def _bytes_of(tensor: Tensor) -> memoryview:
    return tensor.view(torch.uint8).numpy().data


def _is_finite(tensor: Tensor) -> bool:
    low, high = torch.aminmax(tensor)  # NaN and Inf both show here, at a fraction of isfinite's cost
    return bool(torch.isfinite(low) and torch.isfinite(high))


def _alike(a: Tensor, b: Tensor) -> Tensor:
    """Where both have the same bits, the same NaN among them."""
    width = a.element_size()
    a_bytes, b_bytes = (tensor.view(torch.uint8).view(-1, width) for tensor in (a, b))
    return (a_bytes == b_bytes).all(dim=1)


def _count(bad: Tensor, chunk: Chunk) -> Mapping[str, int]:
    """How many elements of each tensor in the chunk are bad."""
    counts: dict[str, int] = {}
    start = 0
    for piece in chunk.pieces:
        elements = piece.nbytes * 8 // chunk.dtype.bits
        count = int(bad[start : start + elements].sum())
        start += elements
        if count:
            counts[piece.name] = counts.get(piece.name, 0) + count
    return counts
