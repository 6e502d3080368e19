import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from blockmerge.kernels import KERNELS
from blockmerge.kernels.kernel import Setting
from blockmerge.kernels.linear import linear
from tests.engine.oracle import Float64, assert_blended

DTYPES = ("float32", "float16", "bfloat16")
SHARES = st.floats(0, 1, exclude_min=True, exclude_max=True)
WEIGHTS = st.floats(-1, 2, allow_subnormal=False)

# Where b − a does not fit float32 the blend is Inf, and the engine refuses it; no trained weight comes near.
LARGEST = 2.0**120


def tensors(dtype: str, count: int) -> st.SearchStrategy[list[Tensor]]:
    """`count` tensors of one length, of any finite values of the dtype: -0.0, subnormal ones and large ones too."""
    largest = 65504.0 if dtype == "float16" else LARGEST
    values = st.floats(-largest, largest, width=16 if dtype == "float16" else 32)

    def of_length(length: int) -> st.SearchStrategy[list[Tensor]]:
        row = st.lists(values, min_size=length, max_size=length)
        made = row.map(lambda numbers: torch.tensor(numbers, dtype=getattr(torch, dtype)))
        return st.lists(made, min_size=count, max_size=count)

    return st.integers(0, 20).flatmap(of_length)  # 20 is more than one vector of the processor, and a rest


PAIRS = st.sampled_from(DTYPES).flatmap(lambda dtype: tensors(dtype, 2))
SINGLES = st.sampled_from(DTYPES).flatmap(lambda dtype: tensors(dtype, 1))


def float64(tensor: Tensor) -> Float64:
    return tensor.double().numpy()


def bits(tensor: Tensor) -> bytes:
    return tensor.view(torch.uint8).numpy().tobytes()


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@given(SINGLES, WEIGHTS)
@example([torch.tensor([-0.0, 0.0])], 0.25)
@example([torch.full((40,), -0.0, dtype=torch.bfloat16)], 1.5)
def test_a_tensor_merged_with_itself_is_itself_to_the_bit(single: list[Tensor], weight: float) -> None:
    [tensor] = single

    assert bits(linear(tensor, tensor.clone(), weight)) == bits(tensor)


@given(PAIRS, WEIGHTS)
@example([torch.tensor([0.0]), torch.tensor([3.4e38])], 0.001)
def test_the_result_is_computed_in_float32_and_rounded_once(pair: list[Tensor], weight: float) -> None:
    a, b = pair

    result = linear(a, b, weight)

    with np.errstate(over="ignore"):
        assert_blended(float64(result), float64(a), float64(b), weight, name_of(a.dtype))


@given(PAIRS, SHARES)
def test_the_result_of_a_share_lies_between_the_two(pair: list[Tensor], weight: float) -> None:
    a, b = pair

    result = linear(a, b, weight)

    assert torch.all(torch.minimum(a, b) <= result)
    assert torch.all(result <= torch.maximum(a, b))


@given(PAIRS, WEIGHTS)
def test_dtype_shape_and_inputs_are_kept(pair: list[Tensor], weight: float) -> None:
    a, b = (tensor.reshape(1, -1, 1) for tensor in pair)
    before = bits(a.flatten()), bits(b.flatten())

    result = linear(a, b, weight)

    assert (result.shape, result.dtype) == (a.shape, a.dtype)
    assert (bits(a.flatten()), bits(b.flatten())) == before


@given(PAIRS, WEIGHTS, st.integers(0, 20))
def test_a_tensor_may_be_cut_anywhere(pair: list[Tensor], weight: float, cut: int) -> None:
    """So chunks of any size give the same bytes."""
    a, b = pair

    halves = torch.cat([linear(a[:cut], b[:cut], weight), linear(a[cut:], b[cut:], weight)])

    assert bits(halves) == bits(linear(a, b, weight))


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_that_fit_exactly_come_out_exactly(dtype: str) -> None:
    a, b = torch.tensor([0.0, 1.0, -2.0, 8.0]).to(getattr(torch, dtype)), torch.tensor([1.0, 3.0, 2.0, 0.0])

    result = linear(a, b.to(a.dtype), 0.25)

    assert result.tolist() == [0.25, 1.5, -1.0, 6.0]


def test_sixteen_bits_are_not_rounded_before_the_end() -> None:
    """b − a = −2.2431640625 is no bfloat16: rounded at every step, the result would be 0.3203125."""
    a, b = torch.tensor([2.0], dtype=torch.bfloat16), torch.tensor([-249 / 1024], dtype=torch.bfloat16)

    assert linear(a, b, 0.75).item() == 0.318359375  # 0.317626953125, rounded once


def test_the_kernel_is_found_by_its_name() -> None:
    setting = Setting(weights=(0.7, 0.3), parameters={}, elements=2)
    pair = (torch.tensor([1.0, 2.0]), torch.tensor([3.0, 8.0]))

    assert torch.equal(KERNELS["linear"].combine(pair, setting), linear(*pair, 0.3))
