"""What holds for every method, whatever it computes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from blockmerge.core.method import Scope, WeightKind
from blockmerge.core.methods import METHODS
from blockmerge.kernels import KERNELS
from blockmerge.kernels import kernel as kernel_module
from tests.kernels.cases import CASES, Case, draw, run, setting_for

every_case = pytest.mark.parametrize("case", CASES, ids=str)

SHAPES = st.sampled_from([(), (1,), (5,), (1, 1), (3, 4), (8, 16), (2, 3, 5), (7, 1), (40,)])
ROUNDING = 2e-6  # float32 sums in another order, of numbers below 1


def bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


def test_every_entry_has_its_kernel_and_every_kernel_its_entry() -> None:
    assert list(KERNELS) == list(METHODS)
    assert {case.method for case in CASES} == set(METHODS)


@every_case
@given(shape=SHAPES, seed=st.integers(0, 1000))
@settings(max_examples=25)
def test_a_model_merged_with_itself_is_itself_to_the_bit(case: Case, shape: tuple[int, ...], seed: int) -> None:
    [tensor, *_] = draw(case, shape, seed)
    alike = [tensor.clone() for _ in range(case.models + case.has_base)]
    if case.method == "passthrough":
        case = Case(case.method, 1, False, {"scale": 1.0})

    assert bits(run(case, alike)) == bits(tensor)


@every_case
def test_negative_zeros_of_all_are_kept(case: Case) -> None:
    alike = [torch.tensor([[-0.0, 1.0, 0.0, -2.0]]) for _ in range(case.models + case.has_base)]

    assert torch.signbit(run(case, alike))[0, 0]


@every_case
@given(shape=SHAPES, seed=st.integers(0, 1000))
@settings(max_examples=15)
def test_shape_and_dtype_and_inputs_are_kept(case: Case, shape: tuple[int, ...], seed: int) -> None:
    tensors = draw(case, shape, seed)
    before = [tensor.clone() for tensor in tensors]

    result = run(case, tensors)

    assert (result.shape, result.dtype) == (torch.Size(shape), torch.float32)
    assert torch.isfinite(result).all()
    assert all(torch.equal(own, old) for own, old in zip(tensors, before, strict=True))


@every_case
def test_a_tensor_without_elements_stays_one(case: Case) -> None:
    assert run(case, draw(case, (0, 4))).shape == (0, 4)


@every_case
@pytest.mark.parametrize("size", [16, 64, 1 << 20])
def test_another_slice_changes_nothing_but_the_last_bits_of_sums(
    case: Case, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = draw(case, (24, 32))
    wanted = run(case, tensors)

    monkeypatch.setattr("blockmerge.kernels.in_memory.SLICE", size)

    torch.testing.assert_close(run(case, tensors), wanted, rtol=0, atol=ROUNDING)
    assert kernel_module.SLICE == 1 << 18  # the engine's own size is fixed, so that sums are the same to the bit


@every_case
@given(order=st.permutations(range(3)), seed=st.integers(0, 100))
@settings(max_examples=10)
def test_the_order_of_models_does_not_matter(case: Case, order: list[int], seed: int) -> None:
    order = [place for place in order if place < case.models]
    tensors, setting = draw(case, (12, 16), seed), setting_for(case, 12 * 16)
    models = tensors[case.has_base :]
    moved = [*tensors[: case.has_base], *(models[place] for place in order)]
    weights = tuple(setting.weights[place] for place in order) if setting.weights else ()

    result = run(case, moved, weights=weights, keys=tuple(setting.keys[place] for place in order))

    torch.testing.assert_close(result, run(case, tensors), rtol=0, atol=ROUNDING)


@every_case
def test_a_strength_goes_from_the_owner_to_the_result(case: Case) -> None:
    if case.entry.kind is not WeightKind.STRENGTH:
        return
    tensors = draw(case, (12, 16))
    whole = run(case, tensors)

    assert torch.equal(run(case, tensors, strength=0.25), torch.lerp(tensors[0], whole, 0.25))


@every_case
def test_a_small_weight_stays_near_the_owner(case: Case) -> None:
    tensors = draw(case, (12, 16))
    if case.entry.kind is WeightKind.STRENGTH:
        result = run(case, tensors, strength=1e-6)
    elif case.entry.kind is WeightKind.AMOUNT:
        if case.parameters["normalize"]:
            return  # a mean does not depend on how large all weights are
        result = run(case, tensors, weights=(1e-6,) * case.models)
    else:
        rest = case.models - 1
        result = run(case, tensors, weights=(1 - rest * 1e-6, *(1e-6,) * rest))

    owner = tensors[case.has_base if case.entry.kind is WeightKind.SHARE else 0]
    torch.testing.assert_close(result, owner, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", ["linear", "slerp", "nuslerp"])
@given(seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_the_ends_of_a_blend_of_two_are_the_two(method: str, seed: int) -> None:
    [case] = [case for case in CASES if case.method == method and case.models == 2 and not case.has_base][:1]
    tensors = draw(case, (6, 7), seed)

    for weights, end in (((1.0, 0.0), tensors[0]), ((0.0, 1.0), tensors[1])):
        torch.testing.assert_close(run(case, tensors, weights=weights), end, rtol=0, atol=1e-7)


@every_case
def test_only_the_whole_tensor_knows_a_scope_beyond_rows(case: Case) -> None:
    whole = case.entry.scope_for(case.parameters) is Scope.TENSOR

    assert whole == (case.parameters.get("nuslerp_row_wise") is True)


@pytest.mark.parametrize("case", [case for case in CASES if KERNELS[case.method].is_pointwise], ids=str)
def test_a_pointwise_kernel_may_be_cut_and_joined_anywhere(case: Case) -> None:
    tensors = draw(case, (60,))

    halves = [run(case, [tensor[part] for tensor in tensors]) for part in (slice(0, 23), slice(23, 60))]

    assert bits(torch.cat(halves)) == bits(run(case, tensors))


@pytest.mark.parametrize("case", [case for case in CASES if case.entry.is_random], ids=str)
def test_random_methods_follow_their_keys_and_nothing_else(case: Case) -> None:
    tensors = draw(case, (12, 16))
    torch.manual_seed(1)
    wanted = run(case, tensors)
    torch.manual_seed(2)

    assert bits(run(case, tensors)) == bits(wanted)
    assert bits(run(case, tensors, keys=(1, 2, 3)[: case.models])) != bits(wanted)


@pytest.mark.parametrize("case", [case for case in CASES if case.entry.kind is WeightKind.AMOUNT], ids=str)
def test_density_one_keeps_all_and_density_zero_nothing(case: Case) -> None:
    if "density" not in case.parameters:
        return
    tensors = draw(case, (12, 16))
    plain = {**case.parameters, "density": 1.0}
    nothing = {**case.parameters, "density": 0.0}
    is_election = case.method not in ("dare_linear", "breadcrumbs", "della_linear")
    same = Case("ties" if is_election else "task_arithmetic", case.models, True, plain)

    assert bits(run(case, tensors, parameters=plain)) == bits(run(same, tensors))
    torch.testing.assert_close(run(case, tensors, parameters=nothing), tensors[0], rtol=0, atol=0)
