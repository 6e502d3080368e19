"""A limit on this process's memory, on systems that have one."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


def limit_memory(more: int) -> None:
    """Let this process hold that many bytes of addresses more than it does now: beyond it, MemoryError."""
    _limit(psutil.Process().memory_info().vms + more)


@contextmanager
def limited_memory(more: int) -> Iterator[None]:
    """`limit_memory` for a block."""
    if sys.platform != "linux":
        yield
        return
    import resource

    before, _ = resource.getrlimit(resource.RLIMIT_AS)
    limit_memory(more)
    try:
        yield
    finally:
        _limit(before)


def _limit(nbytes: int) -> None:
    # Windows has no such limit, and macOS has it in name only.
    if sys.platform == "linux":
        import resource

        # The soft one: the hard one could never be raised again.
        resource.setrlimit(resource.RLIMIT_AS, (nbytes, resource.getrlimit(resource.RLIMIT_AS)[1]))
