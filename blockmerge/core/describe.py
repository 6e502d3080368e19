"""Checkpoints and plans in words and as JSON values, the same for the command line and the page."""

from collections.abc import Iterable, Mapping
from typing import Any

from blockmerge.core.blocks import Blocks, list_blocks
from blockmerge.core.difference import Difference
from blockmerge.core.heads import find_head
from blockmerge.core.method import WeightKind
from blockmerge.core.methods import METHODS
from blockmerge.core.pairs import label
from blockmerge.core.plan import Plan
from blockmerge.core.steps import Action, Step
from blockmerge.core.tensors import Checkpoint


def size_text(nbytes: float) -> str:
    """Bytes in decimal units with three digits: "14.5 GB"."""
    return _three_digits(nbytes, ("kB", "MB", "GB", "TB")) or f"{nbytes:.0f} bytes"


def count_text(elements: int) -> str:
    """A number of parameters as people say it: "7.2 B"."""
    return _three_digits(elements, ("k", "M", "B")) or str(elements)


def _three_digits(number: float, units: tuple[str, ...]) -> str:
    """The number in the unit that leaves the fewest digits before the point; "" below the first."""
    text = ""
    for power, unit in enumerate(units, 1):
        share = number / 1000**power
        if round(number / 1000 ** (power - 1)) >= 1000:
            text = f"{share:.0f} {unit}" if round(share, 1) >= 100 else f"{share:.1f} {unit}"
    return text


def blocks_value(blocks: Blocks) -> dict[str, Any]:
    """The legal block names as `inspect --json` prints them."""
    return {
        "stacks": [
            {"name": stack.name, "layers": stack.depth, "lanes": list(stack.lanes), "rows": list(stack.rows)}
            for stack in blocks.stacks
        ],
        "rows": list(blocks.rows),
    }


def describe_checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    """What `inspect --json` prints. Raises CheckpointError where no layers are found."""
    layout = checkpoint.layout
    head = find_head(checkpoint, layout)
    vocabulary = checkpoint.tensors[head.embeddings].shape[0] if head else checkpoint.config.get("vocab_size")
    return {
        "model": checkpoint.name,
        "model_type": checkpoint.model_type,
        **blocks_value(list_blocks(layout)),
        "modules": {stack.name: [list(modules) for modules in stack.modules] for stack in layout.stacks},
        "dtype": checkpoint.dtype.label,
        "parameters": checkpoint.elements,
        "bytes": checkpoint.nbytes,
        "tensors": len(checkpoint.tensors),
        "shards": [shard.name for shard in checkpoint.shards],
        "vocabulary": vocabulary,
        "tied": bool(head and head.tied),
        "side_files": [file.name for file in checkpoint.side_files],
        "warnings": list(checkpoint.warnings),
    }


def describe_plan(plan: Plan) -> dict[str, Any]:
    """What `plan --json` prints: every tensor of every input appears in `steps` or in `left_out`."""
    return {
        "owner": plan.owner,
        "recipe": plan.canonical,
        "bytes": plan.nbytes,
        "files": [{"name": shard.name, "bytes": shard.nbytes, "tensors": len(shard.steps)} for shard in plan.shards],
        "counts": {action.value: sum(step.action is action for step in plan.steps) for action in Action},
        "layers": layer_counts(plan),
        "steps": [_step_value(step) for step in plan.steps],
        "side_files": [{"name": file.name, "from": file.model, "edits": dict(file.edits)} for file in plan.side_files],
        "left_out": [{"model": item.model, "name": item.name, "reason": item.reason} for item in plan.left_out],
        "notes": list(plan.notes),
    }


def _step_value(step: Step) -> dict[str, Any]:
    place = step.place
    return {
        "name": step.name,
        "action": step.action.value,
        "weight": step.weight,
        "weights": _weights_value(step),
        "reason": step.reason,
        "dtype": step.dtype.label,
        "shape": list(step.shape),
        "stack": place.stack,
        "layer": place.layer,
        "module": place.module,
        "sources": [{"model": s.model, "name": s.tensor.name, "file": s.tensor.file} for s in step.inputs],
    }


def _weights_value(step: Step) -> dict[str, float]:
    """The weight of each source that is not the base; nothing for a copy or a method of strengths."""
    models = step.sources[len(step.sources) - len(step.weights) :]
    return {source.model: weight for source, weight in zip(models, step.weights, strict=True)}


def layer_counts(plan: Plan) -> Mapping[str, int]:
    """How many layers are copied whole and how many are computed, at least in part."""
    computed: dict[tuple[str | None, int], bool] = {}
    for step in plan.steps:
        if step.place.layer is not None:
            key = (step.place.stack, step.place.layer)
            computed[key] = computed.get(key, False) or step.action is not Action.COPY
    return {"copied": sum(not done for done in computed.values()), "computed": sum(computed.values())}


def formula(plan: Plan, names: Mapping[str, str]) -> str:
    """The whole merge as one sentence; `names` are the models' names as people know them."""
    weights = [step.weight for step in plan.steps if step.place.layer is not None]
    counts = layer_counts(plan)
    return (
        f"{_equation(plan, names)}, with w from {min(weights):.2f} to {max(weights):.2f}. "
        f"{_layers(counts['copied'])} copied, {counts['computed']} computed."
    )


def _equation(plan: Plan, names: Mapping[str, str]) -> str:
    method = METHODS[plan.recipe.method]
    owner, *others = (names[key] for key in plan.checkpoints)
    models = [names[key] for key in plan.recipe.models]
    if method.name == "linear" and len(others) == 1:
        return f"Merged = {owner} × (1 − w) + {others[0]} × w"
    if method.kind is WeightKind.AMOUNT:
        return f"Merged = {owner} + {method.title} of w × ({', '.join(models)}, less {owner})"
    if method.kind is WeightKind.STRENGTH:
        return f"Merged = {owner} × (1 − w) + {method.title} of {', '.join([owner, *others])} × w"
    origin = f" less {owner}, added to it" if plan.recipe.base is not None else ""
    return f"Merged = {method.title} of {', '.join(models)}{origin}, by shares w"


def _layers(count: int) -> str:
    return "1 layer" if count == 1 else f"{count} layers"


def plan_sentences(plan: Plan) -> Iterable[str]:
    """The plan for a reader at a terminal: the formula, the files, what is left out and why."""
    yield formula(plan, {key: held.name for key, held in plan.checkpoints.items()})
    counts = {action: sum(step.action is action for step in plan.steps) for action in Action}
    yield (
        f"{len(plan.steps)} tensors, {size_text(plan.nbytes)}: {counts[Action.BLEND]} blended, "
        f"{counts[Action.COPY]} copied, {counts[Action.CAST]} converted."
    )
    for shard in plan.shards:
        yield f"  {shard.name}  {size_text(shard.nbytes)}  {len(shard.steps)} tensors"
    for file in plan.side_files:
        edited = f" with {', '.join(sorted(file.edits))} changed" if file.edits else ""
        yield f"  {file.name}  from {label(file.model)}{edited}"
    for item in plan.left_out:
        yield f"  left out: {item.name} of {label(item.model)}: {item.reason}"
    yield from plan.notes


def difference_sentences(difference: Difference) -> Iterable[str]:
    """A line for each block, the layers of one stack below each other."""
    yield f"whole model: {_apart(difference.distance, difference.cosine)}"
    for block in difference.blocks:
        where = "" if block.layer is None else f" layer {block.layer}"
        yield f"  {f'{block.stack or str()}{where} {block.module}'.strip()}: {_apart(block.distance, block.cosine)}"
    yield from difference.notes


def _apart(distance: float | None, cosine: float | None) -> str:
    if distance is None or cosine is None:
        return "one of them is all zeros"
    return f"‖A − B‖ / ‖A‖ = {distance:.4g}, cosine {cosine:.6f}"
