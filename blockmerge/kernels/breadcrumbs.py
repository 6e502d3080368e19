"""Differences without their largest and smallest values: mergekit's `breadcrumbs`."""

import math

from torch import Tensor

from blockmerge.kernels.kernel import Kernel, Measure, Setting, Tensors, change_magnitudes, differences
from blockmerge.kernels.ranks import passes_by_sample
from blockmerge.kernels.signs import add_up


def breadcrumbs(tensors: Tensors, setting: Setting) -> Tensor:
    """Drops of each difference the part `gamma` with the largest magnitudes and so many of the smallest that the part
    `density` is left, then adds up. All that equal a threshold are kept.

    Any shape. With less than `density` left below the outliers, fewer outliers are dropped; at `density` 1 none.
    Source: Davari and Belilovsky 2023, Model Breadcrumbs, arXiv:2312.06795, section 3.
    """
    return add_up(tensors[0], crumbs(tensors, setting), setting)


def crumbs(tensors: Tensors, setting: Setting) -> list[Tensor]:
    """What is left of each difference."""
    changes = differences(tensors)
    if setting.number("density") == 1:
        return changes
    if _kept(setting) == 0:
        return [change.zero_() for change in changes]
    for change, (low, high) in zip(changes, setting.statistics[-1].view(-1, 2).tolist(), strict=True):
        magnitude = change.abs()
        change.masked_fill_((magnitude < low).logical_or_(magnitude > high), 0)
    return changes


def _kept(setting: Setting) -> int:
    return math.floor(setting.number("density") * setting.elements)


def _ranks(setting: Setting) -> list[int]:
    kept, outliers = _kept(setting), math.floor(setting.number("gamma") * setting.elements)
    dropped = max(0, setting.elements - kept - outliers)
    return [dropped, dropped + kept - 1]


def measures(setting: Setting) -> tuple[Measure, ...]:
    """Where something is dropped and something is kept, the two thresholds of each difference."""
    if setting.number("density") == 1 or _kept(setting) == 0:
        return ()
    return passes_by_sample(change_magnitudes, _ranks, setting.elements)


KERNEL = Kernel(breadcrumbs, measures)
