import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from blockmerge.engine.bench import _is_finite

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
NUMBERS = st.lists(st.floats(-60000, 60000, width=16), min_size=1, max_size=40)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@given(numbers=NUMBERS, place=st.integers(0, 39), odd=st.sampled_from([math.inf, -math.inf, math.nan, -math.nan]))
def test_the_gate_sees_every_nan_and_inf_and_nothing_else(
    dtype: torch.dtype, numbers: list[float], place: int, odd: float
) -> None:
    tensor = torch.tensor([*numbers, torch.finfo(dtype).max, torch.finfo(dtype).min], dtype=dtype)
    assert _is_finite(tensor)

    tensor[place % len(tensor)] = odd

    assert not _is_finite(tensor)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("number", [1.0, -1.0, 0.0, -0.0])
def test_numbers_of_one_sign_are_finite(dtype: torch.dtype, number: float) -> None:
    assert _is_finite(torch.full((5,), number, dtype=dtype))
