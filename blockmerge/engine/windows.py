"""What a merge that keeps no models reads at a time: units of work, and the parts of files on the Hub that each needs.

The parts of one unit lie in sparse files beside the shard that is being written, so they are kept smaller than that.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from blockmerge.core.parts import Span, coalesce, length, room_for_parts
from blockmerge.core.plan import Action, OutputShard
from blockmerge.engine.chunks import Chunk, chunks_of
from blockmerge.engine.units import UNIT, Unit
from blockmerge.kernels import KERNELS

File = tuple[str, str]  # model key, file name


def windows_of(shard: OutputShard, data_start: int, method: str, remote: Collection[str], first: int) -> Sequence[Unit]:
    """The units of one shard, numbered from `first`; `remote` are the keys of the models that are on the Hub.

    Together with the shard the parts of each take no more than twice the shard, unless it is very small or a tensor
    must be there as a whole: that of a method of several passes, or one whose rows are matched by token.
    """
    most = room_for_parts(shard.nbytes)
    units: list[Unit] = []
    held: list[Chunk] = []
    nbytes, fetched = 0, 0
    for chunk in chunks_of(shard, data_start, method):
        cost = _cost(chunk, remote)
        is_full = fetched + cost > most or nbytes + chunk.nbytes > UNIT
        if held and is_full and _may_end(held[-1], method):
            units.append(Unit(first + len(units), tuple(held)))
            held, nbytes, fetched = [], 0, 0
        held.append(chunk)
        nbytes, fetched = nbytes + chunk.nbytes, fetched + cost
    if held:
        units.append(Unit(first + len(units), tuple(held)))
    return units


def _may_end(chunk: Chunk, method: str) -> bool:
    """Whether nothing that the chunk's tensor reads is needed for another chunk of it."""
    step = chunk.step
    needs_whole = bool(step.rows) or (step.action is Action.BLEND and not KERNELS[method].is_pointwise)
    return chunk.ends_tensor if needs_whole else chunk.ends_block


def _cost(chunk: Chunk, remote: Collection[str]) -> int:
    return sum(end - start for (model, _), (start, end) in _spans(chunk) if model in remote)


def _spans(chunk: Chunk) -> Iterator[tuple[File, Span]]:
    """What a chunk is the first to read. Rows that are matched by token lie anywhere in their tensors."""
    if not chunk.step.rows:
        yield from ((source.file, (source.offset, source.offset + source.nbytes)) for source in chunk.sources)
    elif chunk.start == 0:
        for model, tensor in ((source.model, source.tensor) for source in chunk.step.inputs):
            yield (model, tensor.file), (tensor.offset, tensor.offset + tensor.nbytes)


def needed(unit: Unit, remote: Collection[str]) -> Mapping[File, tuple[Span, ...]]:
    """The parts of files on the Hub that a unit reads, in few spans."""
    found: dict[File, list[Span]] = {}
    for chunk in unit.chunks:
        for file, span in _spans(chunk):
            if file[0] in remote:
                found.setdefault(file, []).append(span)
    return {file: coalesce(spans) for file, spans in found.items()}


def weight_of(unit: Unit, remote: Collection[str]) -> int:
    """The bytes of the parts of a unit."""
    return sum(length(spans) for spans in needed(unit, remote).values())
