"""Memory that is made once, reused, and grows only for rows or tensors that need it."""

import torch
from torch import Tensor

SMALLEST = 1 << 20  # bytes: most chunks never need more


class Buffer:
    """Bytes on the processor, seen as a memoryview to read into and as numbers of any dtype to compute with."""

    def __init__(self) -> None:
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
        self._raw = torch.empty(nbytes, dtype=torch.uint8)
        self._view = self._raw.numpy().data
