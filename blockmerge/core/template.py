"""A recipe to edit by hand: what the seed's GUI-less mode was for."""

import json
from collections.abc import Mapping

from blockmerge.core.block_settings import has_one_line
from blockmerge.core.blocks import Blocks, StackBlocks
from blockmerge.core.method import Method, Parameter, WeightKind
from blockmerge.core.methods import METHODS

_INDENT = "  "


def write_template(models: Mapping[str, str], method: str, blocks: Blocks, base: str | None = None) -> str:
    """A recipe as YAML text, every layer a line of its own and every row there, all at 0.5, or at equal shares.

    Lanes and globs stand as comments: an active lane would hide what is edited above it.
    """
    entry = METHODS[method]
    named = ", ".join(f"{key}: {_quoted(reference)}" for key, reference in models.items())
    lines = ["blockmerge: 1", f"method: {method}  # {entry.description}", f"models: {{{named}}}"]
    lines += [f"base: {'null' if base is None else _quoted(base)}", f"weights:  # {_meaning(models, entry)}"]
    if has_one_line(entry, len(models)):
        lines += _lines(blocks, 0.5, _INDENT)
    else:
        for key, weight in _starts(tuple(models), entry).items():
            lines += [f"{_INDENT}{key}:", *_lines(blocks, weight, _INDENT * 2)]
    lines += [*_parameters(entry, len(models)), "seed: 0"]
    lines += ["output: {dtype: as owner, shard_size: 5GB, tokenizer: " + next(iter(models)) + ", nonfinite: refuse}"]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _meaning(models: Mapping[str, str], method: Method) -> str:
    first, *_, last = (*models, *models)
    if method.kind is WeightKind.AMOUNT:
        return "how much of each model's difference from the base goes in: 0 nothing, 1 all of it"
    if method.kind is WeightKind.STRENGTH:
        return "0 keeps the owner's tensor, 1 is the method's result"
    return f"0 is all {first}, 1 is all {last}" if len(models) == 2 else "the shares of each block sum to 1"


def _starts(keys: tuple[str, ...], method: Method) -> Mapping[str, float]:
    """Amounts of a half, or equal shares that sum to 1 as they are written."""
    if method.kind is WeightKind.AMOUNT:
        return dict.fromkeys(keys, 0.5)
    share = round(1 / len(keys), 3)
    return {**dict.fromkeys(keys, share), keys[-1]: round(1 - share * (len(keys) - 1), 3)}


def _lines(blocks: Blocks, weight: float, indent: str) -> list[str]:
    if len(blocks.stacks) == 1:
        lines = _stack(blocks.stacks[0], weight, indent)
    else:
        lines = [f"{indent}stacks:"]
        for stack in blocks.stacks:
            lines += [f"{indent}{_INDENT}{stack.name}:", *_stack(stack, weight, indent + _INDENT * 2)]
    lines += [f"{indent}{row}: {weight}" for row in blocks.rows]
    lines += [f'{indent}# tensors: {{"*.layers.3.mlp.*": 0.9}}  # globs on tensor names; they win over all']
    return lines


def _stack(stack: StackBlocks, weight: float, indent: str) -> list[str]:
    lines = [f"{indent}layers:"]
    lines += [f"{indent}{_INDENT}- {weight}  # layer {number}" for number in range(stack.depth)]
    lines += [f"{indent}# {lane}: {weight}  # for this module, wins over layers" for lane in stack.lanes]
    lines += [f"{indent}{row}: {weight}" for row in stack.rows]
    return lines


def _parameters(method: Method, models: int) -> list[str]:
    is_pair = method.kind is WeightKind.SHARE and models == 2
    entries = [entry for entry in method.parameters if not (is_pair and entry.name == "normalize")]
    if not entries:
        return ["parameters: {}"]
    return ["parameters:", *(f"{_INDENT}{entry.name}: {_value(entry)}  # {entry.description}" for entry in entries)]


def _value(entry: Parameter) -> str:
    """As a recipe writes it: 0.00001 and not 1e-05, which reads badly."""
    if isinstance(entry.default, float):
        return f"{entry.default:f}".rstrip("0") + ("0" if entry.default.is_integer() else "")
    return json.dumps(entry.default)
