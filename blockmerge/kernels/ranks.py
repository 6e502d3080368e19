"""The number at an exact place in sorted order, without sorting: a histogram of the upper bits, then one of the lower.

For float32 numbers of no sign, whose bits, read as whole numbers, are in the same order. Two passes over a tensor and
up to half a megabyte for each place; exact, unlike a histogram of values, and independent of how the tensor is cut.

Of a large tensor a sample says near which bits the place is. Then one pass over the whole is enough, which counts these
bits. If the place is not among them, what was counted says where to look again; the two passes are the last resort.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blockmerge.kernels.kernel import Measure, Setting, Tensors

UPPER = 1 << 15  # the sign is 0
LOWER = 1 << 16
# Bits that are near enough to be counted in one pass: those of numbers that differ by 2 to 5 %.
NEAR = 6 * LOWER
LARGE = 1 << 21  # elements, of which a sample is large enough
_FEW = 1 / 32  # of a tensor's numbers: so many are told sooner one by one than as a histogram that is mostly 0
_MOST = 1 << 31  # elements that counts of 32 bits can tell
_THIN = 4  # of a sample every fourth number is looked at, as its rows differ more than neighbours do

Magnitudes = Callable[[Tensors], Sequence[Tensor]]  # of no sign, written over the models
Ranks = Callable[[Setting], Sequence[int]]  # places in ascending order, from 0


def passes(magnitudes: Magnitudes, ranks: Ranks) -> tuple[Measure, Measure]:
    """What finds the numbers at these places of each of the magnitudes; the last statistic has them one by one."""
    return (
        Measure(
            lambda tensors, _: torch.stack([count_upper(tensor) for tensor in magnitudes(tensors)]),
            lambda counts, setting: torch.cat([find_upper(row, ranks(setting)) for row in counts]),
        ),
        Measure(
            lambda tensors, setting: count_lower(magnitudes(tensors), setting.statistics[-1]),
            lambda counts, setting: find_values(counts, setting.statistics[-1]),
        ),
    )


def passes_by_sample(magnitudes: Magnitudes, ranks: Ranks, elements: int) -> tuple[Measure, ...]:
    """As `passes`, for a tensor of so many elements, whose magnitudes depend on one element each.

    The sample's pass must be the first of all. A pass that finds the places near where they should be tells how far off
    the sample is there, so another one looks where they must be then; only then come the passes that look everywhere.
    """
    upper, lower = passes(magnitudes, ranks)
    if not LARGE <= elements < _MOST:
        return upper, lower

    def begins(counts: Tensor, setting: Setting) -> Tensor:
        rows = [find_near(row, [rank * int(row.sum()) // elements for rank in ranks(setting)]) for row in counts]
        return torch.cat([counts, torch.stack(rows)], dim=1)

    def near(tensors: Tensors, setting: Setting) -> Tensor:
        return count_near(magnitudes(tensors), setting.statistics[-1][:, -len(ranks(setting)) :])

    def values(counts: Tensor, setting: Setting) -> Tensor:
        return find_near_values(counts, setting.statistics[-1][:, -len(ranks(setting)) :], ranks(setting))

    def values_or_begins(counts: Tensor, setting: Setting) -> Tensor:
        found, sample = values(counts, setting), setting.statistics[0]
        if not (found < 0).any():
            return found
        return find_near_again(counts, sample[:, UPPER:], sample[:, :UPPER], ranks(setting), elements)

    return (
        Measure(lambda tensors, setting: upper.part([tensor[::_THIN] for tensor in tensors], setting), begins, True),
        Measure(near, values_or_begins),
        Measure(near, values, needed=lambda setting: not setting.statistics[1].is_floating_point()),
        replace(upper, needed=lambda setting: bool((setting.statistics[2] < 0).any())),
        replace(lower, needed=lambda setting: bool((setting.statistics[2] < 0).any())),
    )


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


def find_near(counts: Tensor, places: Sequence[int]) -> Tensor:
    """For each place in a sample the first of the NEAR bits in whose middle it is, from its `count_upper`. int64."""
    most = int(counts.sum()) - 1
    upper = find_upper(counts, [min(max(place, 0), most) for place in places])[:, 0]
    return (upper * LOWER + (LOWER - NEAR) // 2).clamp(0, UPPER * LOWER - NEAR)


def count_near(magnitudes: Sequence[Tensor], begins: Tensor) -> Tensor:
    """How many numbers have which of the NEAR bits from each begin on, and behind these how many have lower ones.

    One row of begins for each tensor. int32 counts, NEAR + 1 for each begin; on the processors sparse.
    """
    bits = [tensor.view(torch.int32).flatten() for tensor in magnitudes]
    found = [(held, begin) for held, row in zip(bits, begins.tolist(), strict=True) for begin in row]
    if not bits[0].is_cpu:
        return torch.cat([_near_counts(held - begin) for held, begin in found])
    near = [_near(held.numpy(), begin, row * (NEAR + 1)) for row, (held, begin) in enumerate(found)]
    places = np.concatenate([places for places, _ in near])
    counts = np.ones(len(places), np.int32)
    counts[np.cumsum([len(places) for places, _ in near]) - 1] = [below for _, below in near]
    size = len(near) * (NEAR + 1)
    return torch.sparse_coo_tensor(
        torch.from_numpy(places).view(1, -1), torch.from_numpy(counts), (size,), check_invariants=False
    )


def _near_counts(behind: Tensor) -> Tensor:
    near = torch.bincount(behind[(behind >= 0) & (behind < NEAR)], minlength=NEAR)
    return torch.cat([near, (behind < 0).sum().view(1)]).int()


def _near(bits: NDArray[np.int32], begin: int, row: int) -> tuple[NDArray[np.int32], int]:
    """Where in a row that begins at `row` the bits belong that are near, with the place of all lower ones behind them;
    and how many these are. numpy picks out numbers three times as fast as torch."""
    is_lower, is_near = bits < begin, bits < begin + NEAR
    is_near ^= is_lower
    found = np.flatnonzero(is_near)
    places = np.empty(len(found) + 1, np.int32)
    np.subtract(bits[found], begin - row, out=places[:-1])
    places[-1] = row + NEAR
    return places, int(np.count_nonzero(is_lower))


def find_near_values(counts: Tensor, begins: Tensor, ranks: Sequence[int]) -> Tensor:
    """The float32 numbers at these places of each tensor, from the total of what `count_near` gave; -1 for one that is
    not near."""
    rows = counts.view(*begins.shape, NEAR + 1)
    bits = [
        _near_bits(row, begin, rank)
        for of_tensor, own in zip(rows, begins.tolist(), strict=True)
        for row, begin, rank in zip(of_tensor, own, ranks, strict=True)
    ]
    found = torch.tensor(bits, dtype=torch.int32)
    return found.view(torch.float32).masked_fill(found < 0, -1)


def find_near_again(near: Tensor, begins: Tensor, samples: Tensor, ranks: Sequence[int], elements: int) -> Tensor:
    """Where `count_near` should begin where it missed a place: beyond its own begin, or end, by as much as the sample
    needs for the numbers that are missing in truth. int64, a row for each tensor."""
    rows = [
        [
            _begin_again(held, begin, rank, sample, elements)
            for held, begin, rank in zip(counts, own, ranks, strict=True)
        ]
        for counts, own, sample in zip(near.view(*begins.shape, NEAR + 1), begins.tolist(), samples, strict=True)
    ]
    return torch.tensor(rows)


def _begin_again(counts: Tensor, begin: int, rank: int, sample: Tensor, elements: int) -> int:
    below = int(counts[NEAR])
    until = below + int(counts[:NEAR].sum())
    if below <= rank < until:
        return begin
    edge, known = (begin, below) if rank < below else (begin + NEAR, until)
    missing = (rank - known) * int(sample.sum()) / elements
    return int(find_near(sample, [int(_count_below(sample, edge) + missing)]))


def _count_below(counts: Tensor, bits: int) -> float:
    """About how many of a sample are below these bits, from its `count_upper`."""
    upper, lower = divmod(min(bits, UPPER * LOWER - 1), LOWER)
    return int(counts[:upper].sum()) + int(counts[upper]) * lower / LOWER


def _near_bits(counts: Tensor, begin: int, rank: int) -> int:
    """Or -1. LOWER by LOWER, so that no sums as large as the counts are made."""
    place = rank - int(counts[NEAR])
    if place < 0:
        return -1
    for block in counts[:NEAR].view(-1, LOWER):
        inside = int(block.sum())
        if place < inside:
            return begin + int(torch.searchsorted(block.cumsum(0), place, right=True))
        begin, place = begin + LOWER, place - inside
    return -1
