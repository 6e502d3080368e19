"""Which tensor of one checkpoint answers which of the other."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from blockmerge.core.detection import detect_layout
from blockmerge.core.heads import Head, find_head, move_head
from blockmerge.core.layout import Layout
from blockmerge.core.tensors import Checkpoint, TensorSpec

# Numbers that code keeps beside the weights: computed from the config, never learned, so never averaged.
BUFFERS = ("rotary_emb.inv_freq", "masked_bias", "position_ids")
# GPT-2's and GPT-NeoX's causal masks have four dimensions; the bias of a Linear of the same name has one.
MASKS = ("attn.bias", "attention.bias")


@dataclass(frozen=True, slots=True)
class Pair:
    """A tensor of the result and where its numbers come from: (model key, tensor), the owner's first.

    `copy_reason` is set when the owner's bytes are taken whatever the weight.
    """

    name: str
    sources: tuple[tuple[str, TensorSpec], ...]
    copy_reason: str = ""


@dataclass(frozen=True, slots=True)
class MixedHead:
    """The heads of the models `tied_keys` are tied to their embeddings, those of others are not.

    `name` and `embeddings` are the owner's names, or what its head is called where it stores none.
    """

    name: str
    embeddings: str
    tied_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Matching:
    """All pairs in the owner's order, on a layout that has every one of them; what stays behind as (model key, name,
    reason); any problem stops the plan.

    `tied_copy` names a head that the owner stores although it is tied, and the embeddings that it is a copy of.
    """

    layout: Layout
    pairs: tuple[Pair, ...] = ()
    left_out: tuple[tuple[str, str, str], ...] = ()
    mixed_head: MixedHead | None = None
    tied_copy: tuple[str, str] | None = None
    problems: tuple[str, ...] = ()


def label(key: str) -> str:
    """A model's key as people read it: "a" is A."""
    return key.upper() if len(key) == 1 else key


def shape_text(shape: tuple[int, ...]) -> str:
    return "×".join(str(size) for size in shape) or "a single number"


def match(keys: tuple[str, ...], checkpoints: Mapping[str, Checkpoint]) -> Matching:
    """Put the tensors of the owner (the first key) together with those of all others.

    Raises CheckpointError where one of them has no layers.
    """
    owner, *others = keys
    if not others:
        # With itself, so that the same is checked; then the second of the same sources goes.
        alone = match_two((owner, owner), checkpoints)
        return replace(alone, pairs=tuple(replace(pair, sources=pair.sources[:1]) for pair in alone.pairs))
    return _join(keys, checkpoints, [match_two((owner, other), checkpoints) for other in others])


def _join(keys: tuple[str, ...], checkpoints: Mapping[str, Checkpoint], two: Sequence[Matching]) -> Matching:
    """The matchings of the owner with each of the others as one."""
    if len(two) == 1:
        return two[0]
    problems = tuple(dict.fromkeys(problem for matching in two for problem in matching.problems))
    if not all(matching.pairs for matching in two):
        return Matching(two[0].layout, problems=problems)
    mixed = _join_heads(keys, checkpoints, two)
    # Where the head got a place of its own; all other places are the same in every matching.
    layout = next((matching.layout for matching in two if matching.mixed_head), two[0].layout)
    pairs = [{pair.name: pair for pair in matching.pairs} for matching in two]
    joined: dict[str, Pair] = {}
    for name in dict.fromkeys(name for held in pairs for name in held):
        found = [held[name] for held in pairs if name in held]
        reason = next((pair.copy_reason for pair in found if pair.copy_reason), "")
        others = () if reason else tuple(source for pair in found for source in pair.sources[1:])
        joined[name] = Pair(name, (*found[0].sources[:1], *others), reason)
    if mixed is not None:
        joined[mixed.name] = Pair(mixed.name, _head_sources(keys, checkpoints, joined[mixed.name], mixed))
    return Matching(
        layout,
        tuple(joined.values()),
        tuple(dict.fromkeys(entry for matching in two for entry in matching.left_out)),
        mixed,
        None if mixed else two[0].tied_copy,
        problems,
    )


def _join_heads(
    keys: tuple[str, ...], checkpoints: Mapping[str, Checkpoint], two: Sequence[Matching]
) -> MixedHead | None:
    first = next((matching.mixed_head for matching in two if matching.mixed_head), None)
    if first is None:
        return None
    heads = {key: find_head(checkpoints[key], _layout(checkpoints[key])) for key in keys}
    return replace(first, tied_keys=tuple(key for key, head in heads.items() if head and head.tied))


def _head_sources(
    keys: tuple[str, ...], checkpoints: Mapping[str, Checkpoint], pair: Pair, mixed: MixedHead
) -> tuple[tuple[str, TensorSpec], ...]:
    """One source for every model in their order: where owner and other are both tied, they made no pair for a head."""
    found = dict(pair.sources)
    for key in mixed.tied_keys:
        head = find_head(checkpoints[key], _layout(checkpoints[key]))
        if head is not None:
            found[key] = checkpoints[key].tensors[head.embeddings]
    return tuple((key, found[key]) for key in keys if key in found)


def match_two(keys: tuple[str, str], checkpoints: Mapping[str, Checkpoint]) -> Matching:
    """Pair the tensors of the owner (the first key) with the other's by name."""
    owner, other = (checkpoints[key] for key in keys)
    layout, other_layout = (_layout(checkpoint) for checkpoint in (owner, other))
    problems = list(_compare_depths(keys, layout, other_layout))
    if problems:
        return Matching(layout, problems=tuple(problems))
    problems += _inside_one_only(keys, (owner, other), (layout, other_layout))
    pairs = {name: _pair(keys, tensor, other.tensors.get(name)) for name, tensor in owner.tensors.items()}
    heads = (find_head(owner, layout), find_head(other, other_layout))
    head_pair, mixed, tied_copy = _pair_heads(keys, (owner, other), heads)
    if head_pair is not None:
        pairs[head_pair.name] = head_pair
    if tied_copy is not None:
        layout = move_head(layout, tied_copy[0], layout.places[tied_copy[1]])
    elif mixed is not None and mixed.name not in layout.places:
        layout = move_head(layout, mixed.name, other_layout.places[mixed.name])
    problems += _check_modelss(keys, pairs.values())
    used = {tensor.name for pair in pairs.values() for key, tensor in pair.sources if key == keys[1]}
    left_out = tuple(
        (keys[1], name, f"{label(keys[0])} has no such tensor")
        for name in other.tensors
        if name not in pairs and name not in used
    )
    return Matching(layout, tuple(pairs.values()), left_out, mixed, tied_copy, tuple(problems))


def _layout(checkpoint: Checkpoint) -> Layout:
    return detect_layout({name: tensor.shape for name, tensor in checkpoint.tensors.items()}, checkpoint.config)


def _compare_depths(keys: tuple[str, str], own: Layout, other: Layout) -> Iterable[str]:
    a, b = (label(key) for key in keys)
    depths = {stack.name: stack.depth for stack in other.stacks}
    if {stack.name for stack in own.stacks} != depths.keys():
        theirs = ", ".join(depths)
        ours = ", ".join(stack.name for stack in own.stacks)
        yield f"{a} has the stacks {ours}, {b} has {theirs}. These are different kinds of model. Choose another {b}."
        return
    for stack in own.stacks:
        if stack.depth != depths[stack.name]:
            where = f" in {stack.name}" if len(own.stacks) > 1 else ""
            yield (
                f"{a} has {stack.depth} layers{where}, {b} has {depths[stack.name]}. "
                f"A blend needs the same number. Choose another {b}."
            )


def _inside_one_only(
    keys: tuple[str, str], checkpoints: tuple[Checkpoint, Checkpoint], layouts: tuple[Layout, Layout]
) -> Iterable[str]:
    for (here, there), (own, other), layout in (
        (keys, checkpoints, layouts[0]),
        (keys[::-1], checkpoints[::-1], layouts[1]),
    ):
        lonely = [
            name
            for name in own.tensors
            if name not in other.tensors and layout.places[name].layer is not None and not is_buffer(own.tensors[name])
        ]
        if lonely:
            more = f" and {len(lonely) - 1} more tensors" if len(lonely) > 1 else ""
            yield (
                f"{label(here)} has {lonely[0]}{more} inside its layers, {label(there)} has not. "
                "Merge models of one architecture."
            )


def is_buffer(tensor: TensorSpec) -> bool:
    return tensor.name.endswith(BUFFERS) or (tensor.name.endswith(MASKS) and len(tensor.shape) == 4)


def _pair(keys: tuple[str, str], own: TensorSpec, other: TensorSpec | None) -> Pair:
    if is_buffer(own):
        return Pair(own.name, ((keys[0], own),), "a buffer, computed from the config")
    if own.dtype.is_integer:
        return Pair(own.name, ((keys[0], own),), "whole numbers are never averaged")
    if other is None:
        return Pair(own.name, ((keys[0], own),), f"{label(keys[1])} has no such tensor")
    return Pair(own.name, ((keys[0], own), (keys[1], other)))


def _pair_heads(
    keys: tuple[str, str], checkpoints: tuple[Checkpoint, Checkpoint], heads: tuple[Head | None, Head | None]
) -> tuple[Pair | None, MixedHead | None, tuple[str, str] | None]:
    """The pair of a head where it is not one of equal names: where only one side is tied, or a tied side stores it."""
    own, other = heads
    if own is None or other is None or not (own.tied or other.tied):
        return None, None, None
    name = (own.head or other.head) if own.tied and not other.tied else own.head
    if name is None:
        return None, None, None
    sources = tuple(
        (key, checkpoint.tensors[head.embeddings if head.tied else head.head or head.embeddings])
        for key, checkpoint, head in zip(keys, checkpoints, (own, other), strict=True)
    )
    if own.tied and other.tied:
        return Pair(name, sources), None, (name, own.embeddings)
    tied_key = keys[0] if own.tied else keys[1]
    return Pair(name, sources), MixedHead(name, own.embeddings, (tied_key,)), None


def _check_modelss(keys: tuple[str, str], pairs: Iterable[Pair]) -> Iterable[str]:
    """Shapes must agree and dtypes must be ones that can be blended; of many alike, the first speaks."""
    blended = [pair.sources for pair in pairs if not pair.copy_reason]
    a, b = (label(key) for key in keys)
    odd = [(key, tensor) for sources in blended for key, tensor in sources if not tensor.dtype.can_blend]
    for key, tensor in odd[:1]:
        yield (
            f"{tensor.name} of {label(key)} is {tensor.dtype.label}, which cannot be averaged. "
            f"{_more(len(odd) - 1, 'like it')}Use the original weights."
        )
    misshapen = [(own, other) for (_, own), (_, other) in blended if own.shape != other.shape]
    for own, other in misshapen[:1]:
        yield (
            f"{own.name} is {shape_text(own.shape)} in {a} and {shape_text(other.shape)} in {b}. "
            f"{_more(len(misshapen) - 1, 'differ too')}These are different sizes of model. Choose another {b}."
        )


def _more(count: int, what: str) -> str:
    return f"{count} more {what}. " if count else ""
