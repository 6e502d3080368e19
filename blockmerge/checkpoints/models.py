"""The models that a recipe names, opened."""

from collections.abc import Mapping
from pathlib import Path

from blockmerge.checkpoints.folder import open_checkpoint
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
    return opened
