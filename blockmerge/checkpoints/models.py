"""The models that a recipe names, opened."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from blockmerge.checkpoints.folder import open_checkpoint
from blockmerge.checkpoints.tokenizers import read_vocabulary
from blockmerge.core.tensors import Checkpoint
from blockmerge.errors import CheckpointError


def open_models(models: Mapping[str, str]) -> Mapping[str, Checkpoint]:
    """Read the headers of every model, in the recipe's order; paths are relative to the current folder.

    Raises CheckpointError with the problems of all of them.
    """
    opened: dict[str, Checkpoint] = {}
    problems: list[str] = []
    for key, reference in models.items():
        try:
            opened[key] = open_checkpoint(Path(reference).expanduser())
        except CheckpointError as error:
            problems += [f"models.{key}: {problem}" for problem in error.problems]
    if problems:
        raise CheckpointError(*problems)
    return _with_tokens(opened)


def _with_tokens(opened: Mapping[str, Checkpoint]) -> Mapping[str, Checkpoint]:
    """Read the tokens only where the vocabularies may differ: that takes a second, equal files none."""
    kinds = {(held.vocabulary.digest, str(held.config.get("vocab_size"))) for held in opened.values()}
    if len(kinds) == 1:
        return opened
    return {
        key: replace(held, vocabulary=read_vocabulary(held.folder, [file.name for file in held.side_files]))
        for key, held in opened.items()
    }
