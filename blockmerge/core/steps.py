"""What happens to one tensor: copied, converted, or computed by the method's kernel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from blockmerge.core.block_settings import BlockSetting
from blockmerge.core.layout import Place
from blockmerge.core.matching import Pair, is_buffer
from blockmerge.core.method import Method, Value, WeightKind
from blockmerge.core.tensors import DType, TensorSpec


class Action(StrEnum):
    COPY = "copy"  # the bytes of the only source, unchanged
    CAST = "cast"  # the values of the only source, rounded once to another dtype
    BLEND = "blend"  # the method's kernel on all sources


@dataclass(frozen=True, slots=True)
class Source:
    """A tensor of one of the recipe's models; `model` is the model's key, such as "a"."""

    model: str
    tensor: TensorSpec


@dataclass(frozen=True, slots=True)
class Step:
    """One tensor of the result; `reason` says in words why it is treated so.

    `weight` is what a recipe with one line of weights says: the share of the second of two models, or the strength; of
    several models it is the largest weight. `weights` has, for a blend by shares or amounts, one number for each source
    that is not the base, and is empty for one by strength.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    action: Action
    sources: tuple[Source, ...]
    weight: float
    place: Place
    reason: str
    weights: tuple[float, ...] = ()
    parameters: Mapping[str, Value] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        return self.sources[0].tensor.elements * self.dtype.bits // 8


@dataclass(frozen=True, slots=True)
class StepMaker:
    """Makes steps for one recipe: its method, whether it has a base, and the dtype it wants."""

    method: Method
    has_base: bool
    dtype: str

    def step(self, pair: Pair, setting: BlockSetting, place: Place) -> Step:
        """One tensor's fate; where only one source is needed, its bytes can be copied."""
        sources = tuple(Source(key, tensor) for key, tensor in pair.sources)
        own = sources[0].tensor
        target = own.dtype if is_buffer(own) else self._target(own.dtype)
        if pair.copy_reason:
            action = Action.COPY if target is own.dtype else Action.CAST
            return Step(pair.name, target, own.shape, action, sources[:1], 0.0, place, pair.copy_reason)
        weights = setting.weights
        weight = weights[-1] if len(weights) == 2 and self.method.kind is WeightKind.SHARE else max(weights)
        chosen = self._only_source(sources, setting)
        reason = self._reason(sources, setting)
        if chosen is not None:
            same = chosen.tensor.dtype is target
            action = Action.COPY if same else Action.CAST
            reason = reason if same else f"{reason}, {chosen.tensor.dtype.label} to {target.label}"
            return Step(pair.name, target, own.shape, action, (chosen,), weight, place, reason)
        used, kept = self._used(sources, weights)
        return Step(pair.name, target, own.shape, Action.BLEND, used, weight, place, reason, kept, setting.parameters)

    def _target(self, own: DType) -> DType:
        if self.dtype == "as owner" or not own.can_blend:
            return own
        return next(dtype for dtype in DType if dtype.label == self.dtype)

    def _models(self, sources: tuple[Source, ...]) -> tuple[Source, ...]:
        return sources[1:] if self.has_base else sources

    def _only_source(self, sources: tuple[Source, ...], setting: BlockSetting) -> Source | None:
        """The one tensor that the result equals by the meaning of the weights, if there is one."""
        weights, models = setting.weights, self._models(sources)
        active = [(source, weight) for source, weight in zip(models, weights, strict=False) if weight != 0]
        if self.method.kind is WeightKind.SHARE:
            return active[0][0] if len(active) == 1 else None
        if self.method.kind is WeightKind.STRENGTH:
            is_owner = weights == (0,) or setting.parameters.get("scale") == 1
            return sources[0] if is_owner else None
        if not active or setting.parameters["lambda"] == 0:
            return sources[0]
        # base + 1 × (model − base) is the model, and its bytes are exact where that sum is not.
        is_whole = self.method.name == "task_arithmetic" and setting.parameters["lambda"] == 1
        return active[0][0] if is_whole and [weight for _, weight in active] == [1] else None

    def _used(
        self, sources: tuple[Source, ...], weights: tuple[float, ...]
    ) -> tuple[tuple[Source, ...], tuple[float, ...]]:
        """Without the models whose weight is 0, and their weights."""
        if self.method.kind is WeightKind.STRENGTH:
            return sources, ()
        active = [pair for pair in zip(self._models(sources), weights, strict=True) if pair[1] != 0]
        base = sources[:1] if self.has_base else ()
        return (*base, *(source for source, _ in active)), tuple(weight for _, weight in active)

    def _reason(self, sources: tuple[Source, ...], setting: BlockSetting) -> str:
        if self.method.kind is WeightKind.STRENGTH:
            return f"strength {setting.weights[0]:g}"
        models = self._models(sources)
        if self.method.kind is WeightKind.SHARE and len(models) == 2:
            return f"weight {setting.weights[1]:g}"
        said = ", ".join(f"{source.model} {weight:g}" for source, weight in zip(models, setting.weights, strict=True))
        return f"weights {said}"


def split(steps: Sequence[Step], shard_size: int) -> tuple["OutputShard", ...]:
    """Fill shards up to `shard_size` in the owner's order; a tensor is never split, so one may make a larger shard."""
    groups: list[list[Step]] = [[]]
    filled = 0
    for step in steps:
        if groups[-1] and filled + step.nbytes > shard_size:
            groups.append([])
            filled = 0
        groups[-1].append(step)
        filled += step.nbytes
    count = len(groups)
    return tuple(
        OutputShard(
            name="model.safetensors" if count == 1 else f"model-{number:05}-of-{count:05}.safetensors",
            # Wider dtypes first keeps every tensor aligned to its own width, as the safetensors library writes them.
            steps=tuple(sorted(group, key=lambda step: -step.dtype.bits)),
        )
        for number, group in enumerate(groups, 1)
    )


@dataclass(frozen=True, slots=True)
class OutputShard:
    """A weight file of the result: its tensors in the order of their bytes."""

    name: str
    steps: tuple[Step, ...]

    @property
    def nbytes(self) -> int:
        return sum(step.nbytes for step in self.steps)
