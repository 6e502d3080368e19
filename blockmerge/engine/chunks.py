"""A plan as chunk jobs: runs of bytes that one worker reads, computes and writes in one go."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from blockmerge.checkpoints.manifest import BLOCK
from blockmerge.core.method import Scope
from blockmerge.core.methods import METHODS
from blockmerge.core.pairs import Source
from blockmerge.core.plan import Action, OutputShard, Step
from blockmerge.core.tensors import DType
from blockmerge.kernels import KERNELS
from blockmerge.kernels.in_memory import row_length
from blockmerge.kernels.kernel import SLICE, sample_runs

CHUNK = 1 << 20  # bytes of the result; 0.5 to 1 MiB stays in a core's own cache (docs/decisions.md)


@dataclass(frozen=True, slots=True)
class Grain:
    """How finely the work is cut: bytes of the result that a chunk has, elements that a kernel sees at once."""

    chunk: int
    slice: int


@dataclass(frozen=True, slots=True)
class FileRange:
    """Bytes of one input file; `file` is (model key, shard name).

    Rows that are matched by token lie in many places, maybe of several files: then there are `parts`, to be read one
    behind the other as `dtype`, of which they are `nbytes` together.
    """

    file: tuple[str, str]
    offset: int
    nbytes: int
    dtype: DType
    parts: "tuple[FileRange, ...]" = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """A digest block inside a chunk: block number `block` of the tensor `name`, so many bytes of the result."""

    name: str
    block: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """One unit of work: read the sources, do what the step says, write `nbytes` at `offset` of the shard `file`.

    `start` counts the elements of the step's tensor before it. A chunk of whole rows has no pieces, as the rows need
    not end where digest blocks do; such blocks are read again once they are written. `scope` is what its kernel must
    see at once. A chunk of joined neighbours has the first one's step, and all of them are treated alike.
    """

    file: str
    offset: int
    nbytes: int
    step: Step
    start: int
    scope: Scope
    sources: tuple[FileRange, ...]
    pieces: tuple[Piece, ...]

    @property
    def action(self) -> Action:
        return self.step.action

    @property
    def weight(self) -> float:
        return self.step.weight

    @property
    def dtype(self) -> DType:
        return self.step.dtype

    @property
    def ends_block(self) -> bool:
        """Whether its end is the end of a digest block, so that another unit of work may begin there."""
        return bool(self.pieces) or self._end % BLOCK == 0 or self.ends_tensor

    @property
    def ends_tensor(self) -> bool:
        """Whether its end is that of its step's tensor; one of joined neighbours has several, and may say no."""
        return self._end == self.step.nbytes

    @property
    def _end(self) -> int:
        return self.start * self.dtype.bits // 8 + self.nbytes


def chunks_of(
    shard: OutputShard, data_start: int, method: str = "linear", grain: Grain | None = None
) -> Iterator[Chunk]:
    """The chunks of one shard in the order of their bytes; neighbours that read, compute and write alike are joined.

    `data_start` is where the first tensor's bytes begin in the shard. Without a `grain` it is that of the processors.
    """
    grain = grain or _fine()
    offset = data_start
    for steps in _runs(shard.steps, method, grain.chunk):
        if len(steps) == 1:
            yield from chunks_of_step(shard.name, steps[0], offset, method, grain)
        else:
            yield _chunk_of_run(shard.name, steps, offset)
        offset += sum(step.nbytes for step in steps)


def _runs(steps: Iterable[Step], method: str, most: int) -> Iterator[Sequence[Step]]:
    """Tensors one by one, or several that make one chunk of `most` bytes or fewer."""
    held: list[Step] = []
    nbytes = 0
    for step in steps:
        if held and not (nbytes + step.nbytes <= most and _can_join(held[-1], step, method)):
            yield held
            held, nbytes = [], 0
        held.append(step)
        nbytes += step.nbytes
    if held:
        yield held


def _chunk_of_run(file: str, steps: Sequence[Step], offset: int) -> Chunk:
    first = steps[0]
    nbytes = sum(step.nbytes for step in steps)
    sources = tuple(_range(source, 0, nbytes * 8 // first.dtype.bits) for source in first.sources)
    pieces = tuple(piece for step in steps for piece in _pieces(step.name, 0, step.nbytes))
    return Chunk(file, offset, nbytes, first, 0, Scope.CHUNK, sources, pieces)


def _fine() -> Grain:
    return Grain(CHUNK, SLICE)


def chunks_of_step(file: str, step: Step, offset: int, method: str, grain: Grain | None = None) -> Iterator[Chunk]:
    """The chunks of one tensor that begins at `offset` of its shard, before any are joined."""
    scope = METHODS[method].scope_for(step.parameters) if step.action is Action.BLEND else Scope.CHUNK
    size = _size(step, scope, grain or _fine())
    for start in range(0, step.nbytes, size):
        nbytes = min(size, step.nbytes - start)
        first, count = start * 8 // step.dtype.bits, nbytes * 8 // step.dtype.bits
        pieces = _pieces(step.name, start, nbytes) if scope is Scope.CHUNK else ()
        yield Chunk(file, offset + start, nbytes, step, first, scope, _sources(step, first, count), pieces)


def sample_of(chunks: Sequence[Chunk]) -> Chunk:
    """The sample of the tensor whose chunks these are, to be measured as if its runs lay behind each other."""
    step = chunks[0].step
    runs = [_sources(step, run.start, run.stop - run.start) for run in sample_runs(step.elements)]
    return replace(chunks[0], sources=tuple(map(_behind_each_other, zip(*runs, strict=True))))


def _behind_each_other(ranges: Sequence[FileRange]) -> FileRange:
    parts = tuple(part for held in ranges for part in held.parts or (held,))
    return replace(ranges[0], nbytes=sum(held.nbytes for held in ranges), parts=parts)


def _sources(step: Step, first: int, count: int) -> tuple[FileRange, ...]:
    """Where so many elements of a tensor are in each source."""
    if step.rows:
        return tuple(_gathered(step, number, first, count) for number in range(len(step.sources)))
    return tuple([_range(source, first, count) for source in step.sources])


def _pieces(name: str, start: int, nbytes: int) -> tuple[Piece, ...]:
    """The digest blocks of so many bytes of a tensor; `start` is where one of them begins."""
    return tuple(Piece(name, (start + begin) // BLOCK, min(BLOCK, nbytes - begin)) for begin in range(0, nbytes, BLOCK))


def _range(source: Source, first: int, count: int) -> FileRange:
    """So many elements of a tensor."""
    bits = source.tensor.dtype.bits
    file = (source.model, source.tensor.file)
    return FileRange(file, source.tensor.offset + first * bits // 8, count * bits // 8, source.tensor.dtype)


def _gathered(step: Step, number: int, first: int, count: int) -> FileRange:
    """Elements of the result as source `number` has them; rows that some source does not know are the giver's."""
    assert step.giver is not None
    source, end = step.sources[number], first + count
    width = math.prod(step.shape[1:])
    parts: list[FileRange] = []
    at = bisect_right(step.rows, first // width, key=lambda run: run.start) - 1
    while first < end:
        run = step.rows[at]
        row, giver_row = run.rows[number], run.rows[-1]
        assert giver_row is not None
        until = min(end, (run.start + run.count) * width)
        inside = first - run.start * width
        if row is None or None in run.rows:
            parts.append(_range(step.giver, giver_row * width + inside, until - first))
        else:
            parts.append(_range(source, row * width + inside, until - first))
        first, at = until, at + 1
    dtype = step.read_dtype(source)
    return FileRange(parts[0].file, parts[0].offset, count * dtype.bits // 8, dtype, tuple(parts))


def _size(step: Step, scope: Scope, grain: Grain) -> int:
    """Bytes of the result that one chunk of a tensor has: digest blocks, as many rows as a slice holds, or all."""
    if scope is Scope.CHUNK:
        return max(1, grain.chunk // BLOCK) * BLOCK
    if scope is Scope.TENSOR:
        return max(step.nbytes, 1)
    width = max(1, row_length(step.shape))
    return max(1, grain.slice // width) * width * step.dtype.bits // 8


def _can_join(step: Step, other: Step, method: str) -> bool:
    """Whether one tensor may be read, computed and written together with the one before it."""
    is_alone = step.action is Action.BLEND and not KERNELS[method].is_pointwise
    if is_alone or not (step.nbytes and other.nbytes) or not _are_alike(step, other):
        return False
    return all(_lies_behind(own, step.elements, new) for own, new in zip(step.sources, other.sources, strict=True))


def _lies_behind(own: Source, elements: int, new: Source) -> bool:
    old, tensor = own.tensor, new.tensor
    end = old.offset + elements * old.dtype.bits // 8
    return end == tensor.offset and old.file == tensor.file and own.model == new.model and old.dtype is tensor.dtype


def _are_alike(step: Step, other: Step) -> bool:
    return (
        not (step.rows or other.rows)
        and step.action is other.action
        and step.dtype is other.dtype
        and step.weight == other.weight
        and step.weights == other.weights
        and len(step.sources) == len(other.sources)
        and step.parameters == other.parameters
    )


def count_blocks(steps: Sequence[Step]) -> Mapping[str, int]:
    """How many digest blocks each tensor has; an empty tensor has none."""
    return {step.name: -(-step.nbytes // BLOCK) for step in steps}
