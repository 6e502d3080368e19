"""The header of a safetensors file: 8 bytes of length, JSON, and then nothing but the tensors' bytes.

Stricter than the library, which accepts two entries of one name, names with control characters and files without
tensors. Format: https://github.com/huggingface/safetensors#format
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import TypeGuard

from blockmerge.checkpoints.files import opened, read_into
from blockmerge.checkpoints.strict_json import parse_object, shown
from blockmerge.core.tensors import DTYPE_BY_CODE, DType, TensorSpec
from blockmerge.errors import CheckpointError

MAX_HEADER = 16 * 10**6  # bytes
MAX_TENSORS = 200_000
MAX_NAME = 512  # characters
MAX_RANK = 32
MAX_ELEMENTS = 2**48

_Found = tuple[int, int, TensorSpec]  # where its bytes begin and end, behind the header

_INT = frozenset({int})
_METADATA = "__metadata__"
_SMALL = 10**6  # bytes of a header that is kept; it stands for some 10,000 tensors
_LENGTH = 8  # bytes before the JSON that say how long it is
_POINTER = b"version "  # how a Git LFS pointer begins


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself: its tensors in the order of their bytes, its metadata, and the file as it was.

    `whole` as in ShardFile.
    """

    tensors: Mapping[str, TensorSpec]
    metadata: Mapping[str, str]
    size: int
    data_start: int
    mtime_ns: int
    inode: int
    whole: bool = False


def read_header(path: Path) -> Header:
    """Read and check the header: every byte of the file belongs to exactly one tensor.

    Raises CheckpointError that names the file.
    """
    with opened(path) as fd:
        status = os.fstat(fd)
        raw = bytearray(_header_length(fd, path.name, status.st_size))
        read_into(fd, memoryview(raw), _LENGTH)
    read = _content if len(raw) > _SMALL else _small_content
    tensors, metadata = read(bytes(raw), path.name, status.st_size)
    return Header(tensors, metadata, status.st_size, _LENGTH + len(raw), status.st_mtime_ns, status.st_ino)


def _content(raw: bytes, file: str, size: int) -> tuple[Mapping[str, TensorSpec], Mapping[str, str]]:
    """What a header says, if a file of this size may say so."""
    entries = parse_object(raw, f"The header of {file}")
    metadata = _metadata(entries.pop(_METADATA, {}), file)
    _check_count(len(entries), file)
    start = _LENGTH + len(raw)
    found = [_tensor(name, entry, file, start) for name, entry in entries.items()]
    found.sort(key=itemgetter(0, 1))
    _check_ranges(found, start, size, file)
    return MappingProxyType({tensor.name: tensor for _, _, tensor in found}), MappingProxyType(metadata)


# Models that were trained from one another have the same headers, and a merge reads them one after the other.
_small_content = lru_cache(maxsize=16)(_content)


def encode_header(tensors: Sequence[tuple[str, DType, tuple[int, ...]]], metadata: Mapping[str, str]) -> bytes:
    """The bytes before the data of a file that holds these tensors in this order, padded to a multiple of 8."""
    entries: dict[str, object] = {_METADATA: dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name, dtype, shape in tensors:
        start, end = end, end + math.prod(shape) * dtype.bits // 8
        entries[name] = {"dtype": dtype.code, "shape": list(shape), "data_offsets": [start, end]}
    raw = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(_LENGTH, "little") + raw


def _header_length(fd: int, file: str, size: int) -> int:
    if size == 0:
        raise CheckpointError(f"{file} is empty. Download it again.")
    if size < _LENGTH:
        raise CheckpointError(f"{file} is cut short: {size} bytes are there. Download it again.")
    raw = bytearray(_LENGTH)
    read_into(fd, memoryview(raw), 0)
    if raw == _POINTER:
        raise CheckpointError(f"{file} is a Git LFS pointer, not the file itself. Run 'git lfs pull' in its folder.")
    length = int.from_bytes(raw, "little")
    if length > MAX_HEADER:
        raise CheckpointError(
            f"{file} is not a safetensors file: its header would have {length:,} bytes, at most {MAX_HEADER:,} are "
            "read. Download it again."
        )
    if length > size - _LENGTH:
        raise CheckpointError(
            f"{file} is cut short: {size:,} bytes are there, its header alone has {_LENGTH + length:,}. "
            "Download it again."
        )
    return length


def _metadata(value: object, file: str) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise CheckpointError(f"The header of {file} is not valid: {_METADATA} may only hold texts.")
    return value


def _check_count(count: int, file: str) -> None:
    if count == 0:
        raise CheckpointError(f"{file} holds no tensors. Is this the right file?")
    if count > MAX_TENSORS:
        raise CheckpointError(
            f"The header of {file} lists too many tensors: {count:,}, at most {MAX_TENSORS:,} are read."
        )


def check_name(name: str, file: str) -> str:
    """The name, where it is one that a tensor may have."""
    if not 0 < len(name) <= MAX_NAME or not name.isprintable() or "../" in name:
        raise CheckpointError(
            f"{file} holds a tensor named {shown(name)}. A name has 1 to {MAX_NAME} printable characters and no '../'."
        )
    return name


def _tensor(name: str, entry: object, file: str, start: int) -> _Found:
    check_name(name, file)
    if isinstance(entry, dict):  # `match` takes half as long again, and some headers have ten thousand
        code, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
        if isinstance(code, str) and _are_counts(shape) and _are_counts(offsets) and len(offsets) == 2:
            begin, end = offsets
            tensor = TensorSpec(name, _dtype(code, name, file), tuple(shape), file, start + begin)
            return begin, end, _checked(tensor, end - begin)
    raise CheckpointError(
        f"{shown(name)} in {file} is not described as a tensor: dtype, shape and two data_offsets, all of them "
        "whole numbers from 0, were expected. Download it again."
    )


def _are_counts(values: object) -> TypeGuard[list[int]]:
    # type(), as True is an int; a generator takes twice as long.
    return isinstance(values, list) and _INT.issuperset(map(type, values)) and min(values, default=0) >= 0


def _dtype(code: str, name: str, file: str) -> DType:
    if code not in DTYPE_BY_CODE:
        raise CheckpointError(f"{shown(name)} in {file} has the dtype {shown(code)}, which is not known.")
    return DTYPE_BY_CODE[code]


def _checked(tensor: TensorSpec, nbytes: int) -> TensorSpec:
    elements = tensor.elements
    # Zeros count as ones: libraries multiply the sizes in 64 bits, in any order.
    most = elements or math.prod(max(size, 1) for size in tensor.shape)
    if len(tensor.shape) > MAX_RANK or most > MAX_ELEMENTS:
        raise CheckpointError(f"{shown(tensor.name)} in {tensor.file} has an impossible shape. Download it again.")
    if elements * tensor.dtype.bits != nbytes * 8:
        raise CheckpointError(
            f"{shown(tensor.name)} in {tensor.file} has {nbytes:,} bytes, but its shape {list(tensor.shape)} in "
            f"{tensor.dtype.label} takes {tensor.elements * tensor.dtype.bits / 8:,.0f}. Download it again."
        )
    return tensor


def _check_ranges(found: Sequence[_Found], start: int, size: int, file: str) -> None:
    """In ascending order they must fill the file from `start` on."""
    expected, last = 0, ""
    for begin, end, tensor in found:
        if begin < expected:
            raise CheckpointError(f"Tensors {last} and {tensor.name} share bytes in {file}. Download it again.")
        if begin > expected:
            raise CheckpointError(f"{file} has a gap before {shown(tensor.name)}. Download it again.")
        expected, last = end, tensor.name
    expected += start
    if size < expected:
        raise CheckpointError(f"{file} is cut short: {size:,} of {expected:,} bytes are there. Download it again.")
    if size > expected:
        raise CheckpointError(f"{file} has {size - expected:,} bytes after its last tensor. Download it again.")
