"""What will happen to every tensor, made from a recipe and the checkpoints' headers; or every reason why not."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from blockmerge.core.block_settings import BlockSettings, settle_blocks
from blockmerge.core.config_edits import edit_config
from blockmerge.core.layout import Layout
from blockmerge.core.matching import match
from blockmerge.core.method import WeightKind
from blockmerge.core.methods import METHODS
from blockmerge.core.pairs import Matching, label
from blockmerge.core.parameters import Parameters, read_parameters
from blockmerge.core.recipe import Recipe
from blockmerge.core.side_file_steps import TOKENIZER_FILES, LeftOut, SideFileStep, plan_side_files
from blockmerge.core.steps import Action, OutputShard, Step, StepMaker, split
from blockmerge.core.tensors import Checkpoint
from blockmerge.core.yaml_writer import write_yaml
from blockmerge.errors import PlanError

__all__ = [
    "TOKENIZER_FILES",
    "Action",
    "LeftOut",
    "OutputShard",
    "Plan",
    "SideFileStep",
    "Step",
    "check_models",
    "make_plan",
]


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


def check_models(keys: tuple[str, ...], checkpoints: Mapping[str, Checkpoint]) -> Layout:
    """The layout that weights for these checkpoints steer. Raises PlanError with every reason why they do not fit."""
    matching = match(keys, checkpoints)
    if matching.problems:
        raise PlanError(*matching.problems)
    return matching.layout


def make_plan(recipe: Recipe, checkpoints: Mapping[str, Checkpoint]) -> Plan:
    """Decide what happens to every tensor of every checkpoint; reads nothing.

    `checkpoints` has one entry per key of the recipe's references, in their order.
    Raises PlanError with every reason why these checkpoints cannot be merged by this recipe.
    """
    matching, settings = _settle(recipe, checkpoints)
    maker = StepMaker(METHODS[recipe.method], recipe.base is not None, recipe.output.dtype)
    steps = {
        pair.name: maker.step(pair, settings.by_name[pair.name], matching.layout.places[pair.name])
        for pair in matching.pairs
    }
    head = _decide_head(matching, steps, checkpoints)
    giver = checkpoints[recipe.output.tokenizer] if matching.takes_other_rows else None
    edits = edit_config(checkpoints[recipe.owner], recipe.output.dtype, head.tie, giver)
    side_files, files_left_out = plan_side_files(recipe, checkpoints, edits, matching.takes_other_rows)
    return Plan(
        recipe=recipe,
        canonical=_canonical(recipe, checkpoints, settings),
        checkpoints=checkpoints,
        owner=recipe.owner,
        layout=matching.layout,
        shards=split([step for step in steps.values() if step.name != head.dropped], recipe.output.shard_size),
        side_files=side_files,
        left_out=(*(LeftOut(*entry) for entry in matching.left_out), *head.left_out, *files_left_out),
        notes=(
            *matching.notes,
            *_left_out_note(matching),
            *head.notes,
            *_extrapolation_note(recipe, steps.values()),
            *(warning for checkpoint in checkpoints.values() for warning in checkpoint.warnings),
        ),
    )


def _settle(recipe: Recipe, checkpoints: Mapping[str, Checkpoint]) -> tuple[Matching, BlockSettings]:
    """What belongs together and what each tensor is told. Raises PlanError with every reason why there is no plan."""
    problems = [*_check_recipe(recipe)]
    if not METHODS[recipe.method].takes(len(recipe.models)):
        raise PlanError(*problems)
    known = recipe.output.tokenizer in recipe.references
    matching = match(tuple(recipe.references), checkpoints, recipe.output.tokenizer if known else "")
    problems += matching.problems
    if not matching.pairs:
        parameters = read_parameters(recipe.parameters, METHODS[recipe.method])
        raise PlanError(*problems, *(() if isinstance(parameters, Parameters) else parameters))
    settings = settle_blocks(recipe, matching.layout)
    if not isinstance(settings, BlockSettings):
        raise PlanError(*problems, *settings)
    problems += _check_tied_copy(matching, settings)
    if problems:
        raise PlanError(*problems)
    return matching, settings


@dataclass(frozen=True, slots=True)
class _HeadDecision:
    """What becomes of a head that only some models have.

    `dropped` is the name that is not written; `tie` goes into config.json.
    """

    dropped: str | None = None
    tie: bool | None = None
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()


def _decide_head(matching: Matching, steps: Mapping[str, Step], checkpoints: Mapping[str, Checkpoint]) -> _HeadDecision:
    mixed = matching.mixed_head
    if mixed is None:
        return _HeadDecision()
    sources = next(pair.sources for pair in matching.pairs if pair.name == mixed.name)
    # Embeddings that are blended differ from the tied side's, so a head of pure tied side must then be written out.
    givers = {source.model for name in (mixed.name, mixed.embeddings) for source in steps[name].inputs}
    if len(givers) == 1 and givers <= set(mixed.tied_keys):
        [giver] = givers
        reason = f"the result is tied, as {label(giver)} is: its embeddings are its head"
        gone = tuple(LeftOut(key, tensor.name, reason) for key, tensor in sources if key not in mixed.tied_keys)
        gone += tuple(
            LeftOut(key, mixed.name, reason) for key in mixed.tied_keys if mixed.name in checkpoints[key].tensors
        )
        return _HeadDecision(mixed.name, True, gone, (f"{mixed.name} is not written: {reason}.",))
    size, tied = sources[0][1].nbytes / 1e6, " and of ".join(label(key) for key in mixed.tied_keys)
    note = f"The head of {tied} is its embeddings. The result has a head of its own: {mixed.name}, {size:.1f} MB."
    return _HeadDecision(tie=False, notes=(note,))


def _check_recipe(recipe: Recipe) -> Iterable[str]:
    method = METHODS[recipe.method]
    yield from method.misuses(len(recipe.models), recipe.base is not None)
    if "base" in recipe.models:
        yield "models.base: this key is kept for the base. Choose another one."
    if recipe.output.tokenizer not in recipe.references:
        known = ", ".join(recipe.references)
        yield f"output.tokenizer: {recipe.output.tokenizer!r} is none of the models {known}."


def _check_tied_copy(matching: Matching, settings: BlockSettings) -> Iterable[str]:
    if matching.tied_copy is None:
        return
    head, embeddings = matching.tied_copy
    own, other = settings.by_name[head], settings.by_name[embeddings]
    if own != other:
        yield (
            f"weights.tensors: {head} is tied to {embeddings}, so one weight was expected for both, found "
            f"{own.weights[-1]} and {other.weights[-1]}. Write a glob that names both, or neither."
        )


def _left_out_note(matching: Matching) -> Iterable[str]:
    """One sentence, as old files carry a buffer in every layer; `left_out` has them all."""
    for key, name, reason in matching.left_out[:1]:
        more = len(matching.left_out) - 1
        many = f" and {more} more tensors are" if more > 1 else " and one more tensor are" if more else " is"
        yield f"{name} of {label(key)}{many} left out: {reason}."


def _extrapolation_note(recipe: Recipe, steps: Iterable[Step]) -> Iterable[str]:
    if METHODS[recipe.method].kind is WeightKind.STRENGTH:
        return
    weights = Counter(step.weights for step in steps)
    beyond = sum(count for found, count in weights.items() if any(not 0 <= weight <= 1 for weight in found))
    if beyond:
        yield f"{beyond} tensors have a weight beyond 0 to 1: the result extrapolates there."


def _canonical(recipe: Recipe, checkpoints: Mapping[str, Checkpoint], settings: BlockSettings) -> str:
    """The recipe without what does not decide the bytes: no paths, and models by what identifies them."""
    value = {**recipe.model_dump(mode="json"), "weights": settings.weights, "parameters": settings.parameters}
    names = {key: held.identity for key, held in checkpoints.items()}
    # The order of the models decides which one a weight of 0 means, so it stays.
    return write_yaml(
        {**_sorted(value), "base": names.get("base"), "models": {key: names[key] for key in recipe.models}}
    )


def _sorted(value: Mapping[str, object]) -> dict[str, object]:
    return {key: _sorted(entry) if isinstance(entry, Mapping) else entry for key, entry in sorted(value.items())}
