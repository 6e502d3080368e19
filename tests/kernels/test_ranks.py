import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from blockmerge.kernels.kernel import add_parts
from blockmerge.kernels.ranks import count_lower, count_upper, find_upper, find_values

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
