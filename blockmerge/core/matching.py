"""Which tensor of one checkpoint answers which of the other."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from blockmerge.core.buffers import is_buffer
from blockmerge.core.canonical import Alignment, align
from blockmerge.core.heads import Head, find_head, move_head
from blockmerge.core.layout import Layout
from blockmerge.core.pairs import LACKING, Matching, MixedHead, Pair, Source, label, shape_text
from blockmerge.core.quirks import find_quirks
from blockmerge.core.tensors import Checkpoint, TensorSpec
from blockmerge.core.token_rows import TokenMatching

_EXPERT = re.compile(r"experts?\.\d+\.")


def match(keys: tuple[str, ...], checkpoints: Mapping[str, Checkpoint], tokenizer: str = "") -> Matching:
    """Put the tensors of the owner (the first key) together with those of all others, by canonical name.

    `tokenizer` is the key of the model whose vocabulary the result has, the owner where it is empty.
    Raises CheckpointError where one of them has no layers.
    """
    owner, *others = keys
    if not others:
        # With itself, so that the same is checked; then the second of the same sources goes.
        alone = _settle_rows((owner,), checkpoints, match_two((owner, owner), checkpoints), owner)
        return replace(alone, pairs=tuple(replace(pair, sources=pair.sources[:1]) for pair in alone.pairs))
    joined = _join(keys, checkpoints, [match_two((owner, other), checkpoints) for other in others])
    return _settle_rows(keys, checkpoints, joined, tokenizer or owner)


def _settle_rows(
    keys: tuple[str, ...], checkpoints: Mapping[str, Checkpoint], matching: Matching, tokenizer: str
) -> Matching:
    """The matching with rows matched by token; what then still has another shape is a problem."""
    if not matching.pairs:
        return matching
    vocabulary = TokenMatching.of(keys, checkpoints, tokenizer, matching.pairs)
    pairs = tuple(vocabulary.match_rows(pair) for pair in matching.pairs)
    misfits = [*vocabulary.strangers(matching.pairs)]
    misfits += [problem for other in keys[1:] or keys for problem in _check_models((keys[0], other), pairs)]
    return replace(
        matching,
        pairs=pairs,
        problems=tuple(dict.fromkeys((*matching.problems, *misfits))),
        notes=(*matching.notes, *vocabulary.notes(pairs)),
        takes_other_rows=vocabulary.takes_other_rows,
    )


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
        joined[mixed.name] = _join_head(keys, _head_sources(keys, checkpoints, joined[mixed.name], mixed), mixed.name)
    return Matching(
        layout,
        tuple(joined.values()),
        tuple(dict.fromkeys(entry for matching in two for entry in matching.left_out)),
        mixed,
        None if mixed else two[0].tied_copy,
        problems,
        tuple(dict.fromkeys(note for matching in two for note in matching.notes)),
    )


def _join_head(keys: tuple[str, ...], sources: tuple[Source, ...], name: str) -> Pair:
    """The head of all models, or the first one's where a model has none, as with every tensor outside the layers."""
    without = [key for key in keys if key not in dict(sources)]
    return Pair(name, sources[:1], f"{label(without[0])} {LACKING}") if without else Pair(name, sources)


def _join_heads(
    keys: tuple[str, ...], checkpoints: Mapping[str, Checkpoint], two: Sequence[Matching]
) -> MixedHead | None:
    first = next((matching.mixed_head for matching in two if matching.mixed_head), None)
    if first is None:
        return None
    heads = {key: find_head(checkpoints[key], checkpoints[key].layout) for key in keys}
    return replace(first, tied_keys=tuple(key for key, head in heads.items() if head and head.tied))


def _head_sources(
    keys: tuple[str, ...], checkpoints: Mapping[str, Checkpoint], pair: Pair, mixed: MixedHead
) -> tuple[Source, ...]:
    """One source for every model in their order: where owner and other are both tied, they made no pair for a head."""
    found = dict[str, TensorSpec](pair.sources)
    for key in mixed.tied_keys:
        head = find_head(checkpoints[key], checkpoints[key].layout)
        if head is not None:
            found[key] = checkpoints[key].tensors[head.embeddings]
    return tuple(Source(key, found[key]) for key in keys if key in found)


def match_two(keys: tuple[str, str], checkpoints: Mapping[str, Checkpoint]) -> Matching:
    """Pair the tensors of the owner (the first key) with the other's; shapes are not compared yet."""
    owner, other = (checkpoints[key] for key in keys)
    alignment = align(owner.shapes, other.shapes)
    # From here on the other's tensors are called as the owner's; each still knows its own name.
    other = replace(other, tensors={alignment.names[name]: tensor for name, tensor in other.tensors.items()})
    layouts = (owner.layout, other.layout_beside(owner))
    problems = list(_compare_stacks(keys, *layouts))
    if problems:
        return Matching(layouts[0], problems=tuple(problems))
    return _match_aligned(keys, (owner, other), layouts, _describe(keys[1], alignment))


def _match_aligned(
    keys: tuple[str, str],
    checkpoints: tuple[Checkpoint, Checkpoint],
    layouts: tuple[Layout, Layout],
    notes: Iterable[str],
) -> Matching:
    owner, other = checkpoints
    problems = list(_inside_one_only(keys, checkpoints, layouts))
    pairs = {name: _pair(keys, tensor, other.tensors.get(name)) for name, tensor in owner.tensors.items()}
    heads = (find_head(owner, layouts[0]), find_head(other, layouts[1]))
    head_pair, mixed, tied_copy = _pair_heads(keys, checkpoints, heads)
    if head_pair is not None:
        pairs[head_pair.name] = head_pair
    problems += _check_integers(keys, owner, other)
    quirks = (quirk.note for quirk in find_quirks(owner.config) if quirk.note)
    return Matching(
        layout=_with_head(layouts, mixed, tied_copy),
        pairs=tuple(pairs.values()),
        left_out=tuple(_left_out(keys, other, tuple(pairs.values()))),
        mixed_head=mixed,
        tied_copy=tied_copy,
        problems=tuple(problems),
        notes=(*_compare_kinds(keys, checkpoints), *notes, *quirks),
    )


def _with_head(layouts: tuple[Layout, Layout], mixed: MixedHead | None, tied_copy: tuple[str, str] | None) -> Layout:
    """The owner's layout with the head in the row whose weight it gets."""
    layout, other = layouts
    if tied_copy is not None:
        return move_head(layout, tied_copy[0], layout.places[tied_copy[1]])
    if mixed is not None and mixed.name not in layout.places:
        return move_head(layout, mixed.name, other.places[mixed.name])
    return layout


def _left_out(keys: tuple[str, str], other: Checkpoint, pairs: Sequence[Pair]) -> Iterable[tuple[str, str, str]]:
    used = {tensor.name for pair in pairs for key, tensor in pair.sources if key == keys[1]}
    names = {pair.name for pair in pairs}
    for name, tensor in other.tensors.items():
        if name not in names and tensor.name not in used:
            yield keys[1], tensor.name, f"{label(keys[0])} {LACKING}"


def _compare_kinds(keys: tuple[str, str], checkpoints: tuple[Checkpoint, Checkpoint]) -> Iterable[str]:
    kinds = [checkpoint.model_type for checkpoint in checkpoints]
    if kinds[0] != kinds[1]:
        a, b = (label(key) for key in keys)
        yield f"{a} says it is {kinds[0]}, {b} says it is {kinds[1]}; their tensors fit. The result is {kinds[0]}."


def _describe(key: str, alignment: Alignment) -> Iterable[str]:
    """What was done to the other's names, as sentences."""
    for rename in alignment.renames:
        if not rename.found:
            yield f"The names of {label(key)} are read with '{rename.read_as}.' before them."
        elif not rename.read_as:
            yield f"The names of {label(key)} are read without '{rename.found}.' before them."
        else:
            yield f"Names of {label(key)} that begin with '{rename.found}.' are read as '{rename.read_as}.'."
    if alignment.respelled:
        yield (
            f"{alignment.respelled} names of {label(key)} are read as they are written today: weight and bias for "
            "gamma and beta, and without 'module.' and '_orig_mod.'."
        )


def _compare_stacks(keys: tuple[str, str], own: Layout, other: Layout) -> Iterable[str]:
    a, b = (label(key) for key in keys)
    depths = {stack.prefix: stack.depth for stack in other.stacks}
    if {stack.prefix for stack in own.stacks} != depths.keys():
        ours, theirs = (", ".join(stack.name for stack in layout.stacks) for layout in (own, other))
        if ours == theirs:
            ours, theirs = (", ".join(stack.prefix for stack in layout.stacks) for layout in (own, other))
        yield f"{a} has the stacks {ours}, {b} has {theirs}. These are different kinds of model. Choose another {b}."
        return
    for stack in own.stacks:
        if stack.depth != depths[stack.prefix]:
            where = f" in {stack.name}" if len(own.stacks) > 1 else ""
            yield (
                f"{a} has {stack.depth} layers{where}, {b} has {depths[stack.prefix]}. "
                f"A blend needs the same number. Choose another {b}."
            )


def _inside_one_only(
    keys: tuple[str, str], checkpoints: tuple[Checkpoint, Checkpoint], layouts: tuple[Layout, Layout]
) -> Iterable[str]:
    lonely = [
        [
            tensor.name
            for name, tensor in own.tensors.items()
            if name not in other.tensors and layout.places[name].layer is not None and not is_buffer(tensor)
        ]
        for own, other, layout in zip(checkpoints, checkpoints[::-1], layouts, strict=True)
    ]
    a, b = (label(key) for key in keys)
    if any(lonely) and all("expert" in name for names in lonely for name in names):
        counts = [_count_experts(checkpoint.tensors) for checkpoint in checkpoints]
        if all(counts) and counts[0] != counts[1]:
            yield (
                f"{a} has {counts[0]} experts in a layer, {b} has {counts[1]}. A blend needs the same number. "
                f"Choose another {b}."
            )
            return
        if not all(counts):
            fused, single = (a, b) if counts[1] else (b, a)
            yield (
                f"{fused} stores the experts of a layer in one tensor, {single} in one for each. "
                f"Load {fused} in transformers and save it with save_pretrained, then choose that copy."
            )
            return
    for here, there, names in ((a, b, lonely[0]), (b, a, lonely[1])):
        if names:
            more = f" and {len(names) - 1} more tensors" if len(names) > 1 else ""
            yield f"{here} has {names[0]}{more} inside its layers, {there} has not. Merge models of one architecture."


def _count_experts(names: Iterable[str]) -> int:
    return len({match[0] for name in names if (match := _EXPERT.search(name))})


def _pair(keys: tuple[str, str], own: TensorSpec, other: TensorSpec | None) -> Pair:
    if is_buffer(own):
        return Pair(own.name, (Source(keys[0], own),), "a buffer, computed from the config")
    if own.dtype.is_integer:
        return Pair(own.name, (Source(keys[0], own),), "whole numbers are never averaged")
    if other is None:
        return Pair(own.name, (Source(keys[0], own),), f"{label(keys[1])} {LACKING}")
    return Pair(own.name, (Source(keys[0], own), Source(keys[1], other)))


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
        Source(key, checkpoint.tensors[head.embeddings if head.tied else head.head or head.embeddings])
        for key, checkpoint, head in zip(keys, checkpoints, (own, other), strict=True)
    )
    if own.tied and other.tied:
        return Pair(name, sources), None, (name, own.embeddings)
    tied_key = keys[0] if own.tied else keys[1]
    return Pair(name, sources), MixedHead(name, own.embeddings, (tied_key,)), None


def _check_integers(keys: tuple[str, str], owner: Checkpoint, other: Checkpoint) -> Iterable[str]:
    """Whole numbers must be the same in both: nobody knows what their average would mean."""
    a, b = (label(key) for key in keys)
    for name, own in owner.tensors.items():
        tensor = other.tensors.get(name) if own.dtype.is_integer else None
        if tensor is None or is_buffer(own):
            continue
        kinds = [(held.dtype, held.shape) for held in (own, tensor)]
        # A table too large to be read beforehand has no digest; then the owner's is taken.
        digests = {owner.integers.get(own.name), other.integers.get(tensor.name)} - {None}
        if kinds[0] != kinds[1] or len(digests) > 1:
            yield (
                f"{name} holds whole numbers that differ between {a} and {b}, and these cannot be averaged. "
                f"Choose another {b}."
            )


def _check_models(keys: tuple[str, str], pairs: Iterable[Pair]) -> Iterable[str]:
    """Shapes must agree and dtypes must be ones that can be blended; of many alike, the first speaks."""
    blended = [(pair, dict(pair.sources)) for pair in pairs if not pair.copy_reason]
    a, b = (label(key) for key in keys)
    both = tuple(dict.fromkeys(keys))
    odd = [(key, held[key]) for _, held in blended for key in both if not held[key].dtype.can_blend]
    for key, tensor in odd[:1]:
        yield (
            f"{tensor.name} of {label(key)} is {tensor.dtype.label}, which cannot be averaged. "
            f"{_more(len(odd) - 1, 'like it')}Use the original weights."
        )
    # Rows that are matched by token may be of any number.
    misshapen = [
        (held[keys[0]], held[keys[1]])
        for pair, held in blended
        if held[keys[0]].shape[pair.rows is not None :] != held[keys[1]].shape[pair.rows is not None :]
    ]
    for own, other in misshapen[:1]:
        yield (
            f"{own.name} is {shape_text(own.shape)} in {a} and {shape_text(other.shape)} in {b}. "
            f"{_more(len(misshapen) - 1, 'differ too')}These are different sizes of model. Choose another {b}."
        )


def _more(count: int, what: str) -> str:
    return f"{count} more {what}. " if count else ""
