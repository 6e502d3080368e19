"""Parts of files in few requests, and hardly more bytes than are needed."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from blockmerge.core.parts import GAP, WASTE, coalesce, length

SPANS = st.lists(st.tuples(st.integers(0, 10**8), st.integers(1, 10**7)).map(lambda pair: (pair[0], sum(pair))))


def test_what_touches_or_overlaps_is_one_span() -> None:
    assert coalesce([(10, 20), (0, 10), (15, 30), (40, 40)]) == ((0, 30),)


def test_small_gaps_come_along_the_smallest_first_as_long_as_they_are_little_of_the_whole() -> None:
    million = 10**6

    spans = coalesce([(0, million), (million + 18_000, 2 * million), (2 * million + 4_000, 2 * million + 100_000)])

    assert spans == ((0, million), (million + 18_000, 2 * million + 100_000))


def test_a_large_gap_is_never_fetched() -> None:
    large = 10**9

    assert coalesce([(0, large), (large + GAP + 1, 2 * large)]) == ((0, large), (large + GAP + 1, 2 * large))


@given(SPANS)
def test_all_that_is_needed_is_covered_in_order_with_little_else(spans: list[tuple[int, int]]) -> None:
    needed = length(_union(spans))

    found = coalesce(spans)

    assert all(any(start <= begin and end <= until for start, until in found) for begin, end in spans)
    assert all(one[1] < two[0] for one, two in pairwise(found))
    assert needed <= length(found) <= needed * (1 + WASTE)


def _union(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Without overlaps, by another way than the product's."""
    marks = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans], key=lambda m: (m[0], -m[1]))
    found, depth, begin = [], 0, 0
    for place, change in marks:
        if depth == 0:
            begin = place
        depth += change
        if depth == 0:
            found.append((begin, place))
    return found
