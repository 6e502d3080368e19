"""What a merge finds in its part folder: the shards of an earlier attempt, and which of their units are whole."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from blockmerge.checkpoints.files import allocate, open_new, open_to_change, read_into, write_all
from blockmerge.checkpoints.manifest import BLOCK, block_digest
from blockmerge.checkpoints.writer import shard_header
from blockmerge.core.plan import OutputShard, Plan
from blockmerge.engine.journal import JOURNAL, UnitKey, UnitRecord, is_whole, read_units
from blockmerge.engine.target import LOCK, remove


class Outputs:
    """Shards of a result, open for writing: `handles` and the offset of the data in each, by the shard's name."""

    def __init__(self, plan: Plan, shards: Iterable[OutputShard], folder: Path, stack: ExitStack) -> None:
        self.handles: dict[str, int] = {}
        self.starts: dict[str, int] = {}
        for shard in shards:
            header = shard_header(shard, plan)
            size = len(header) + shard.nbytes
            # At its full size, so that a full disk shows now.
            path = folder / shard.name
            is_there = path.is_file() and path.stat().st_size == size
            if not is_there:
                path.unlink(missing_ok=True)
            handle = open_to_change(path) if is_there else open_new(path)
            stack.callback(os.close, handle)
            if not is_there:
                allocate(handle, size)
            if _read(handle, 0, len(header)) != header:
                write_all(handle, memoryview(header), 0)
            self.handles[shard.name], self.starts[shard.name] = handle, len(header)


def clear(folder: Path, kept: Collection[str] = ()) -> None:
    """An earlier attempt may have been killed while it wrote the files beside the shards."""
    for entry in folder.iterdir():
        if entry.name not in kept and not entry.name.startswith((LOCK, JOURNAL)):
            remove(entry)


def finished_units(
    plan: Plan, folder: Path, outputs: Outputs, check: Callable[[], None]
) -> Mapping[UnitKey, UnitRecord]:
    """The units of these outputs that a journal names and whose bytes are still there. `check` is called between.

    All of them are read again, but for shards that were brought to the disk by whoever merged them.
    """
    places = dict(_places(plan, outputs))
    synced = {name for name in outputs.starts if is_whole(folder, name)}
    whole: dict[UnitKey, UnitRecord] = {}
    for unit, record in read_units(folder, outputs.starts).items():
        check()
        is_synced = unit[0] in synced
        if is_synced or all(_holds(places[name], block, digest) for (name, block), digest in record.digests.items()):
            whole[unit] = record
    return whole


def _places(plan: Plan, outputs: Outputs) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Every tensor's file descriptor, offset and bytes."""
    for shard in (shard for shard in plan.shards if shard.name in outputs.starts):
        offset = outputs.starts[shard.name]
        for step in shard.steps:
            yield step.name, (outputs.handles[shard.name], offset, step.nbytes)
            offset += step.nbytes


def _holds(place: tuple[int, int, int], block: int, digest: bytes) -> bool:
    handle, offset, nbytes = place
    start = block * BLOCK
    return block_digest(_read(handle, offset + start, min(BLOCK, nbytes - start))) == digest


def _read(handle: int, offset: int, nbytes: int) -> bytes:
    raw = bytearray(nbytes)
    read_into(handle, memoryview(raw), offset)
    return bytes(raw)
