"""Is a written result what its plan says? Everything is read again from the disk by our own reader."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path

from blockmerge.checkpoints.files import opened
from blockmerge.checkpoints.manifest import (
    Manifest,
    block_digest,
    file_entry,
    read_blocks,
    read_manifest,
    tensor_digest,
)
from blockmerge.checkpoints.safetensors import Header, read_header
from blockmerge.checkpoints.shards import INDEX
from blockmerge.checkpoints.strict_json import shown
from blockmerge.checkpoints.writer import index_json, shard_metadata
from blockmerge.core.plan import OutputShard, Plan
from blockmerge.core.progress import IsCancelled, Progress, Report, Stage
from blockmerge.core.tensors import DType, TensorSpec
from blockmerge.errors import CheckpointError, MergeCancelledError, VerifyError

_AGAIN = "Merge again; if it happens twice, check the disk and the memory of this machine."


def verify_result(  # noqa: PLR0913 - how it is watched and stopped belongs to the call
    folder: Path,
    plan: Plan,
    *,
    report: Report,
    is_cancelled: IsCancelled,
    read_data: bool = False,
    sent: Collection[str] = (),
) -> None:
    """Compare headers, lengths, index, side files and manifest with the plan; with `read_data` every byte as well.

    Shards that were `sent` away went through verify_shard before. Raises VerifyError with all that is wrong, each
    sentence naming its file and tensor.
    """
    report(Progress(Stage.VERIFY, 0, plan.nbytes))
    manifest = read_manifest(folder)
    problems = [*_first(_check_manifest(manifest, plan)), *_check_files(folder, manifest, plan, sent)]
    headers: dict[str, Header] = {}
    for shard in plan.shards:
        if not (folder / shard.name).is_file():
            continue
        try:
            headers[shard.name] = read_header(folder / shard.name)
        except CheckpointError as error:
            problems += error.problems
            continue
        problems += _first(_check_header(headers[shard.name], shard, shard_metadata(plan)))
    if read_data and not problems:
        digests = {name: entry.digest for name, entry in manifest.tensors.items()}
        problems += _check_data(folder, headers, digests, _Reader(plan.nbytes, report, is_cancelled))
    if problems:
        raise VerifyError(*problems, _AGAIN)
    report(Progress(Stage.VERIFY, plan.nbytes, plan.nbytes))


def verify_shard(folder: Path, shard: OutputShard, plan: Plan, digests: Mapping[str, str]) -> None:
    """Compare a shard's header with the plan, and every byte behind it with the digests of its tensors.

    Raises VerifyError with all that is wrong.
    """
    try:
        header = read_header(folder / shard.name)
    except CheckpointError as error:
        raise VerifyError(*error.problems, _AGAIN) from error
    problems = [*_first(_check_header(header, shard, shard_metadata(plan)))]
    if not problems:
        reader = _Reader(plan.nbytes, lambda _: None, lambda: False)
        problems += _check_data(folder, {shard.name: header}, digests, reader)
    if problems:
        raise VerifyError(*problems, _AGAIN)


def _first(problems: Iterable[str]) -> Iterable[str]:
    """A tensor too many or too few displaces all that follow: only the first of these is worth reading."""
    return islice(problems, 1)


def _check_manifest(manifest: Manifest, plan: Plan) -> Iterable[str]:
    if manifest.recipe != plan.canonical:
        yield "blockmerge.json holds another recipe than the plan's."
    for step in plan.steps:
        entry = manifest.tensors.get(step.name)
        if entry is None:
            yield f"blockmerge.json lacks the tensor {shown(step.name)}."
        elif (entry.dtype, entry.shape) != (step.dtype, step.shape):
            said, planned = _kind(entry.dtype, entry.shape), _kind(step.dtype, step.shape)
            yield f"blockmerge.json says that {shown(step.name)} is {said}, the plan says {planned}."
    for name in manifest.tensors.keys() - {step.name for step in plan.steps}:
        yield f"blockmerge.json names the tensor {shown(name)}, which is not in the plan."


def _check_files(folder: Path, manifest: Manifest, plan: Plan, sent: Collection[str]) -> Iterable[str]:
    index = [INDEX] if len(plan.shards) > 1 else []
    names = [*(shard.name for shard in plan.shards), *index, *(step.name for step in plan.side_files)]
    for name in names:
        path = folder / name
        if name not in sent and not path.is_file():
            yield f"{name} is missing in the result."
        elif name not in manifest.files:
            yield f"blockmerge.json does not name {name}."
        elif name not in sent and file_entry(path) != manifest.files[name]:
            yield f"{name} is not the file that was written: its size or its digest differs from blockmerge.json."
    if index and (folder / INDEX).is_file() and (folder / INDEX).read_bytes() != index_json(plan):
        yield f"{INDEX} does not match the plan."
    if not index and (folder / INDEX).exists():
        yield f"{INDEX} is there, but the result has one file only."


def _check_header(header: Header, shard: OutputShard, metadata: Mapping[str, str]) -> Iterable[str]:
    # The reader has seen that the tensors lie end to end, so equal order, dtypes and shapes mean equal offsets.
    for step, tensor in zip_longest(shard.steps, header.tensors.values()):
        if tensor is None:
            yield f"{shard.name} lacks the tensor {shown(step.name)}."
        elif step is None:
            yield f"{shard.name} holds {shown(tensor.name)}, which is not in the plan."
        elif step.name != tensor.name:
            yield f"{shard.name} holds {shown(tensor.name)} in the place of {shown(step.name)}."
        elif (step.dtype, step.shape) != (tensor.dtype, tensor.shape):
            found, planned = _kind(tensor.dtype, tensor.shape), _kind(step.dtype, step.shape)
            yield f"{shown(step.name)} in {shard.name} is {found}, the plan says {planned}."
    if header.metadata != metadata:
        yield f"The metadata of {shard.name} does not hold the plan's recipe."


def _kind(dtype: DType, shape: tuple[int, ...]) -> str:
    return f"{dtype.label} {list(shape)}"


@dataclass(slots=True)
class _Reader:
    """Reads tensors again block by block, and tells how far it is."""

    total: int
    report: Report
    is_cancelled: IsCancelled
    done: int = 0

    def digest(self, fd: int, tensor: TensorSpec) -> str:
        return tensor_digest(self._block_digests(fd, tensor))

    def _block_digests(self, fd: int, tensor: TensorSpec) -> Iterator[bytes]:
        for block in read_blocks(fd, tensor.offset, tensor.nbytes):
            if self.is_cancelled():
                raise MergeCancelledError("The merge was cancelled while its result was checked.")
            yield block_digest(block)
            self.done += len(block)
            self.report(Progress(Stage.VERIFY, self.done, self.total, tensor.file))


def _check_data(
    folder: Path, headers: Mapping[str, Header], digests: Mapping[str, str], reader: _Reader
) -> Iterable[str]:
    for name, header in headers.items():
        with opened(folder / name) as fd:
            for tensor in header.tensors.values():
                if reader.digest(fd, tensor) != digests[tensor.name]:
                    yield f"{shown(tensor.name)} in {name} does not hold the bytes that were written."
