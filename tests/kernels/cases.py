"""Tensors and settings for every method, as the tests of laws and oracles use them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from blockmerge.core.method import BaseUse, Method, Value, WeightKind
from blockmerge.core.methods import METHODS
from blockmerge.kernels import KERNELS
from blockmerge.kernels.in_memory import merge_tensors
from blockmerge.kernels.kernel import Setting
from blockmerge.kernels.random_numbers import key_of


@dataclass(frozen=True)
class Case:
    """A method with as many models as is usual for it, and parameters at which it has something to do."""

    method: str
    models: int
    has_base: bool
    parameters: Mapping[str, Value]

    @property
    def entry(self) -> Method:
        return METHODS[self.method]

    def __str__(self) -> str:
        varied = {name: value for name, value in self.parameters.items() if value != self.entry.parameter(name).default}
        said = " ".join(f"{name}={value}" for name, value in varied.items())
        return f"{self.method} of {self.models}{' on a base' if self.has_base else ''} {said}".strip()


def case(method: str, models: int, has_base: bool | None = None, **parameters: Value) -> Case:
    entry = METHODS[method]
    defaults = {parameter.name: parameter.default for parameter in entry.parameters}
    base = entry.base is BaseUse.REQUIRED if has_base is None else has_base
    return Case(method, models, base, {**defaults, **parameters})


CASES = (
    case("linear", 2),
    case("linear", 3),
    case("slerp", 2),
    case("nuslerp", 2),
    case("nuslerp", 2, True),
    case("nuslerp", 2, nuslerp_flatten=False),
    case("nuslerp", 2, True, nuslerp_flatten=False, nuslerp_row_wise=True),
    case("multislerp", 3),
    case("multislerp", 3, True),
    case("karcher", 2),
    case("karcher", 3),
    case("task_arithmetic", 1),
    case("task_arithmetic", 3, normalize=True),
    case("ties", 3),
    case("ties", 2, density=1.0, normalize=True),
    case("dare_linear", 2),
    case("dare_linear", 2, rescale="l1"),
    case("dare_ties", 3),
    case("dare_ties", 2, rescale="none", normalize=True),
    case("breadcrumbs", 2),
    case("breadcrumbs_ties", 3, density=0.5, gamma=0.1),
    case("della", 3),
    case("della", 2, rescale="l1", normalize=True),
    case("della_linear", 2, rescale="none"),
    case("sce", 3),
    case("sce", 3, select_topk=0.3),
    case("ram", 3, epsilon=0.01),
    case("ramplus_tl", 3, epsilon=0.01),
    case("model_stock", 2),
    case("model_stock", 3, filter_wise=True),
    case("nearswap", 1, t=0.01),
    case("arcee_fusion", 1),
    case("passthrough", 1, scale=0.7),
)


def weights_for(case: Case) -> tuple[float, ...]:
    if case.entry.kind is WeightKind.STRENGTH:
        return ()
    if case.entry.kind is WeightKind.AMOUNT:
        return (0.7, 0.4, 1.1)[: case.models]
    return {2: (0.7, 0.3), 3: (0.5, 0.3, 0.2)}[case.models]


def setting_for(case: Case, elements: int) -> Setting:
    return Setting(
        weights=weights_for(case),
        parameters=case.parameters,
        elements=elements,
        has_base=case.has_base,
        keys=tuple(key_of(7, model, "model.layers.0.weight") for model in "abc"[: case.models]),
    )


def run(case: Case, tensors: list[Tensor], strength: float = 1.0, **changes: object) -> Tensor:
    """The method's result in memory."""
    setting = replace(setting_for(case, tensors[0].numel()), **changes)  # type: ignore[arg-type]
    return merge_tensors(KERNELS[case.method], tensors, setting, case.entry.scope_for(case.parameters), strength)


def draw(case: Case, shape: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    """A base, where there is one, and models tuned from it: of the size of real weights and their changes."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(shape, generator=generator) * 0.1
    models = [base + torch.randn(shape, generator=generator) * 0.02 for _ in range(case.models)]
    return [base, *models] if case.has_base else models
