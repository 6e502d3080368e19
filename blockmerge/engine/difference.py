"""How far two models are apart, block by block: ‖A − B‖ / ‖A‖ and the cosine between A and B.

Both are read once, in chunks; the sums are kept in float64. A result is kept for the pair of files it belongs to.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from blockmerge.checkpoints.files import read_into
from blockmerge.checkpoints.folder import check_whole
from blockmerge.core.difference import BlockDifference, Difference, Sums
from blockmerge.core.layout import Place
from blockmerge.core.matching import match
from blockmerge.core.pairs import Matching, Pair
from blockmerge.core.progress import Progress, Report, Stage
from blockmerge.core.tensors import Checkpoint, ShardFile, TensorSpec
from blockmerge.engine.bench import TORCH_DTYPES
from blockmerge.engine.estimate import check_memory
from blockmerge.engine.pickled import open_tensors
from blockmerge.errors import PlanError

CHUNK = 1 << 20  # elements

_FORMAT = 1  # of the files that keep results
_Files = Mapping[tuple[str, str], int]


def measure(checkpoints: Mapping[str, Checkpoint], cache: Path, *, report: Report) -> Difference:
    """Compare the two checkpoints; `cache` is the folder that keeps results.

    Raises PlanError with every reason why their tensors cannot be compared, or StorageError where an old `.bin` does
    not fit into memory.
    """
    kept = cache / f"{_identity(checkpoints.values())}.json"
    if kept.is_file():
        return _read(json.loads(kept.read_text(encoding="utf-8")))
    keys = tuple(checkpoints)
    matching = match((keys[0], keys[1]), checkpoints)
    if matching.problems:
        raise PlanError(*matching.problems)
    difference = _measure(checkpoints, matching, cache, report)
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps(asdict(difference)), encoding="utf-8")
    partial.replace(kept)
    return difference


def _identity(checkpoints: Iterable[Checkpoint]) -> str:
    """Of both pairs of files as they are now, and of the way to measure."""
    shards: list[tuple[ShardFile, ...]] = [held.shards for held in checkpoints]
    digests = [held.vocabulary.digest for held in checkpoints]
    return hashlib.sha256(repr((_FORMAT, shards, digests)).encode()).hexdigest()


def _read(value: Any) -> Difference:
    """What this module wrote, and moved into place only when it was whole."""
    blocks = tuple(BlockDifference(**block) for block in value["blocks"])
    return Difference(blocks, value["distance"], value["cosine"], tuple(value["notes"]))


def _measure(
    checkpoints: Mapping[str, Checkpoint],
    matching: Matching,
    scratch: Path,
    report: Report,
) -> Difference:
    compared = [pair for pair in matching.pairs if len(pair.sources) == 2]
    total = sum(pair.sources[0][1].nbytes for pair in compared)
    by_place: dict[Place, Sums] = {}
    elements: dict[Place, int] = {}
    everything, done = Sums(), 0
    with ExitStack() as stack:
        files = _open(checkpoints, scratch, stack)
        for pair in compared:
            sums = _sums(pair, files)
            place = matching.layout.places[pair.name]
            by_place.setdefault(place, Sums()).add(sums)
            elements[place] = elements.get(place, 0) + pair.sources[0][1].elements
            everything.add(sums)
            done += pair.sources[0][1].nbytes
            report(Progress(Stage.CHECK, done, total, pair.name))
    blocks = tuple(
        BlockDifference(p.stack, p.layer, p.module, elements[p], sums.distance, sums.cosine)
        for p, sums in by_place.items()
    )
    return Difference(blocks, everything.distance, everything.cosine, matching.notes)


def _open(checkpoints: Mapping[str, Checkpoint], scratch: Path, stack: ExitStack) -> _Files:
    shards = [(key, held, shard) for key, held in checkpoints.items() for shard in held.shards]
    check_memory(shard for _, _, shard in shards if shard.whole)
    for checkpoint in checkpoints.values():
        check_whole(checkpoint)
    scratch.mkdir(parents=True, exist_ok=True)
    return {(key, shard.name): open_tensors(held, shard.name, scratch, stack) for key, held, shard in shards}


def _sums(pair: Pair, files: _Files) -> Sums:
    sums = Sums()
    for starts, count in _ranges(pair):
        for begin in range(0, count, CHUNK):
            length = min(CHUNK, count - begin)
            a, b = (
                _elements(files[key, tensor.file], tensor, start + begin, length)
                for (key, tensor), start in zip(pair.sources, starts, strict=True)
            )
            apart = a - b
            sums.add(Sums(*(float(torch.dot(one, two)) for one, two in ((a, a), (b, b), (a, b), (apart, apart)))))
    return sums


def _ranges(pair: Pair) -> Iterator[tuple[tuple[int, int], int]]:
    """Runs of elements that belong together: where they start in both, and how many."""
    own = pair.sources[0][1]
    if pair.rows is None:
        yield (0, 0), own.elements
        return
    width = own.elements // max(own.shape[0], 1)
    for run in pair.rows.runs:
        if run.rows[0] is not None and run.rows[1] is not None:
            yield (run.rows[0] * width, run.rows[1] * width), run.count * width


def _elements(fd: int, tensor: TensorSpec, start: int, count: int) -> torch.Tensor:
    width = tensor.dtype.bits // 8
    raw = bytearray(count * width)
    read_into(fd, memoryview(raw), tensor.offset + start * width)
    return torch.frombuffer(raw, dtype=TORCH_DTYPES[tensor.dtype]).double()
