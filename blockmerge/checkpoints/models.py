"""The models that a recipe names, opened."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from blockmerge.checkpoints.folder import open_checkpoint
from blockmerge.checkpoints.tokenizers import read_vocabulary
from blockmerge.core.hub_reference import parse_hub_reference
from blockmerge.core.tensors import Checkpoint
from blockmerge.core.vocabulary import Vocabulary
from blockmerge.errors import CheckpointError, HubRefusalError, InputError

Open = Callable[[str], Checkpoint]


def open_folder(reference: str) -> Checkpoint:
    """The folder at a path, which may be relative to the current folder. Raises CheckpointError."""
    return open_checkpoint(Path(reference).expanduser())


def is_folder(reference: str) -> bool:
    """Whether a reference is that of a folder: one of that name is there, or it is not spelled as one on the Hub.

    A folder that is there wins over a repository of its name, so that nobody takes its place by making one.
    """
    return is_there(reference) or not is_meant_on_hub(reference)


def is_meant_on_hub(reference: str) -> bool:
    """Whether it is spelled as a model on the Hub; who opens it tells what may be wrong with it."""
    try:
        return parse_hub_reference(reference) is not None
    except CheckpointError:
        return True


def is_there(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, RuntimeError):  # a name that is too long; a ~ of nobody
        return False


def open_models(models: Mapping[str, str], open_one: Open = open_folder) -> Mapping[str, Checkpoint]:
    """Read the headers of every model, in the recipe's order, with `open_one`.

    Raises CheckpointError with the problems of all of them, or what they have in common, such as SignInError.
    """
    opened: dict[str, Checkpoint] = {}
    problems: list[str] = []
    kinds: set[type[InputError]] = set()
    for key, reference in models.items():
        try:
            opened[key] = open_one(reference)
        except (CheckpointError, HubRefusalError) as error:
            problems += [f"models.{key}: {problem}" for problem in error.problems]
            kinds.add(type(error))
    if problems:
        raise (kinds.pop() if len(kinds) == 1 else CheckpointError)(*problems)
    return with_tokens(opened)


def with_tokens(opened: Mapping[str, Checkpoint]) -> Mapping[str, Checkpoint]:
    """Read the tokens only where the vocabularies may differ: that takes a second, equal files none."""
    kinds = {(held.vocabulary.digest, str(held.config.get("vocab_size"))) for held in opened.values()}
    if len(kinds) == 1:
        return opened
    return {
        key: replace(
            held, vocabulary=_read(held.folder, tuple(file.name for file in held.side_files), held.vocabulary.digest)
        )
        for key, held in opened.items()
    }


@lru_cache(maxsize=8)  # as the page asks again with every stroke
def _read(folder: Path, files: tuple[str, ...], _digest: str) -> Vocabulary:
    """`_digest` is that of the files, so that changed ones are read again."""
    return read_vocabulary(folder, files)
