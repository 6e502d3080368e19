"""Parts of files: what a merge reads of a file on the Hub, and how the Hub knows a file that it was given."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from blockmerge.core.hub_reference import HubReference

Span = tuple[int, int]  # the first byte, and the one behind the last

GAP = 256 * 2**10  # bytes between two spans that may be fetched with them: about what another request costs
WASTE = 0.01  # of the bytes that are needed
SCRATCH = 512 * 10**6  # bytes of parts that lie here at once
SMALLEST = 4 * 2**20  # bytes: a unit of less would be mostly requests


@dataclass(frozen=True, slots=True)
class Parts:
    """Spans of a file at a commit of the Hub, of `size` bytes, which are to lie at the same places of `path`."""

    reference: HubReference
    name: str
    size: int
    path: Path
    spans: tuple[Span, ...]

    @property
    def nbytes(self) -> int:
        return length(self.spans)


@dataclass(frozen=True, slots=True)
class Receipt:
    """A weight file that the Hub has, before a commit names it: its digest and, in hex, its first bytes."""

    name: str
    size: int
    sha256: str
    sample: str


def room_for_parts(shard: int) -> int:
    """The most bytes of parts that lie beside a shard of so many, unless a whole tensor must be there."""
    return min(SCRATCH, max(SMALLEST, shard * 9 // 10))


def length(spans: Iterable[Span]) -> int:
    return sum(end - start for start, end in spans)


def coalesce(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same bytes in fewer spans: those that touch are one, and small gaps, the smallest first, come along as long
    as they are little of the whole."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        elif end > start:
            joined.append((start, end))
    left = int(length(joined) * WASTE)
    filled: set[int] = set()
    for size, number in sorted((after[0] - before[1], number) for number, (before, after) in _pairs(joined)):
        if size <= min(GAP, left):
            left -= size
            filled.add(number)
    found: list[Span] = []
    for number, (start, end) in enumerate(joined):
        if number in filled:
            found[-1] = found[-1][0], end
        else:
            found.append((start, end))
    return tuple(found)


def _pairs(spans: list[Span]) -> Iterable[tuple[int, tuple[Span, Span]]]:
    """Neighbours, with the number of the second."""
    return enumerate(pairwise(spans), 1)
