"""Trim, elect, merge: mergekit's `ties`."""

import math

import numpy as np
import torch
from torch import Tensor

from blockmerge.kernels.kernel import Kernel, Measure, Setting, Tensors, change_magnitudes, differences
from blockmerge.kernels.ranks import passes_by_sample
from blockmerge.kernels.signs import elect


def ties(tensors: Tensors, setting: Setting) -> Tensor:
    """Keeps of each difference the part `density` with the largest magnitudes, then sums up what agrees in sign.

    Any shape. The threshold is exact, and all that equal it are kept; mergekit keeps so many and no more, whichever the
    sort happens to put first. It is the tensor's own; the paper's is that of the whole model. `normalize: true` gives
    the paper's disjoint mean. Source: Yadav et al. 2023, TIES-Merging, arXiv:2306.01708, algorithm 1.
    """
    base, changes = tensors[0], differences(tensors)
    density = setting.number("density")
    if density == 0:
        return base.clone()
    if density < 1:
        for change, threshold in zip(changes, setting.statistics[-1].tolist(), strict=True):
            if threshold > 0:
                # hardshrink drops what equals its limit, so that is the next number below.
                torch.hardshrink(change, float(np.nextafter(np.float32(threshold), np.float32(-1))), out=change)
    return elect(base, changes, setting)


def _ranks(setting: Setting) -> list[int]:
    kept = max(1, math.floor(setting.number("density") * setting.elements))
    return [setting.elements - kept]


def _measures(setting: Setting) -> tuple[Measure, ...]:
    return passes_by_sample(change_magnitudes, _ranks, setting.elements) if 0 < setting.number("density") < 1 else ()


KERNEL = Kernel(ties, _measures)
