"""A folder as a Checkpoint: config, headers and side files, all checked, no weights read."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from blockmerge.checkpoints.files import opened
from blockmerge.checkpoints.manifest import read_digest
from blockmerge.checkpoints.refusals import (
    is_weight_file,
    missing_folder,
    refuse_config,
    refuse_depth,
    refuse_folder,
    refuse_tensors,
)
from blockmerge.checkpoints.shards import BIN_INDEX, INDEX, Shards, read_shards
from blockmerge.checkpoints.side_files import find_side_files, leads_out
from blockmerge.checkpoints.strict_json import read_object
from blockmerge.checkpoints.tokenizers import identify_vocabulary
from blockmerge.core.config_hints import read_hints
from blockmerge.core.heads import is_tied
from blockmerge.core.parts import Span
from blockmerge.core.tensors import HEADERS_ONLY, Checkpoint, ShardFile, TensorSpec
from blockmerge.errors import CheckpointError, SourceChangedError

CONFIG = "config.json"
MAX_TABLE = 16 * 2**20  # bytes of a tensor of whole numbers
SAMPLE = 2**16  # bytes


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read what a folder says of itself.

    Raises CheckpointError with everything that is wrong with it, or with the one reason why it is no model.
    """
    if not _is_folder(folder):
        raise CheckpointError(missing_folder(folder))
    folder = folder.resolve() if folder.name == ".." else folder.absolute()
    listing = _list(folder)
    refusal = refuse_folder(folder.name, listing)
    if refusal:
        raise CheckpointError(refusal)
    problems = [*_links_out(folder, listing)]
    config, shards = _read(folder, listing, problems)
    side = find_side_files(folder, shards.headers if shards else ())
    problems += side.problems
    if config is not None and shards is not None:
        problems += [refusal for refusal in _refusals(config, shards.tensors) if refusal]
    if problems or config is None or shards is None:
        raise CheckpointError(*problems)
    is_headers_only = (folder / HEADERS_ONLY).is_file()
    checkpoint = Checkpoint(
        folder=folder,
        config=config,
        tensors=shards.tensors,
        shards=tuple(
            ShardFile(name, header.size, header.mtime_ns, header.inode, header.whole)
            for name, header in shards.headers.items()
        ),
        side_files=side.files,
        skipped=side.skipped,
        header_digest=_digest(shards.tensors.values()),
        warnings=shards.warnings,
        vocabulary=identify_vocabulary(folder, [file.name for file in side.files]),
        is_headers_only=is_headers_only,
    )
    return checkpoint if is_headers_only else looked_into(checkpoint, folder)


def looked_into(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    """The same with what is compared of its weights before a merge, from files in `folder` that hold at least that."""
    return replace(
        checkpoint,
        integers={tensor.name: _digest_of(folder, tensor, tensor.nbytes) for tensor in _tables(checkpoint)},
        samples={tensor.name: _digest_of(folder, tensor, SAMPLE) for tensor in _copies(checkpoint)},
    )


def compared_parts(checkpoint: Checkpoint) -> Mapping[str, Sequence[Span]]:
    """What looked_into reads of each weight file."""
    parts: dict[str, list[Span]] = {}
    for tensor in _tables(checkpoint):
        parts.setdefault(tensor.file, []).append((tensor.offset, tensor.offset + tensor.nbytes))
    for tensor in _copies(checkpoint):
        parts.setdefault(tensor.file, []).append((tensor.offset, tensor.offset + min(tensor.nbytes, SAMPLE)))
    return parts


def _tables(checkpoint: Checkpoint) -> Sequence[TensorSpec]:
    """Whole numbers are tables, not weights: small enough to be read and compared before a merge."""
    found = (tensor for tensor in _placed(checkpoint) if tensor.dtype.is_integer)
    return [tensor for tensor in found if tensor.nbytes <= MAX_TABLE]


def _copies(checkpoint: Checkpoint) -> Sequence[TensorSpec]:
    """Where the config says that embeddings and head are one, what may be two copies of them: their beginnings tell."""
    if is_tied(checkpoint.config) is not True:
        return []
    vocabularies = read_hints(checkpoint.config).vocabularies
    tensors = checkpoint.tensors.values()
    shapes: list[tuple[int, ...]] = [
        tensor.shape for tensor in tensors if len(tensor.shape) == 2 and tensor.shape[0] in vocabularies
    ]
    return [tensor for tensor in _placed(checkpoint) if shapes.count(tensor.shape) > 1]


def _placed(checkpoint: Checkpoint) -> Iterable[TensorSpec]:
    """The tensors that can be read from a place in their file."""
    whole = {shard.name for shard in checkpoint.shards if shard.whole}
    return (tensor for tensor in checkpoint.tensors.values() if tensor.file not in whole)


def _digest_of(folder: Path, tensor: TensorSpec, most: int) -> str:
    with opened(folder / tensor.file) as fd:
        return read_digest(fd, tensor.offset, min(tensor.nbytes, most))


def check_whole(checkpoint: Checkpoint) -> None:
    """Raises CheckpointError where the weights themselves are not here."""
    if checkpoint.is_headers_only:
        raise CheckpointError(
            f"Of {checkpoint.name} only the headers are in {checkpoint.folder}. Name it as org/name, or download it."
        )


def _sample_copies(folder: Path, config: Mapping[str, object], shards: Shards) -> Mapping[str, str]:
    """Where the config says that embeddings and head are one, the beginnings of what may be two copies of them."""
    if is_tied(config) is not True:
        return {}
    vocabularies = read_hints(config).vocabularies
    found = [tensor for tensor in shards.tensors.values() if len(tensor.shape) == 2 and tensor.shape[0] in vocabularies]
    shapes: list[tuple[int, ...]] = [tensor.shape for tensor in found]
    digests: dict[str, str] = {}
    for tensor in found:
        if shapes.count(tensor.shape) > 1 and not shards.headers[tensor.file].whole:
            with opened(folder / tensor.file) as fd:
                digests[tensor.name] = read_digest(fd, tensor.offset, min(tensor.nbytes, SAMPLE))
    return digests


def check_unchanged(checkpoint: Checkpoint) -> None:
    """Raises SourceChangedError when a weight file is no longer the one whose header was read."""
    changed = [shard.name for shard in checkpoint.shards if not _is_unchanged(checkpoint.folder / shard.name, shard)]
    if changed:
        raise SourceChangedError(
            f"{', '.join(changed)} of {checkpoint.name} changed during the merge. "
            "Let nothing change the models, then start it again."
        )


def _is_unchanged(path: Path, shard: ShardFile) -> bool:
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    return (status.st_size, status.st_mtime_ns, status.st_ino) == (shard.size, shard.mtime_ns, shard.inode)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be opened: {error.strerror}. Choose another folder.") from error


def _list(folder: Path) -> frozenset[str]:
    try:
        return frozenset(path.name for path in folder.iterdir())
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be listed: {error.strerror}. Choose another folder.") from error


def _links_out(folder: Path, listing: Iterable[str]) -> Iterable[str]:
    root = Path(os.path.realpath(folder))
    for name in sorted(listing):
        if (name in (CONFIG, INDEX, BIN_INDEX) or is_weight_file(name)) and leads_out(folder / name, root):
            yield f"{name} is a link that leads out of {folder.name}. Put the file itself there."


def _read(
    folder: Path, listing: frozenset[str], problems: list[str]
) -> tuple[Mapping[str, object] | None, Shards | None]:
    """Config and headers, each None where `problems` grew; nothing is opened where a link has led out before."""
    if problems:
        return None, None
    config: Mapping[str, object] | None = None
    shards: Shards | None = None
    try:
        config = read_object(folder / CONFIG)
    except CheckpointError as error:
        problems += error.problems
    try:
        shards = read_shards(folder, listing)
    except CheckpointError as error:
        problems += error.problems
    return config, shards


def _refusals(config: Mapping[str, object], tensors: Mapping[str, TensorSpec]) -> Iterable[str]:
    """One sentence on the weights and one on the depth; a quantised file's tensors would only say the same again."""
    yield refuse_config(config) or refuse_tensors(tensors)
    yield refuse_depth(config, tensors)


def _digest(tensors: Iterable[TensorSpec]) -> str:
    entries = [(tensor.name, tensor.dtype.code, tensor.shape, tensor.offset) for tensor in tensors]
    return hashlib.sha256(json.dumps(entries, separators=(",", ":")).encode()).hexdigest()
