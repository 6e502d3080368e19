"""What every method computes, against float64 NumPy, and the deterministic ones against mergekit 0.1.5."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from blockmerge.core.method import WeightKind
from tests.kernels.cases import CASES, Case, case, draw, run, setting_for
from tests.kernels.oracle import Told, oracle

SHAPES = [(12, 16), (40, 64), (33,), (4, 5, 6)]

# float32 rounds each operation by 6e-8 of numbers below 1, and divisors of the sphere methods enlarge that little.
ROUNDING = 1e-6


def mismatches(result: Tensor, wanted: np.ndarray) -> float:
    """The part of the elements that lie apart by more than rounding: a threshold may fall on either side of one."""
    return float(np.mean(np.abs(result.double().numpy() - wanted) > ROUNDING))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_method_is_what_float64_says(case: Case, shape: tuple[int, ...]) -> None:
    tensors = draw(case, shape, seed=3)
    setting = setting_for(case, tensors[0].numel())
    told = Told(setting.weights, setting.parameters, setting.has_base, setting.keys)

    wanted = oracle(case.method, [tensor.double().numpy() for tensor in tensors], told)

    # The sums of a whole row's divergence are noisy in float32, so a few numbers fall on the threshold's other side.
    allowed = 0.01 if case.method == "arcee_fusion" else 0
    assert mismatches(run(case, tensors), wanted) <= allowed


# Where mergekit cannot be an oracle:
# - dare_*, della*: random, from torch's global generator. Their parts that are not are in the cases below at density 1.
# - karcher: stops after `max_iter` steps in float32; compared at a tolerance that both reach.
# - sce: equal weights for all models where mean squares sum to less than 1e-6, so the changes here are larger.
# - arcee_fusion: samples its quartiles above a million numbers; these tensors are smaller.
# - breadcrumbs, ties: keep exactly so many of equal magnitudes; no two of these are equal.
DETERMINISTIC = (
    *(case for case in CASES if not case.entry.is_random),
    case("dare_linear", 2, density=1.0),
    case("dare_ties", 3, density=1.0),
    case("della", 3, density=1.0),
    case("della_linear", 2, density=1.0),
)


def mergekit_result(case: Case, tensors: list[Tensor]) -> Tensor:
    """The method of mergekit with every parameter said."""
    from mergekit.merge_methods.api import merge_tensors

    parameters: dict[str, Any] = {
        name: value for name, value in case.parameters.items() if name not in ("normalize", "rescale")
    }
    weights = list(setting_for(case, tensors[0].numel()).weights)
    if case.method == "slerp":
        return merge_tensors(tensors, "slerp", parameters={"t": weights[1]}, base_index=0)
    if case.entry.kind is WeightKind.AMOUNT:
        parameters |= {"normalize": case.parameters["normalize"], "rescale": False, "int8_mask": False}
    elif case.method == "linear":
        parameters["normalize"] = False
    elif case.method == "multislerp":
        parameters["normalize_weights"] = False
    if weights:
        parameters["weight"] = weights
    for name in ("density", "gamma", "epsilon"):
        if name in parameters and case.entry.kind is WeightKind.AMOUNT:
            parameters[name] = [parameters[name]] * case.models
    if case.method == "passthrough":
        parameters["scale"] = [parameters["scale"]]
    return merge_tensors(
        tensors, case.method, parameters=parameters, base_index=0 if case.has_base else None, dtype=torch.float32
    )


@pytest.mark.parametrize("shape", [(12, 16), (40, 64)], ids=str)
@pytest.mark.parametrize("case", DETERMINISTIC, ids=str)
def test_deterministic_methods_are_what_mergekit_says(case: Case, shape: tuple[int, ...]) -> None:
    tensors = draw(case, shape, seed=5)

    theirs = mergekit_result(case, [tensor.clone() for tensor in tensors])

    torch.testing.assert_close(run(case, tensors), theirs, rtol=0, atol=ROUNDING)
