"""The weight files of a folder: one file, or the shards that an index names."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blockmerge.checkpoints.bins import read_bin_headers
from blockmerge.checkpoints.safetensors import Header, read_header
from blockmerge.checkpoints.strict_json import read_object, shown
from blockmerge.core.tensors import TensorSpec
from blockmerge.errors import CheckpointError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
BIN_SINGLE = "pytorch_model.bin"
BIN_INDEX = "pytorch_model.bin.index.json"

_SHARD = re.compile(r".*-\d+-of-(?!0*1\.)\d+\.safetensors")  # but not 1 of 1


@dataclass(frozen=True, slots=True)
class Shards:
    """The headers by file name, in the order of the names."""

    headers: Mapping[str, Header]
    warnings: tuple[str, ...]

    @property
    def tensors(self) -> Mapping[str, TensorSpec]:
        return {name: tensor for header in self.headers.values() for name, tensor in header.tensors.items()}


@dataclass(frozen=True, slots=True)
class _Index:
    weight_map: Mapping[str, str]
    total_size: object


def read_shards(folder: Path, listing: Collection[str]) -> Shards:
    """Read all headers. `listing` is what the folder holds, at least one weight file or an index.

    Where there are safetensors files, `.bin` files beside them are copies and not read.
    Raises CheckpointError with the problems of all files.
    """
    if INDEX in listing:
        return _read_indexed(folder, listing, INDEX)
    if any(name.endswith(".safetensors") for name in listing):
        return Shards(_read_headers(folder, [_single(folder, listing)]), ())
    if BIN_INDEX in listing:
        return _read_indexed(folder, listing, BIN_INDEX)
    if BIN_SINGLE in listing:
        return Shards(_read_headers(folder, [BIN_SINGLE]), ())
    files = sorted(name for name in listing if name.endswith(".bin"))
    if not files:
        raise CheckpointError(f"{folder.name} has no weight files. Choose the folder that holds them.")
    raise CheckpointError(
        f"{folder.name} has {files[0]}, a part of a model, but no {BIN_INDEX}, which says what belongs together. "
        "Download the rest too."
    )


def _single(folder: Path, listing: Collection[str]) -> str:
    files = sorted(name for name in listing if name.endswith(".safetensors"))
    if SINGLE in files:
        return SINGLE
    if all(name.startswith("consolidated") for name in files):
        raise CheckpointError(
            f"{folder.name} has only {files[0]}, which names its tensors in its publisher's own way. "
            "Use the model's files for transformers, model*.safetensors."
        )
    if len(files) > 1:
        raise CheckpointError(
            f"{folder.name} has {len(files)} .safetensors files but no {INDEX}, which says how they belong together. "
            "Download it too."
        )
    if _SHARD.fullmatch(files[0]):
        raise CheckpointError(
            f"{folder.name} has only {files[0]} of its shards and no {INDEX}, which says what belongs together. "
            "Download the rest too."
        )
    return files[0]


def _read_indexed(folder: Path, listing: Collection[str], file: str) -> Shards:
    index = _read_index(folder / file)
    named = sorted(set(index.weight_map.values()))
    problems = [f"{name} is missing. Download it again." for name in named if name not in listing]
    headers: Mapping[str, Header] = {}
    try:
        headers = _read_headers(folder, [name for name in named if name in listing])
    except CheckpointError as error:
        problems += error.problems
    if problems:
        raise CheckpointError(*problems)
    problems = [*_compare(index.weight_map, headers)]
    if problems:
        raise CheckpointError(*problems)
    return Shards(headers, tuple(_warnings(index, headers, listing) if file == INDEX else ()))


def _read_headers(folder: Path, names: Sequence[str]) -> Mapping[str, Header]:
    if names and names[0].endswith(".bin"):
        return read_bin_headers(folder, names)
    headers: dict[str, Header] = {}
    problems: list[str] = []
    for name in names:
        try:
            headers[name] = read_header(folder / name)
        except CheckpointError as error:
            problems += error.problems
    if problems:
        raise CheckpointError(*problems)
    return headers


def _read_index(path: Path) -> _Index:
    value = read_object(path)
    weight_map, metadata = value.get("weight_map"), value.get("metadata")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{path.name} is not valid: it has no weight_map. Download it again.")
    files = {file if isinstance(file, str) else repr(file) for file in weight_map.values()}
    suffix = ".safetensors" if path.name == INDEX else ".bin"
    problems = [problem for file in sorted(files) if (problem := _file_problem(file, suffix))]
    if problems:
        raise CheckpointError(*problems)
    return _Index(weight_map, metadata.get("total_size") if isinstance(metadata, dict) else None)


def _file_problem(name: str, suffix: str) -> str:
    """Empty where the name is that of a weight file in the folder itself."""
    if "/" in name or "\\" in name or name.startswith(".") or not name.isprintable():
        return f"The index names a file outside the folder: {shown(name)}. Use a copy from a source that you trust."
    if not name.endswith(suffix):
        return f"The index names {shown(name)}, which is not a {suffix} file. Download the model again."
    return ""


def _compare(weight_map: Mapping[str, str], headers: Mapping[str, Header]) -> Iterable[str]:
    """Every tensor lies in exactly one file, the one that the index names; of many problems in a file the first."""
    home: dict[str, str] = {}
    for file, header in headers.items():
        twice = [name for name in header.tensors if name in home]
        unknown = [name for name in header.tensors if name not in weight_map]
        home |= dict.fromkeys(header.tensors.keys() - home.keys(), file)
        if twice:
            yield f"{shown(twice[0])}{_more(twice)} lies in {home[twice[0]]} and again in {file}. Remove one of them."
        if unknown:
            yield f"{file} holds {shown(unknown[0])}{_more(unknown)}, which the index does not name. Download both."
    for file in headers:
        absent = [name for name, named in weight_map.items() if named == file and home.get(name) != file]
        if absent:
            yield f"The index names {shown(absent[0])}{_more(absent)} in {file}, where it is not. Download both."


def _more(names: Collection[str]) -> str:
    return f" (and {len(names) - 1:,} more)" if len(names) > 1 else ""


def _warnings(index: _Index, headers: Mapping[str, Header], listing: Collection[str]) -> Iterable[str]:
    if SINGLE in listing and SINGLE not in headers:
        yield f"{SINGLE} is not read: {INDEX} names other files."
    held = sum(tensor.nbytes for header in headers.values() for tensor in header.tensors.values())
    if isinstance(index.total_size, int) and index.total_size != held:
        yield f"{INDEX} says {index.total_size:,} bytes, the files hold {held:,}."
