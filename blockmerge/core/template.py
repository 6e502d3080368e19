"""A recipe to edit by hand: what the seed's GUI-less mode was for."""

import json

from blockmerge.core.blocks import Blocks, StackBlocks

_INDENT = "  "


def write_template(models: dict[str, str], method: str, blocks: Blocks) -> str:
    """A recipe as YAML text, every layer a line of its own and every row there, all at 0.5.

    Lanes and globs stand as comments: an active lane would hide what is edited above it.
    """
    named = ", ".join(f"{key}: {json.dumps(reference, ensure_ascii=False)}" for key, reference in models.items())
    lines = ["blockmerge: 1", f"method: {method}", f"models: {{{named}}}", "base: null"]
    lines += [f"weights:  # {_meaning(models)}"]
    if len(blocks.stacks) == 1:
        lines += _stack(blocks.stacks[0], _INDENT)
    else:
        lines.append(f"{_INDENT}stacks:")
        for stack in blocks.stacks:
            lines += [f"{_INDENT * 2}{stack.name}:", *_stack(stack, _INDENT * 3)]
    lines += [f"{_INDENT}{row}: 0.5" for row in blocks.rows]
    lines += [f'{_INDENT}# tensors: {{"*.layers.3.mlp.*": 0.9}}  # globs on tensor names; they win over all']
    lines += ["parameters: {}", "seed: 0"]
    lines += ["output: {dtype: as owner, shard_size: 5GB, tokenizer: " + next(iter(models)) + ", nonfinite: refuse}"]
    return "\n".join(lines) + "\n"


def _meaning(models: dict[str, str]) -> str:
    first, *_, last = models
    return f"0 is all {first}, 1 is all {last}"


def _stack(stack: StackBlocks, indent: str) -> list[str]:
    lines = [f"{indent}layers:"]
    lines += [f"{indent}{_INDENT}- 0.5  # layer {number}" for number in range(stack.depth)]
    lines += [f"{indent}# {lane}: 0.5  # for this module, wins over layers" for lane in stack.lanes]
    lines += [f"{indent}{row}: 0.5" for row in stack.rows]
    return lines
