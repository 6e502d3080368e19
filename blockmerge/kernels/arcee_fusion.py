"""Only the changes that matter most: mergekit's `arcee_fusion`."""

import torch
from torch import Tensor

from blockmerge.kernels.kernel import Kernel, Setting, Tensors
from blockmerge.kernels.ranks import passes

_SMALL = 1e-8


def arcee_fusion(tensors: Tensors, setting: Setting) -> Tensor:
    """Takes the model's number where its importance is at least median + 1.5 × (third − first quartile).

    Whole rows. A number's importance is its change's magnitude times the divergence (Kullback–Leibler) of the softmax
    of the model's row from that of the base's. The quartiles are exact; mergekit draws a sample of them, without a seed
    of its own, for tensors of more than a million numbers. Source: mergekit's description of the method.
    """
    base, model = tensors
    first, median, third = setting.statistics[1].tolist()
    return torch.where(_importance(tensors) >= median + 1.5 * (third - first), model, base)


def _importance(tensors: Tensors) -> Tensor:
    base, model = tensors
    own, other = (tensor.softmax(-1) + _SMALL for tensor in (model, base))
    divergence = (own * (own / other).log_()).sum(-1, keepdim=True)
    return (model - base).abs_().mul_(divergence.clamp_min_(0))


def _ranks(setting: Setting) -> list[int]:
    return [(setting.elements - 1) * quarter // 4 for quarter in (1, 2, 3)]


KERNEL = Kernel(arcee_fusion, lambda _: passes(lambda tensors: [_importance(tensors)], _ranks))
