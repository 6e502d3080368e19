"""The number at an exact place in sorted order, without sorting: a histogram of the upper bits, then one of the lower.

For float32 numbers of no sign, whose bits, read as whole numbers, are in the same order. Two passes over a tensor and
up to half a megabyte for each place; exact, unlike a histogram of values, and independent of how the tensor is cut.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

UPPER = 1 << 15  # the sign is 0
LOWER = 1 << 16
_FEW = 1 / 32  # of a tensor's numbers: so many are told sooner one by one than as a histogram that is mostly 0


def count_upper(magnitudes: Tensor) -> Tensor:
    """int64 counts of the upper 16 bits. Overwrites the numbers."""
    return torch.bincount(magnitudes.view(torch.int32).flatten().bitwise_right_shift_(16), minlength=UPPER)


def find_upper(counts: Tensor, ranks: Sequence[int]) -> Tensor:
    """For each place in ascending order, from 0: which upper bits lie there, and the place among the numbers that have
    these. int64, one row per place."""
    ends = counts.cumsum(0)
    wanted = torch.tensor(ranks)
    upper = torch.searchsorted(ends, wanted, right=True)
    return torch.stack([upper, wanted - (ends[upper] - counts[upper])], dim=1)


def count_lower(magnitudes: Sequence[Tensor], places: Tensor) -> Tensor:
    """How many of the numbers whose upper bits `find_upper` found have which lower 16 bits.

    The first places are those of the first tensor, as many those of the next. int64 counts, 2¹⁶ for each place; on the
    processors sparse where few numbers have such upper bits, as nearly always.
    """
    wanted = places[:, 0].view(len(magnitudes), -1).tolist()
    picked = [lower for tensor, uppers in zip(magnitudes, wanted, strict=True) for lower in _lower(tensor, uppers)]
    if not picked[0].is_cpu or sum(lower.numel() for lower in picked) > _FEW * magnitudes[0].numel():
        return torch.cat([torch.bincount(lower, minlength=LOWER) for lower in picked])
    found = torch.cat([lower.add_(row * LOWER) for row, lower in enumerate(picked)])
    ones = torch.ones(len(found), dtype=torch.int64)
    return torch.sparse_coo_tensor(found.view(1, -1), ones, (len(places) * LOWER,), check_invariants=False)


def _lower(magnitudes: Tensor, uppers: Sequence[int]) -> Iterator[Tensor]:
    """For each of these upper bits the lower ones of the numbers that have them, int32."""
    bits = magnitudes.view(torch.int32).flatten()
    if bits.is_cpu:  # there numpy picks out numbers by a mask eight times as fast as torch
        numbers = bits.numpy()
        for upper in uppers:
            first = upper * LOWER
            found = numbers[(numbers >= first) & (numbers <= first + LOWER - 1)]
            yield torch.from_numpy(found & LOWER - 1)
    else:
        yield from (bits[bits >> 16 == upper] & LOWER - 1 for upper in uppers)


def find_values(counts: Tensor, places: Tensor) -> Tensor:
    """The float32 number at each place, from the total of what `count_lower` gave."""
    counts = counts.view(len(places), LOWER)
    lower = torch.searchsorted(counts.cumsum(1), places[:, 1:].contiguous(), right=True)[:, 0]
    return ((places[:, 0] << 16) | lower).to(torch.int32).view(torch.float32)
