"""Memory that is made once, reused, and grows only for rows or tensors that need it."""

import ctypes
import sys

import torch
from torch import Tensor

SMALLEST = 1 << 20  # bytes: most chunks never need more
KEPT = 16 << 20  # bytes, for slices of numbers that a kernel makes
LARGE = 2 << 20  # bytes, of what is no slice and goes back, as it would leave gaps: tables, whole tensors
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # mallopt(3)


def keep_freed_memory() -> None:
    """Have glibc give what a kernel made and dropped to the next one, and not back to the system.

    By default it returns a megabyte as soon as it is free, and the system clears it page by page when it is asked for
    again: a third of the time of slerp, a fifth of that of ties. By default also what one thread gave back is of no use
    to the others: 10 MB of ties. Other C libraries do as they please.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, KEPT)
        mallopt(_MMAP_THRESHOLD, LARGE)
        mallopt(_ARENA_MAX, 1)


class Buffer:
    """Bytes on the processor, seen as a memoryview to read into and as numbers of any dtype to compute with.

    One that is `pinned` stays where it is in the machine's memory, so that a GPU fetches from it while others work.
    """

    def __init__(self, pinned: bool = False) -> None:
        self._pinned = pinned
        self._reserve(SMALLEST)

    def bytes(self, nbytes: int) -> memoryview:
        """The first so many bytes; views of a buffer that had to grow since keep the old bytes."""
        if nbytes > self._raw.numel():
            self._reserve(nbytes)
        return self._view[:nbytes]

    def tensor(self, nbytes: int, dtype: torch.dtype) -> Tensor:
        self.bytes(nbytes)
        return self._raw[:nbytes].view(dtype)

    def _reserve(self, nbytes: int) -> None:
        self._raw = torch.empty(nbytes, dtype=torch.uint8, pin_memory=self._pinned)
        self._view = self._raw.numpy().data
