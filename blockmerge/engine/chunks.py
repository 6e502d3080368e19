"""A plan as chunk jobs: runs of bytes that one worker reads, computes and writes in one go."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from blockmerge.checkpoints.manifest import BLOCK
from blockmerge.core.plan import Action, OutputShard, Step
from blockmerge.core.tensors import DType

CHUNK = 1 << 20  # bytes of the result; 0.5 to 1 MiB stays in a core's own cache (docs/decisions.md)


@dataclass(frozen=True, slots=True)
class FileRange:
    """Bytes of one input file; `file` is (model key, shard name)."""

    file: tuple[str, str]
    offset: int
    nbytes: int
    dtype: DType


@dataclass(frozen=True, slots=True)
class Piece:
    """A digest block inside a chunk: block number `block` of the tensor `name`, so many bytes of the result."""

    name: str
    block: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """One unit of work: read the sources, do the action, write `nbytes` at `offset` of the shard `file`."""

    file: str
    offset: int
    nbytes: int
    action: Action
    weight: float
    dtype: DType
    sources: tuple[FileRange, ...]
    pieces: tuple[Piece, ...]


def chunks_of(shard: OutputShard, data_start: int) -> Iterator[Chunk]:
    """The chunks of one shard in the order of their bytes; neighbours that read, compute and write alike are joined.

    `data_start` is where the first tensor's bytes begin in the shard.
    """
    held: list[Chunk] = []
    offset = data_start
    for step in shard.steps:
        for chunk in _blocks(shard.name, step, offset):
            if held and not _can_join(held, chunk):
                yield _join(held)
                held = []
            held.append(chunk)
        offset += step.nbytes
    if held:
        yield _join(held)


def _blocks(file: str, step: Step, offset: int) -> Iterator[Chunk]:
    width = step.dtype.bits
    for number, start in enumerate(range(0, step.nbytes, BLOCK)):
        nbytes = min(BLOCK, step.nbytes - start)
        sources = tuple(
            FileRange(
                (source.model, source.tensor.file),
                source.tensor.offset + start * source.tensor.dtype.bits // width,
                nbytes * source.tensor.dtype.bits // width,
                source.tensor.dtype,
            )
            for source in step.sources
        )
        piece = (Piece(step.name, number, nbytes),)
        yield Chunk(file, offset + start, nbytes, step.action, step.weight, step.dtype, sources, piece)


def _can_join(held: Sequence[Chunk], chunk: Chunk) -> bool:
    first, last = held[0], held[-1]
    if (last.action, last.weight, last.dtype) != (chunk.action, chunk.weight, chunk.dtype):
        return False
    if chunk.offset + chunk.nbytes - first.offset > CHUNK or len(last.sources) != len(chunk.sources):
        return False
    return all(
        (own.file, own.dtype, own.offset + own.nbytes) == (new.file, new.dtype, new.offset)
        for own, new in zip(last.sources, chunk.sources, strict=True)
    )


def _join(held: Sequence[Chunk]) -> Chunk:
    first, last = held[0], held[-1]
    if first is last:
        return first
    sources = tuple(
        FileRange(own.file, own.offset, end.offset + end.nbytes - own.offset, own.dtype)
        for own, end in zip(first.sources, last.sources, strict=True)
    )
    pieces = tuple(piece for chunk in held for piece in chunk.pieces)
    nbytes = last.offset + last.nbytes - first.offset
    return Chunk(first.file, first.offset, nbytes, first.action, first.weight, first.dtype, sources, pieces)


def count_blocks(steps: Sequence[Step]) -> Mapping[str, int]:
    """How many digest blocks each tensor has; an empty tensor has none."""
    return {step.name: -(-step.nbytes // BLOCK) for step in steps}
