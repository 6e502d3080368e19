"""Is a result still what its own manifest says? For a folder whose plan is not at hand."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from blockmerge.checkpoints.files import opened
from blockmerge.checkpoints.manifest import (
    MANIFEST,
    Manifest,
    block_digest,
    file_entry,
    read_blocks,
    read_manifest,
    tensor_digest,
)
from blockmerge.checkpoints.safetensors import read_header
from blockmerge.checkpoints.shards import read_shards
from blockmerge.checkpoints.strict_json import shown
from blockmerge.checkpoints.writer import RECIPE
from blockmerge.core.progress import Progress, Report, Stage
from blockmerge.core.tensors import DType, TensorSpec
from blockmerge.errors import CheckpointError, VerifyError

# The bits of the exponent: all of them set is Inf or NaN.
_EXPONENTS: Mapping[DType, tuple[type[np.unsignedinteger], int]] = {
    DType.FLOAT32: (np.uint32, 0x7F80_0000),
    DType.FLOAT16: (np.uint16, 0x7C00),
    DType.BFLOAT16: (np.uint16, 0x7F80),
}


@dataclass(frozen=True, slots=True)
class Verified:
    """A result that is whole. `nonfinite` counts NaN and Inf by tensor, where the data was read."""

    manifest: Manifest
    nbytes: int
    nonfinite: Mapping[str, int] = field(default_factory=dict)


def verify_folder(folder: Path, *, report: Report, read_data: bool = False) -> Verified:
    """Compare every file with the manifest, and with `read_data` every byte.

    Raises VerifyError with all that is wrong.
    """
    if not folder.is_dir():
        raise VerifyError(f"There is no folder {folder}. Check the path.")
    manifest = read_manifest(folder)
    problems = [*_check_files(folder, manifest)]
    tensors: Mapping[str, TensorSpec] = {}
    try:
        tensors = read_shards(folder, frozenset(path.name for path in folder.iterdir())).tensors
        problems += [*_check_tensors(tensors, manifest), *_check_recipe(folder, tensors, manifest)]
    except CheckpointError as error:
        problems += error.problems
    total = sum(tensor.nbytes for tensor in tensors.values())
    nonfinite: dict[str, int] = {}
    if read_data and not problems:
        problems += _check_data(folder, tensors, manifest, _Reading(total, report, nonfinite))
    if problems:
        raise VerifyError(*problems, "Merge again; if it happens twice, check the disk and the memory of this machine.")
    return Verified(manifest, total, nonfinite)


def _check_files(folder: Path, manifest: Manifest) -> Iterable[str]:
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            yield f"{name} is missing in the result."
        elif file_entry(path) != entry:
            yield f"{name} is not the file that was written: its size or its digest differs from {MANIFEST}."


def _check_tensors(tensors: Mapping[str, TensorSpec], manifest: Manifest) -> Iterable[str]:
    for name, entry in manifest.tensors.items():
        found = tensors.get(name)
        if found is None:
            yield f"The files lack the tensor {shown(name)}."
        elif (found.dtype, found.shape) != (entry.dtype, entry.shape):
            yield (
                f"{shown(name)} in {found.file} is {found.dtype.label} {list(found.shape)}, {MANIFEST} says "
                f"{entry.dtype.label} {list(entry.shape)}."
            )
    for name in tensors.keys() - manifest.tensors.keys():
        yield f"{tensors[name].file} holds {shown(name)}, which {MANIFEST} does not name."


def _check_recipe(folder: Path, tensors: Mapping[str, TensorSpec], manifest: Manifest) -> Iterable[str]:
    for file in sorted({tensor.file for tensor in tensors.values()}):
        if read_header(folder / file).metadata.get(RECIPE) != manifest.recipe:
            yield f"The metadata of {file} does not hold the recipe of {MANIFEST}."


@dataclass(slots=True)
class _Reading:
    """How far the reading of all bytes is, and what it found."""

    total: int
    report: Report
    nonfinite: dict[str, int]
    done: int = 0

    def digests(self, fd: int, tensor: TensorSpec) -> Iterator[bytes]:
        count = 0
        for block in read_blocks(fd, tensor.offset, tensor.nbytes):
            yield block_digest(block)
            count += _count_nonfinite(block, tensor.dtype)
            self.done += len(block)
            self.report(Progress(Stage.VERIFY, self.done, self.total, tensor.file))
        if count:
            self.nonfinite[tensor.name] = count


def _count_nonfinite(block: memoryview, dtype: DType) -> int:
    if dtype not in _EXPONENTS:
        return 0
    kind, exponent = _EXPONENTS[dtype]
    bits = np.frombuffer(block, kind)
    return int(np.count_nonzero(bits & kind(exponent) == exponent))


def _check_data(
    folder: Path, tensors: Mapping[str, TensorSpec], manifest: Manifest, reading: _Reading
) -> Iterable[str]:
    for file in sorted({tensor.file for tensor in tensors.values()}):
        with opened(folder / file) as fd:
            for tensor in (tensor for tensor in tensors.values() if tensor.file == file):
                if tensor_digest(reading.digests(fd, tensor)) != manifest.tensors[tensor.name].digest:
                    yield f"{shown(tensor.name)} in {file} does not hold the bytes that were written."
