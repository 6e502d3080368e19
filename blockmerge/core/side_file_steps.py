"""What happens to the files beside the weights: which checkpoint gives each, and what changes in config.json."""

from collections.abc import Mapping
from dataclasses import dataclass

from blockmerge.core.pairs import label
from blockmerge.core.recipe import Recipe
from blockmerge.core.tensors import Checkpoint

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


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A tensor or a file of an input that the result does not carry, and why."""

    model: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class SideFileStep:
    """A file beside the weights: copied byte for byte from `model`, or, for config.json, with `edits` applied.

    An edit with the value None removes the key.
    """

    name: str
    model: str
    edits: Mapping[str, object]


def plan_side_files(
    recipe: Recipe, checkpoints: Mapping[str, Checkpoint], config_edits: Mapping[str, object], takes_other_rows: bool
) -> tuple[tuple[SideFileStep, ...], tuple[LeftOut, ...]]:
    # generation_config.json names tokens by their numbers, so it goes with the vocabulary that has them.
    with_tokenizer = TOKENIZER_FILES | ({"generation_config.json"} if takes_other_rows else set())
    taken: list[SideFileStep] = []
    left_out = [LeftOut(key, name, reason) for key, held in checkpoints.items() for name, reason in held.skipped]
    for key, checkpoint in checkpoints.items():
        for file in checkpoint.side_files:
            giver = recipe.output.tokenizer if file.name in with_tokenizer else recipe.owner
            if key == giver:
                taken.append(SideFileStep(file.name, key, config_edits if file.name == "config.json" else {}))
            else:
                left_out.append(LeftOut(key, file.name, f"this file comes from {label(giver)}"))
    return tuple(taken), tuple(left_out)
