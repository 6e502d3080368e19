"""The chunks of a plan in units of work: what is finished together, recorded together and not done again."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from blockmerge.checkpoints.manifest import BLOCK
from blockmerge.core.plan import Plan
from blockmerge.engine.chunks import Chunk, Grain, chunks_of
from blockmerge.engine.journal import UnitKey

UNIT = 256 * 10**6  # bytes of the result


@dataclass(frozen=True, slots=True)
class Unit:
    """Chunks that lie behind each other in one shard; digest blocks do not cross its ends.

    Its number counts the units of its shard, so that nobody has to count those of the shards before.
    """

    number: int
    chunks: tuple[Chunk, ...]

    @property
    def key(self) -> UnitKey:
        return self.chunks[0].file, self.number

    @property
    def nbytes(self) -> int:
        return sum(chunk.nbytes for chunk in self.chunks)

    @property
    def unread_blocks(self) -> tuple[tuple[str, int, int, int], ...]:
        """The digest blocks of chunks of whole rows: (tensor, number of the first, offset in the shard, bytes)."""
        runs: dict[str, tuple[int, int, int]] = {}
        for chunk in self.chunks:
            if not chunk.pieces:
                block = chunk.start * chunk.dtype.bits // 8 // BLOCK
                first, offset, nbytes = runs.get(chunk.step.name, (block, chunk.offset, 0))
                runs[chunk.step.name] = first, offset, nbytes + chunk.nbytes
        return tuple((name, *run) for name, run in runs.items())


def units_of(plan: Plan, starts: Mapping[str, int], grain: Grain | None = None) -> Iterator[Unit]:
    """The units of some shards of a plan, in the order of their bytes; `starts` says where the data of each begins.

    Equal plans have equal units, where the grain is equal. A unit is larger than UNIT only where rows leave no digest
    block's end to cut at.
    """
    for shard in (shard for shard in plan.shards if shard.name in starts):
        number = 0
        held: list[Chunk] = []
        nbytes = 0
        for chunk in chunks_of(shard, starts[shard.name], plan.recipe.method, grain):
            if held and held[-1].ends_block and nbytes + chunk.nbytes > UNIT:
                yield Unit(number, tuple(held))
                number, held, nbytes = number + 1, [], 0
            held.append(chunk)
            nbytes += chunk.nbytes
        if held:
            yield Unit(number, tuple(held))
