"""What a merge method is made of, and what its functions are told beside the tensors.

A kernel gets float32 tensors of one shape and gives one like them: the base first, where there is one, then the models.
It may write over all but the first, which are its own: what is in a core's cache already need not be made anew.
A method of several passes measures the whole tensor first, slice by slice; a combination of such parts must not depend
on their order, so a part holds whole-number counts, or sums that are added up exactly.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from blockmerge.core.method import Value

SLICE = 1 << 18  # elements that are measured at once; another number would change sums in their last bits
_RUNS, _RUN = 64, 1 << 12  # of a sample: so many runs, of so many elements
_GOLDEN = 0.6180339887498949  # its multiples spread evenly over the unit interval, and in step with no length of rows


@dataclass(frozen=True, slots=True)
class Setting:
    """`weights` has one number per model, or none where a method takes none. `keys`, one per model, are for random
    numbers. `elements` are those of the whole tensor, and `start` counts where in it the tensors at hand begin.
    `statistics` holds what the measures before this one found, in their order.
    """

    weights: tuple[float, ...]
    parameters: Mapping[str, Value]
    elements: int
    start: int = 0
    has_base: bool = False
    keys: tuple[int, ...] = ()
    statistics: tuple[Tensor, ...] = ()

    def number(self, name: str) -> float:
        return float(self.parameters[name])


Tensors = Sequence[Tensor]
Function = Callable[[Tensors, Setting], Tensor]


def _as_it_is(total: Tensor, _: Setting) -> Tensor:
    return total


def _always(_: Setting) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Measure:
    """`part` measures one slice: whole-number counts, sparse where nearly all are 0, or float64 sums. `conclude` makes
    the statistic of their total.

    One `of_sample` sees only the `sample_runs` of a tensor. Where one is not `needed`, as those before have found what
    it is for, its statistic is the last one.
    """

    part: Function
    conclude: Callable[[Tensor, Setting], Tensor] = _as_it_is
    of_sample: bool = False
    needed: Callable[[Setting], bool] = _always


def _no_measures(_: Setting) -> tuple[Measure, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Kernel:
    """A method's functions. `measures` names the passes that these weights and parameters need before `combine`.

    Of an `is_pointwise` kernel each number depends on the same number of each model and on nothing else, so
    neighbouring tensors may be computed in one go. `pair_into` is `combine` for two tensors of the result's own dtype,
    computed in float32, rounded once, and written into the last argument, which may be one of the two.
    """

    combine: Function
    measures: Callable[[Setting], tuple[Measure, ...]] = _no_measures
    is_pointwise: bool = False
    pair_into: Callable[[Tensors, Setting, Tensor], None] | None = None


def conclude(measures: Sequence[Measure], parts: Sequence[Tensor], setting: Setting) -> Setting:
    """The setting after the pass that gave these parts, and after those behind it that are not needed.

    Overwrites the first parts.
    """
    found = measures[len(setting.statistics)].conclude(add_parts(parts), setting)
    known = (*setting.statistics, found)
    while len(known) < len(measures) and not measures[len(known)].needed(replace(setting, statistics=known)):
        known = (*known, found)
    return replace(setting, statistics=known)


def sample_runs(elements: int) -> Sequence[slice]:
    """Where in a tensor its sample lies: runs that are spread over its rows and, where these are long, its columns.

    The whole of a small tensor.
    """
    pace, room = elements // _RUNS, elements // _RUNS - _RUN
    if room <= 0:
        return (slice(0, elements),)
    starts = (number * pace + int(room * (number * _GOLDEN % 1)) for number in range(_RUNS))
    return tuple(slice(start, start + _RUN) for start in starts)


def add_parts(parts: Sequence[Tensor]) -> Tensor:
    """The total of the parts that a measure gave; the same in any order, as each sum is rounded once.

    Overwrites the first counts, if these are dense; the total is.
    """
    if not parts[0].is_floating_point():
        return _add_counts(parts)
    columns = torch.stack(list(parts)).view(len(parts), -1).T.tolist()
    return torch.tensor([math.fsum(column) for column in columns], dtype=torch.float64).view(parts[0].shape)


def _add_counts(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0].to_dense()
    for part in parts[1:]:
        if part.is_sparse:  # ten times as fast as to add it
            total.index_add_(0, part._indices()[0], part._values())  # the public ones sort first
        else:
            total += part
    return total


def differences(tensors: Tensors) -> list[Tensor]:
    """What each model changed in the base, written over the models."""
    base, *models = tensors
    torch._foreach_sub_(models, [base] * len(models))
    return models


def change_magnitudes(tensors: Tensors) -> list[Tensor]:
    """Of what `differences` gives, written over the models."""
    changes = differences(tensors)
    torch._foreach_abs_(changes)
    return changes


def split_base(tensors: Tensors, setting: Setting) -> tuple[Tensor | None, list[Tensor]]:
    """The base, or None, and what a method blends: the models, or their differences from the base."""
    return (tensors[0], differences(tensors)) if setting.has_base else (None, list(tensors))


def affine(tensors: Tensors, coefficients: Sequence[float]) -> Tensor:
    """The sum of the tensors times their coefficients, so that equal tensors come out unchanged where these sum to 1.

    Computed as x₀ × Σc + Σ c × (x − x₀).
    """
    first, *others = tensors
    total = math.fsum(coefficients)
    result = first.clone() if abs(total - 1) < 1e-9 else first * total
    for tensor, coefficient in zip(others, coefficients[1:], strict=True):
        result.add_(tensor - first, alpha=coefficient)
    return result
