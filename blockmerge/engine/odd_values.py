"""Values of a result that are no numbers any more, or became 0: how many of which tensor, why, and what is said."""

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from blockmerge.core.plan import Action, Plan
from blockmerge.engine.chunks import Chunk
from blockmerge.errors import RunError

# How many values of a tensor, by its name and the cause: the key of a model that holds NaN or Inf there, or one of two.
Odd = Mapping[tuple[str, str], int]
TOO_LARGE = "too large"
TOO_SMALL = "too small"


def settle_nonfinite(
    tensors: Sequence[Tensor], result: Tensor, chunk: Chunk
) -> tuple[Tensor, dict[tuple[str, str], int]]:
    """Inf − Inf is NaN, but what all models hold alike is copied, so it stays and is nobody's fault."""
    if any(tensor.dtype is not tensors[0].dtype for tensor in tensors):
        tensors = [tensor.float() for tensor in tensors]
    alike = _alike(tensors)
    if chunk.action is Action.BLEND:
        result = torch.where(alike, tensors[0].to(result.dtype), result)
    held = [~torch.isfinite(tensor) for tensor in tensors]
    bad = ~torch.isfinite(result) & ~(alike & held[0])
    odd: dict[tuple[str, str], int] = {}
    unexplained = bad
    for source, where in zip(chunk.step.sources, held, strict=True):
        odd |= count(bad & where, chunk, source.model)
        unexplained = unexplained & ~where
    return result, odd | count(unexplained, chunk, TOO_LARGE)


def _alike(tensors: Sequence[Tensor]) -> Tensor:
    """Where all have the same bits, the same NaN among them."""
    width = tensors[0].element_size()
    first, *others = (tensor.view(torch.uint8).view(-1, width) for tensor in tensors)
    alike = torch.ones(len(first), dtype=torch.bool)
    for other in others:
        alike &= (first == other).all(dim=1)
    return alike


def count(where: Tensor, chunk: Chunk, cause: str) -> dict[tuple[str, str], int]:
    """How many elements of each tensor in the chunk are meant."""
    counts: dict[tuple[str, str], int] = {}
    pieces = [(piece.name, piece.nbytes) for piece in chunk.pieces] or [(chunk.step.name, chunk.nbytes)]
    start = 0
    for name, nbytes in pieces:
        end = start + nbytes * 8 // chunk.dtype.bits
        if found := int(where[start:end].sum()):
            counts[name, cause] = counts.get((name, cause), 0) + found
        start = end
    return counts


def judge(plan: Plan, odd: Odd) -> tuple[str, ...]:
    """Warnings, a sentence each. Raises RunError where the recipe refuses NaN and Inf."""
    refused = {key: found for key, found in sorted(odd.items()) if key[1] != TOO_SMALL}
    sizes = {step.name: (math.prod(step.shape), step.dtype.label) for step in plan.steps}
    sentences = tuple(_sentence(name, cause, found, sizes[name]) for (name, cause), found in refused.items())
    if sentences and plan.recipe.output.nonfinite == "refuse":
        raise RunError(*sentences, *_advice({cause for _, cause in refused}))
    small = {name: found for (name, cause), found in odd.items() if cause == TOO_SMALL}
    return (*sentences, _small(small)) if small else sentences


def _sentence(name: str, cause: str, found: int, size: tuple[int, str]) -> str:
    elements, dtype = size
    if cause == TOO_LARGE:
        return f"{name}: {found:,} of {elements:,} values {'does' if found == 1 else 'do'} not fit {dtype}."
    return f"{name} of {cause} holds {found:,} NaN or Inf value{'' if found == 1 else 's'}."


def _advice(causes: set[str]) -> Iterable[str]:
    keep = "or write 'nonfinite: warn' under output to keep them."
    if TOO_LARGE in causes:
        yield f"Choose 'dtype: bfloat16' or float32 under output, other weights, {keep}"
    if causes - {TOO_LARGE}:
        yield f"Leave that model out there, with a weight that copies another, {keep}"


def _small(counts: Mapping[str, int]) -> str:
    total, where = sum(counts.values()), next(iter(counts)) if len(counts) == 1 else f"{len(counts):,} tensors"
    became = "value became 0, as it is" if total == 1 else "values became 0, as they are"
    return f"{where}: {total:,} {became} too small for float16. Choose 'dtype: bfloat16' or float32 to keep them."
