"""What happens to one tensor: copied, converted, or computed by the method's kernel."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from blockmerge.core.block_settings import BlockSetting
from blockmerge.core.buffers import is_buffer
from blockmerge.core.layout import Place
from blockmerge.core.method import Method, Value, WeightKind
from blockmerge.core.pairs import Pair
from blockmerge.core.tensors import DType, TensorSpec
from blockmerge.core.vocabulary import RowRun


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

    Where rows are matched by token, `rows` has for each run its first row in every source and, behind them, in `giver`.
    A run that some source does not know comes from the giver alone: its rows stand in for those of all sources.
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
    rows: tuple[RowRun, ...] = ()
    giver: Source | None = None

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.elements * self.dtype.bits // 8

    @property
    def inputs(self) -> tuple[Source, ...]:
        """All that is read: the sources, and the giver of rows where it is none of them."""
        return self.sources if self.giver is None or self.giver in self.sources else (*self.sources, self.giver)

    def read_dtype(self, source: Source) -> DType:
        """The dtype that a source has in memory: float32 where its rows and those that stand in for them differ."""
        if self.giver is None or self.giver.tensor.dtype is source.tensor.dtype:
            return source.tensor.dtype
        return DType.FLOAT32


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
            return _take(Step(pair.name, target, own.shape, Action.COPY, sources[:1], 0.0, place, pair.copy_reason))
        weights = setting.weights
        weight = weights[-1] if len(weights) == 2 and self.method.kind is WeightKind.SHARE else max(weights)
        chosen = self._only_source(sources, setting)
        reason = self._reason(sources, setting)
        if chosen is not None:
            step = Step(pair.name, target, pair.shape, Action.COPY, (chosen,), weight, place, reason)
            return _take(_with_rows(step, pair, sources))
        used, kept = self._used(sources, weights)
        step = Step(pair.name, target, pair.shape, Action.BLEND, used, weight, place, reason, kept, setting.parameters)
        return _with_rows(step, pair, sources)

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


def _take(step: Step) -> Step:
    """The step with its only source copied, or rounded where the dtype is to be another."""
    found = step.read_dtype(step.sources[0])
    if found is step.dtype:
        return step
    return replace(step, action=Action.CAST, reason=f"{step.reason}, {found.label} to {step.dtype.label}")


def _with_rows(step: Step, pair: Pair, sources: Sequence[Source]) -> Step:
    """The step with the rows of its sources, where these are matched by token."""
    if pair.rows is None:
        return step
    used = [sources.index(source) for source in step.sources]
    if len(used) == 1 and pair.rows.takes_all(used[0]):
        return step
    return replace(step, rows=pair.rows.runs_for(used), giver=sources[pair.rows.giver])


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
