from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from blockmerge.kernels.kernel import Setting, add_parts, conclude, sample_runs
from blockmerge.kernels.ranks import LARGE, count_lower, count_upper, find_upper, find_values, passes_by_sample

MAGNITUDES = st.lists(st.floats(0, 2.0**100, width=32), min_size=1, max_size=60)


@given(values=MAGNITUDES, picks=st.lists(st.floats(0, 1), min_size=1, max_size=4), cut=st.integers(0, 60))
def test_the_number_at_a_place_is_that_of_a_sort_however_the_tensor_is_cut(
    values: list[float], picks: list[float], cut: int
) -> None:
    tensor = torch.tensor(values)
    parts = [part for part in (tensor[:cut], tensor[cut:]) if part.numel()]
    ranks = sorted(int(pick * (len(values) - 1)) for pick in picks)

    places = find_upper(add_parts([count_upper(part.clone()) for part in parts]), ranks)
    found = find_values(add_parts([count_lower([part], places) for part in parts]), places)

    assert found.tolist() == tensor.sort().values[ranks].tolist()


@pytest.mark.parametrize("few_first", [True, False])
def test_slices_with_few_such_numbers_and_with_many_add_up(few_first: bool) -> None:
    scattered = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    alike = scattered[:100].median() + torch.arange(10_000) * 1e-7
    tensor = torch.cat([scattered, alike] if few_first else [alike, scattered])
    parts = tensor.split(5_000)
    ranks = [12_345, 15_000, 29_999]

    places = find_upper(add_parts([count_upper(part.clone()) for part in parts]), ranks)
    counts = [count_lower([part], places) for part in parts]

    assert {part.is_sparse for part in counts} == {True, False}
    assert find_values(add_parts(counts), places).tolist() == tensor.sort().values[ranks].tolist()


def search(tensor: Tensor, ranks: Sequence[int], pieces: int = 3) -> tuple[list[float], int]:
    """The numbers at these places, as a large tensor's are found; and how many passes over the whole it took."""
    measures = passes_by_sample(lambda tensors: [tensors[0].clone()], lambda _: ranks, len(tensor))
    setting = Setting((), {}, len(tensor))
    passes = 0
    while len(setting.statistics) < len(measures):
        measure = measures[len(setting.statistics)]
        passes += not measure.of_sample
        seen = torch.cat([tensor[run] for run in sample_runs(len(tensor))]) if measure.of_sample else tensor
        parts = [measure.part([part], setting) for part in seen.chunk(pieces)]
        setting = conclude(measures, parts, setting)
    return setting.statistics[-1].tolist(), passes


@given(values=MAGNITUDES, picks=st.lists(st.floats(0, 1), min_size=1, max_size=4), pieces=st.integers(1, 4))
def test_by_way_of_a_sample_it_is_the_same_number(values: list[float], picks: list[float], pieces: int) -> None:
    tensor = torch.tensor(values)
    ranks = sorted(int(pick * (len(values) - 1)) for pick in picks)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("blockmerge.kernels.ranks.LARGE", 1)
        found, _ = search(tensor, ranks, pieces)

    assert found == tensor.sort().values[ranks].tolist()


def rows(spread: float) -> Tensor:
    """Magnitudes of 2048 rows, whose scales differ: the logarithm of one has this standard deviation."""
    generator = torch.Generator().manual_seed(0)
    scales = (torch.randn(2048, 1, generator=generator) * spread).exp()
    return (torch.randn(2048, 1536, generator=generator) * scales).abs_().flatten()


@pytest.mark.parametrize(("spread", "most"), [(0, 1), (0.5, 2), (1, 2)])
def test_the_sample_of_a_large_tensor_spares_passes(spread: float, most: int) -> None:
    tensor = rows(spread)
    ranks = [int(0.1 * len(tensor)), int(0.8 * len(tensor))]
    assert len(tensor) >= LARGE

    found, passes = search(tensor, ranks)

    assert found == tensor.sort().values[ranks].tolist()
    assert passes <= most


@pytest.mark.parametrize("scale", [1.1, 0.9])
def test_a_sample_that_is_a_little_off_is_put_right_by_what_was_near(scale: float) -> None:
    tensor = rows(0)
    for run in sample_runs(len(tensor)):
        tensor[run] *= scale
    rank = int(0.8 * len(tensor))

    assert search(tensor, [rank]) == ([tensor.sort().values[rank]], 2)


def test_a_sample_that_is_unlike_the_whole_costs_passes_and_not_the_truth() -> None:
    tensor = rows(0)
    for run in sample_runs(len(tensor)):
        tensor[run] *= 1000
    ranks = [100, int(0.5 * len(tensor)), int(0.8 * len(tensor)), len(tensor) - 1]

    assert search(tensor, ranks) == (tensor.sort().values[ranks].tolist(), 4)


@pytest.mark.parametrize("number", [0.0, 1.5, torch.inf])
def test_numbers_that_are_all_alike_are_found_in_one_pass(number: float) -> None:
    assert search(torch.full((LARGE,), number), [0, LARGE // 2, LARGE - 1]) == ([number] * 3, 1)


@given(st.integers(1, 1 << 32))
def test_a_sample_lies_inside_its_tensor_and_its_runs_apart(elements: int) -> None:
    runs = sample_runs(elements)

    assert runs[0].start >= 0
    assert runs[-1].stop <= elements
    assert all(own.start < own.stop <= other.start for own, other in pairwise(runs))
