"""`blockmerge.json` in a result: what was made, from which recipe, and the digests that tell whether it is still that.

A tensor's digest is the xxh3_128 over the xxh3_128 digests (16 bytes each, big-endian as xxhash gives them) of its
consecutive blocks of 1 MiB, the last one shorter; an empty tensor has no blocks. So blocks can be digested in any
order by any number of threads. The result digest is the xxh3_128 over the sorted lines
"name dtype shape digest\\n", in UTF-8, with the dtype's code, the shape as JSON without spaces, and the digest in hex.
It tells equal results from different ones; it does not protect against someone who forges a file.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TypeGuard

import xxhash

from blockmerge.checkpoints.files import opened, read_into, read_whole, write_new
from blockmerge.checkpoints.strict_json import parse_object, shown
from blockmerge.core.tensors import DTYPE_BY_CODE, DType
from blockmerge.errors import CheckpointError, VerifyError

MANIFEST = "blockmerge.json"
BLOCK = 1 << 20  # bytes
MAX_BYTES = 64 * 10**6

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class TensorEntry:
    dtype: DType
    shape: tuple[int, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class FileEntry:
    """`digest` is that of a tensor with the file's bytes; weight files have none, as their tensors have."""

    size: int
    digest: str = ""


@dataclass(frozen=True)  # without slots, so that it can keep what was found once
class Manifest:
    """`recipe` is the canonical recipe, `mergekit` the same merge in mergekit's grammar, empty where there is none.
    `files` is filled by write_manifest: all files of the folder but this one, beside those that are named before."""

    version: str
    recipe: str
    torch: str
    processor: str
    tensors: Mapping[str, TensorEntry]
    files: Mapping[str, FileEntry] = field(default_factory=dict)
    mergekit: str = ""

    @cached_property
    def result_digest(self) -> str:
        return result_digest(self.tensors)


def block_digest(block: bytes | memoryview) -> bytes:
    return xxhash.xxh3_128_digest(block)


def tensor_digest(block_digests: Iterable[bytes]) -> str:
    """The digest in hex of the tensor whose blocks have these digests, in order."""
    return xxhash.xxh3_128_hexdigest(b"".join(block_digests))


def read_digest(fd: int, offset: int, nbytes: int) -> str:
    """The digest in hex of a tensor, or a file, whose bytes lie there."""
    return tensor_digest(block_digest(block) for block in read_blocks(fd, offset, nbytes))


def read_blocks(fd: int, offset: int, nbytes: int) -> Iterator[memoryview]:
    """The digest blocks of these bytes, all in one buffer: each is gone when the next is asked for."""
    buffer = memoryview(bytearray(min(BLOCK, nbytes)))
    for start in range(offset, offset + nbytes, BLOCK):
        block = buffer[: offset + nbytes - start]
        read_into(fd, block, start)
        yield block


def result_digest(tensors: Mapping[str, TensorEntry]) -> str:
    """The digest in hex that equal results share, however they are split into files."""
    lines = sorted(
        f"{name} {entry.dtype.code} {_json(entry.shape)} {entry.digest}\n" for name, entry in tensors.items()
    )
    return xxhash.xxh3_128_hexdigest("".join(lines).encode())


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it last: it records the files that lie in the folder, hidden ones apart, beside those that it names."""
    files = {**manifest.files, **dict(_files_in(folder))}
    value = {
        "blockmerge": _FORMAT,
        "version": manifest.version,
        "recipe": manifest.recipe,
        **({"mergekit": manifest.mergekit} if manifest.mergekit else {}),
        "result_digest": manifest.result_digest,
        "torch": manifest.torch,
        "processor": manifest.processor,
        "files": {name: _file_value(files[name]) for name in sorted(files, key=PurePosixPath)},
        "tensors": {
            name: {"dtype": entry.dtype.code, "shape": list(entry.shape), "digest": entry.digest}
            for name, entry in manifest.tensors.items()
        },
    }
    write_new(folder / MANIFEST, _lines(value).encode())


def read_manifest(folder: Path) -> Manifest:
    """Raises VerifyError when there is none, or none that can be read, or its own digest is another."""
    path = folder / MANIFEST
    if not path.is_file():
        raise VerifyError(f"{folder.name} has no {MANIFEST}, so it is no finished result of blockmerge.")
    try:
        value = parse_object(read_whole(path, MAX_BYTES), MANIFEST)
    except CheckpointError as error:
        raise VerifyError(*error.problems) from error
    if value.get("blockmerge") != _FORMAT:
        found = shown(str(value.get("blockmerge")))
        raise VerifyError(f"{MANIFEST} is of the format {found}, this version reads {_FORMAT}. Use a newer blockmerge.")
    manifest = _manifest(value)
    if manifest.result_digest != value.get("result_digest"):
        raise VerifyError(f"{MANIFEST} was changed: its result digest is not that of its tensors. Merge again.")
    return manifest


def _json(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _lines(value: Mapping[str, object]) -> str:
    """JSON with a line for each file and tensor; json's own indentation takes ten times as long."""
    text = json.JSONEncoder(ensure_ascii=False).encode
    entries = []
    for key, held in value.items():
        if isinstance(held, Mapping):
            # No text holds what is between two entries, as its own quotation marks have a backslash before them.
            inner = text(held)[1:-1].replace('}, "', '},\n  "')
            entries.append(f" {text(key)}: {{\n{'  ' if held else ''}{inner}\n }}")
        else:
            entries.append(f" {text(key)}: {text(held)}")
    return "{\n" + ",\n".join(entries) + "\n}\n"


def _files_in(folder: Path) -> Iterable[tuple[str, FileEntry]]:
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_file() and name != Path(MANIFEST) and not any(part.startswith(".") for part in name.parts):
            yield name.as_posix(), file_entry(path)


def file_entry(path: Path) -> FileEntry:
    """A file as the manifest records it."""
    with opened(path) as fd:
        size = os.fstat(fd).st_size
        return FileEntry(size) if path.suffix == ".safetensors" else FileEntry(size, read_digest(fd, 0, size))


def _file_value(entry: FileEntry) -> Mapping[str, object]:
    return {"size": entry.size, "digest": entry.digest} if entry.digest else {"size": entry.size}


def _manifest(value: Mapping[str, object]) -> Manifest:
    match value:
        case {
            "version": str(version),
            "recipe": str(recipe),
            "torch": str(torch),
            "processor": str(processor),
            "files": dict(files),
            "tensors": dict(tensors),
        }:
            return Manifest(
                version,
                recipe,
                torch,
                processor,
                {name: _tensor(name, entry) for name, entry in tensors.items()},
                {name: _file(name, entry) for name, entry in files.items()},
                str(value.get("mergekit", "")),
            )
    raise VerifyError(f"{MANIFEST} lacks what every manifest says: version, recipe, torch, processor, files, tensors.")


def _tensor(name: str, entry: object) -> TensorEntry:
    if isinstance(entry, dict):  # `match` takes three times as long, and some manifests have ten thousand
        code, shape, digest = entry.get("dtype"), entry.get("shape"), entry.get("digest")
        dtype = DTYPE_BY_CODE.get(code) if isinstance(code, str) else None
        if dtype is not None and _are_whole(shape) and isinstance(digest, str):
            return TensorEntry(dtype, tuple(shape), digest)
    raise VerifyError(f"{MANIFEST} does not describe the tensor {shown(name)}: dtype, shape and digest were expected.")


def _are_whole(values: object) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(value) is int for value in values)


def _file(name: str, entry: object) -> FileEntry:
    match entry:
        case {"size": int(size), "digest": str(digest)}:
            return FileEntry(size, digest)
        case {"size": int(size)}:
            return FileEntry(size)
    raise VerifyError(f"{MANIFEST} does not describe the file {shown(name)}: its size was expected.")
