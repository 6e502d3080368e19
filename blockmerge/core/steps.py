"""What happens to one tensor: copied, converted, or computed by the method's kernel."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from blockmerge.core.block_settings import BlockSetting
from blockmerge.core.buffers import is_buffer
from blockmerge.core.layout import Place
from blockmerge.core.method import Method, Value, WeightKind
from blockmerge.core.pairs import Pair, Source
from blockmerge.core.tensors import DType, TensorSpec
from blockmerge.core.vocabulary import RowRun


class Action(StrEnum):
    COPY = "copy"  # the bytes of the only source, unchanged
    CAST = "cast"  # the values of the only source, rounded once to another dtype
    BLEND = "blend"  # the method's kernel on all sources


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
    elements: int = field(init=False, compare=False)
    nbytes: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        # Once, as a merge of 10,000 tensors asks for them a million times.
        elements = math.prod(self.shape)
        object.__setattr__(self, "elements", elements)
        object.__setattr__(self, "nbytes", elements * self.dtype.bits // 8)

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
class _Fate:
    """What a setting means for the sources of a tensor, by their numbers: the one that is taken whole, or those that
    the kernel gets, each that is not the base with its weight."""

    taken: int | None
    used: tuple[int, ...]
    weights: tuple[float, ...]
    weight: float
    reason: str


@dataclass(frozen=True, slots=True)
class StepMaker:
    """Makes steps for one recipe: its method, whether it has a base, and the dtype it wants.

    Thousands of tensors share a setting, so what it means is kept.
    """

    method: Method
    has_base: bool
    dtype: str
    fates: dict[tuple[tuple[str, ...], BlockSetting], _Fate] = field(default_factory=dict)

    def step(self, pair: Pair, setting: BlockSetting, place: Place) -> Step:
        """One tensor's fate; where only one source is needed, its bytes can be copied."""
        sources = pair.sources
        own = sources[0].tensor
        target = self._target(own)
        if pair.copy_reason:
            if pair.owner_dtype is not None and self.dtype == "as owner":
                target = pair.owner_dtype
            return _take(Step(pair.name, target, own.shape, Action.COPY, sources[:1], 0.0, place, pair.copy_reason))
        fate = self._fate(tuple([source.model for source in sources]), setting)
        weight, reason = fate.weight, fate.reason
        if fate.taken is not None:
            chosen = (sources[fate.taken],)
            step = Step(pair.name, target, pair.shape, Action.COPY, chosen, weight, place, reason)
            return _take(_with_rows(step, pair, sources))
        used = tuple([sources[number] for number in fate.used])
        kept, parameters = fate.weights, setting.parameters
        step = Step(pair.name, target, pair.shape, Action.BLEND, used, weight, place, reason, kept, parameters)
        return _with_rows(step, pair, sources)

    def _target(self, own: TensorSpec) -> DType:
        if self.dtype == "as owner" or not own.dtype.can_blend or is_buffer(own):
            return own.dtype
        return next(dtype for dtype in DType if dtype.label == self.dtype)

    def _fate(self, keys: tuple[str, ...], setting: BlockSetting) -> _Fate:
        alike = (keys, setting)
        if alike not in self.fates:
            weights = setting.weights
            is_pair = len(weights) == 2 and self.method.kind is WeightKind.SHARE
            self.fates[alike] = _Fate(
                self._taken(setting),
                *self._used(len(keys), weights),
                weights[-1] if is_pair else max(weights),
                self._reason(keys, weights),
            )
        return self.fates[alike]

    def _taken(self, setting: BlockSetting) -> int | None:
        """The one tensor that the result equals by the meaning of the weights, if there is one."""
        weights = setting.weights
        active = [number for number, weight in enumerate(weights) if weight != 0]
        if self.method.kind is WeightKind.SHARE:
            return self.has_base + active[0] if len(active) == 1 else None
        if self.method.kind is WeightKind.STRENGTH:
            return 0 if weights == (0,) or setting.parameters.get("scale") == 1 else None
        if not active or setting.parameters["lambda"] == 0:
            return 0
        # base + 1 × (model − base) is the model, and its bytes are exact where that sum is not.
        is_whole = self.method.name == "task_arithmetic" and setting.parameters["lambda"] == 1
        return self.has_base + active[0] if is_whole and [weights[number] for number in active] == [1] else None

    def _used(self, sources: int, weights: tuple[float, ...]) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Without the models whose weight is 0, and their weights."""
        if self.method.kind is WeightKind.STRENGTH:
            return tuple(range(sources)), ()
        active = [number for number, weight in enumerate(weights) if weight != 0]
        base = (0,) if self.has_base else ()
        return (*base, *(self.has_base + number for number in active)), tuple(weights[number] for number in active)

    def _reason(self, keys: tuple[str, ...], weights: tuple[float, ...]) -> str:
        if self.method.kind is WeightKind.STRENGTH:
            return f"strength {weights[0]:g}"
        models = keys[1:] if self.has_base else keys
        if self.method.kind is WeightKind.SHARE and len(models) == 2:
            return f"weight {weights[1]:g}"
        return f"weights {', '.join(f'{key} {weight:g}' for key, weight in zip(models, weights, strict=True))}"


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
        nbytes = step.nbytes
        if groups[-1] and filled + nbytes > shard_size:
            groups.append([])
            filled = 0
        groups[-1].append(step)
        filled += nbytes
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
    nbytes: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nbytes", sum(step.nbytes for step in self.steps))
