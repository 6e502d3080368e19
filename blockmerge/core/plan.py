"""What will happen to every tensor, made from a recipe and the checkpoints' headers; or every reason why not."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from blockmerge.core.blocks import TensorWeights, resolve_weights
from blockmerge.core.layout import Layout, Place
from blockmerge.core.matching import Matching, Pair, is_buffer, label, match
from blockmerge.core.methods import METHODS
from blockmerge.core.recipe import Recipe
from blockmerge.core.tensors import Checkpoint, DType, TensorSpec
from blockmerge.core.yaml_writer import write_yaml
from blockmerge.errors import PlanError

# Files that belong to the tokenizer: they come from the checkpoint that `output.tokenizer` names.
TOKENIZER_FILES = frozenset(
    {
        "added_tokens.json",
        "chat_template.jinja",
        "chat_template.json",
        "merges.txt",
        "sentencepiece.bpe.model",
        "special_tokens_map.json",
        "spiece.model",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "vocab.json",
        "vocab.txt",
    }
)


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
    """One tensor of the result.

    For a blend, `weight` is the share of the second source; for a copy `reason` says why.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    action: Action
    sources: tuple[Source, ...]
    weight: float
    place: Place
    reason: str

    @property
    def nbytes(self) -> int:
        return self.sources[0].tensor.elements * self.dtype.bits // 8


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A tensor or a file of an input that the result does not carry, and why."""

    model: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class OutputShard:
    """A weight file of the result: its tensors in the order of their bytes."""

    name: str
    steps: tuple[Step, ...]

    @property
    def nbytes(self) -> int:
        return sum(step.nbytes for step in self.steps)


@dataclass(frozen=True, slots=True)
class SideFileStep:
    """A file beside the weights: copied byte for byte from `model`, or, for config.json, with `edits` applied.

    An edit with the value None removes the key.
    """

    name: str
    model: str
    edits: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Plan:
    """`canonical` is the recipe as text with every weight written out: equal texts mean equal results.

    `notes` are sentences for the person, about what the plan decided by itself.
    """

    recipe: Recipe
    canonical: str
    checkpoints: Mapping[str, Checkpoint]
    owner: str
    layout: Layout
    shards: tuple[OutputShard, ...]
    side_files: tuple[SideFileStep, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(step for shard in self.shards for step in shard.steps)

    @property
    def nbytes(self) -> int:
        return sum(shard.nbytes for shard in self.shards)


def check_pair(keys: tuple[str, str], checkpoints: Mapping[str, Checkpoint]) -> Layout:
    """The layout that the weights of this pair steer. Raises PlanError with every reason why the two do not fit."""
    matching = match(keys, checkpoints)
    if matching.problems:
        raise PlanError(*matching.problems)
    return matching.layout


def make_plan(recipe: Recipe, checkpoints: Mapping[str, Checkpoint]) -> Plan:
    """Decide what happens to every tensor of every checkpoint; reads nothing.

    `checkpoints` has one entry per key of the recipe's models, in their order.
    Raises PlanError with every reason why these checkpoints cannot be merged by this recipe.
    """
    matching, weights = _settle(recipe, checkpoints)
    owner = recipe.owner
    head = _decide_head(matching, weights, checkpoints)
    steps = [
        _step(pair, weights.by_name[pair.name], recipe, matching.layout.places[pair.name])
        for pair in matching.pairs
        if pair.name != head.dropped
    ]
    side_files, files_left_out = _side_files(
        recipe, checkpoints, _config_edits(checkpoints[owner], recipe.output.dtype, head)
    )
    return Plan(
        recipe=recipe,
        canonical=_canonical(recipe, checkpoints, weights),
        checkpoints=checkpoints,
        owner=owner,
        layout=matching.layout,
        shards=_split(steps, recipe.output.shard_size),
        side_files=side_files,
        left_out=(*(LeftOut(*entry) for entry in matching.left_out), *head.left_out, *files_left_out),
        notes=(
            *_left_out_note(matching),
            *head.notes,
            *_extrapolation_note(weights),
            *(warning for checkpoint in checkpoints.values() for warning in checkpoint.warnings),
        ),
    )


def _settle(recipe: Recipe, checkpoints: Mapping[str, Checkpoint]) -> tuple[Matching, TensorWeights]:
    """The pairs of tensors and the weight of each. Raises PlanError with every reason why there is no plan."""
    problems = [*_check_recipe(recipe)]
    if len(recipe.models) != METHODS[recipe.method].models:
        raise PlanError(*problems)
    owner, other = recipe.models
    matching = match((owner, other), checkpoints)
    problems += matching.problems
    if not matching.pairs:
        raise PlanError(*problems)
    weights = resolve_weights(recipe, matching.layout)
    if not isinstance(weights, TensorWeights):
        raise PlanError(*problems, *weights)
    problems += [*_check_range(recipe, weights), *_check_tied_copy(matching, weights)]
    if problems:
        raise PlanError(*problems)
    return matching, weights


@dataclass(frozen=True, slots=True)
class _HeadDecision:
    """What becomes of a head that only one model has.

    `dropped` is the name that is not written; `tie` goes into config.json.
    """

    dropped: str | None = None
    tie: bool | None = None
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()


def _decide_head(matching: Matching, weights: TensorWeights, checkpoints: Mapping[str, Checkpoint]) -> _HeadDecision:
    mixed = matching.mixed_head
    if mixed is None:
        return _HeadDecision()
    tied = label(mixed.tied_key)
    sources = next(pair.sources for pair in matching.pairs if pair.name == mixed.name)
    # Embeddings that are blended differ from the tied side's, so a head of pure tied side must then be written out.
    if weights.by_name[mixed.name] == weights.by_name[mixed.embeddings] == mixed.tied_weight:
        reason = f"the result is tied, as {tied} is: its embeddings are its head"
        gone = tuple(LeftOut(key, tensor.name, reason) for key, tensor in sources if key != mixed.tied_key)
        if mixed.name in checkpoints[mixed.tied_key].tensors:
            gone += (LeftOut(mixed.tied_key, mixed.name, reason),)
        return _HeadDecision(mixed.name, True, gone, (f"{mixed.name} is not written: {reason}.",))
    size = sources[0][1].nbytes / 1e6
    note = f"The head of {tied} is its embeddings. The result has a head of its own: {mixed.name}, {size:.1f} MB."
    return _HeadDecision(tie=False, notes=(note,))


def _check_recipe(recipe: Recipe) -> Iterable[str]:
    method = METHODS[recipe.method]
    if len(recipe.models) != method.models:
        yield f"models: {method.name} blends {method.models} models, the recipe names {len(recipe.models)}."
    if recipe.base is not None:
        yield f"base: {method.name} takes no base. Remove the key or write 'base: null'."
    for name in recipe.parameters:
        yield f"parameters.{name}: {method.name} has no parameters. Remove it."
    if recipe.output.tokenizer not in recipe.models:
        yield f"output.tokenizer: {recipe.output.tokenizer!r} is none of the models {', '.join(recipe.models)}."


def _check_range(recipe: Recipe, weights: TensorWeights) -> Iterable[str]:
    method = METHODS[recipe.method]
    wrong = {weight for weight in weights.by_name.values() if not method.weight_low <= weight <= method.weight_high}
    if wrong:
        found = ", ".join(str(weight) for weight in sorted(wrong))
        yield f"weights: {method.name} takes {method.weight_low:g} to {method.weight_high:g}, found {found}."


def _check_tied_copy(matching: Matching, weights: TensorWeights) -> Iterable[str]:
    if matching.tied_copy is None:
        return
    head, embeddings = matching.tied_copy
    if weights.by_name[head] != weights.by_name[embeddings]:
        yield (
            f"weights.tensors: {head} is tied to {embeddings}, so one weight was expected for both, found "
            f"{weights.by_name[head]} and {weights.by_name[embeddings]}. Write a glob that names both, or neither."
        )


def _left_out_note(matching: Matching) -> Iterable[str]:
    """One sentence, as old files carry a buffer in every layer; `left_out` has them all."""
    for key, name, reason in matching.left_out[:1]:
        more = len(matching.left_out) - 1
        many = f" and {more} more tensors are" if more > 1 else " and one more tensor are" if more else " is"
        yield f"{name} of {label(key)}{many} left out: {reason}."


def _extrapolation_note(weights: TensorWeights) -> Iterable[str]:
    beyond = sum(not 0 <= weight <= 1 for weight in weights.by_name.values())
    if beyond:
        yield f"{beyond} tensors have a weight beyond 0 to 1: the result extrapolates there."


def _step(pair: Pair, weight: float, recipe: Recipe, place: Place) -> Step:
    """One tensor's fate; the weight 0 or 1 needs one source only, so its bytes can be copied."""
    a, b = pair.sources[0], pair.sources[-1]
    owner, other = Source(a[0], a[1]), Source(b[0], b[1])
    target = a[1].dtype if is_buffer(a[1]) else _target_dtype(a[1].dtype, recipe.output.dtype)
    if pair.copy_reason:
        action = Action.COPY if target is a[1].dtype else Action.CAST
        return Step(pair.name, target, a[1].shape, action, (owner,), 0.0, place, pair.copy_reason)
    if weight not in (0, 1):
        return Step(pair.name, target, a[1].shape, Action.BLEND, (owner, other), weight, place, f"weight {weight:g}")
    chosen = other if weight == 1 else owner
    same = chosen.tensor.dtype is target
    reason = f"weight {weight:g}" if same else f"weight {weight:g}, {chosen.tensor.dtype.label} to {target.label}"
    action = Action.COPY if same else Action.CAST
    return Step(pair.name, target, a[1].shape, action, (chosen,), weight, place, reason)


def _target_dtype(own: DType, wanted: str) -> DType:
    if wanted == "as owner" or not own.can_blend:
        return own
    return next(dtype for dtype in DType if dtype.label == wanted)


def _split(steps: list[Step], shard_size: int) -> tuple[OutputShard, ...]:
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


def _side_files(
    recipe: Recipe, checkpoints: Mapping[str, Checkpoint], config_edits: Mapping[str, object]
) -> tuple[tuple[SideFileStep, ...], tuple[LeftOut, ...]]:
    taken: list[SideFileStep] = []
    left_out = [LeftOut(key, name, reason) for key, held in checkpoints.items() for name, reason in held.skipped]
    for key, checkpoint in checkpoints.items():
        for file in checkpoint.side_files:
            giver = recipe.output.tokenizer if file.name in TOKENIZER_FILES else recipe.owner
            if key == giver:
                taken.append(SideFileStep(file.name, key, config_edits if file.name == "config.json" else {}))
            else:
                left_out.append(LeftOut(key, file.name, f"this file comes from {label(giver)}"))
    return tuple(taken), tuple(left_out)


def _config_edits(owner: Checkpoint, wanted: str, head: _HeadDecision) -> dict[str, object]:
    config, edits = owner.config, dict[str, object]()
    if "auto_map" in config:
        edits["auto_map"] = None  # it names code files, and these are never carried along
    dtype_key = "torch_dtype" if "torch_dtype" in config else "dtype"
    if wanted not in ("as owner", config.get(dtype_key)):
        edits[dtype_key] = wanted
    if head.tie is not None and config.get("tie_word_embeddings") is not head.tie:
        edits["tie_word_embeddings"] = head.tie
    return edits


def _canonical(recipe: Recipe, checkpoints: Mapping[str, Checkpoint], weights: TensorWeights) -> str:
    """The recipe without what does not decide the bytes: local models as folder name and header digest, no paths."""
    value = {**recipe.model_dump(mode="json"), "weights": weights.resolved}
    models = {key: f"{held.name}@{held.header_digest}" for key, held in checkpoints.items()}
    # The order of the models decides which one a weight of 0 means, so it stays.
    return write_yaml({**_sorted(value), "models": models})


def _sorted(value: Mapping[str, object]) -> dict[str, object]:
    return {key: _sorted(entry) if isinstance(entry, Mapping) else entry for key, entry in sorted(value.items())}
