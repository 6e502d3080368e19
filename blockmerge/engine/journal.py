"""What an unfinished merge has done: JSON lines in its part folder, the first of which says which merge it is.

A line is written when a unit of work is finished, and not forced to the disk: what a power cut takes from it or from
the unit is found by the digests when the merge is taken up again, and done again.

A shard that is merged by itself, beside others who merge other shards of the same folder, has a journal of its own, so
that no two processes append to one file. It gets another name when the shard is whole and on the disk.
"""

import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from blockmerge import __version__
from blockmerge.checkpoints.files import sync_file
from blockmerge.core.parts import Receipt
from blockmerge.core.plan import Plan
from blockmerge.core.tensors import Checkpoint

JOURNAL = ".blockmerge.journal"
UnitKey = tuple[str, int]  # the shard, and the unit's number in it


@dataclass(frozen=True, slots=True)
class UnitRecord:
    """A finished unit: its bytes, the digests of its blocks by (tensor, number), its odd values by (tensor, cause)."""

    unit: UnitKey
    nbytes: int
    digests: Mapping[tuple[str, int], bytes]
    odd: Mapping[tuple[str, str], int]


def identity_of(plan: Plan, torch_version: str, processor: str) -> Mapping[str, object]:
    """All that decides the bytes of a result and of its units: an equal one means that the work may go on."""
    return {
        "version": __version__,
        "recipe": plan.canonical,
        "torch": torch_version,
        "processor": processor,
        "inputs": {key: _files_of(checkpoint) for key, checkpoint in plan.checkpoints.items()},
        # Which rows belong together is not in the recipe.
        "vocabularies": {key: checkpoint.vocabulary.digest for key, checkpoint in plan.checkpoints.items()},
    }


def _files_of(checkpoint: Checkpoint) -> list[list[str | int]]:
    """Of a commit on the Hub, which the recipe names, only headers may be here: whenever those were fetched."""
    if checkpoint.is_headers_only:
        return [[shard.name, shard.size] for shard in checkpoint.shards]
    return [[shard.name, shard.size, shard.mtime_ns, shard.inode] for shard in checkpoint.shards]


class Journal:
    """Appends to the journal of a part folder, or of one shard in it; close it, or use it in a `with`."""

    def __init__(self, folder: Path, shard: str | None = None) -> None:
        path = folder / JOURNAL if shard is None else _of_shard(folder, shard)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
        raw = path.read_bytes()
        if not raw.endswith(b"\n"):  # a line that a kill has cut would spoil the next one
            os.ftruncate(self._fd, raw.rfind(b"\n") + 1)

    @property
    def is_new(self) -> bool:
        return os.fstat(self._fd).st_size == 0

    def begin(self, identity: Mapping[str, object]) -> None:
        self._write(identity)

    def append(self, record: UnitRecord) -> None:
        blocks: dict[str, dict[int, str]] = {}
        for (name, number), digest in record.digests.items():
            blocks.setdefault(name, {})[number] = digest.hex()
        odd = [[*key, count] for key, count in record.odd.items()]
        shard, number = record.unit
        self._write({"shard": shard, "unit": number, "bytes": record.nbytes, "blocks": blocks, "odd": odd})

    def append_sent(self, receipt: Receipt) -> None:
        """A shard that the Hub has now."""
        self._write({"sent": asdict(receipt)})

    def _write(self, value: Mapping[str, object]) -> None:
        # One call, so that a line is there whole or, after a kill, without its end.
        os.write(self._fd, json.dumps(value).encode() + b"\n")

    def sync(self) -> None:
        """Return when all its lines are on the disk."""
        sync_file(self._fd)

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_identity(folder: Path) -> Mapping[str, object] | None:
    """The first line, or None where there is no whole one."""
    return next(_lines(folder / JOURNAL), None)


def read_units(folder: Path, shards: Collection[str] | None = None) -> dict[UnitKey, UnitRecord]:
    """Every unit of these shards that was finished, of all where None; a line without its end counts for nothing."""
    if shards is None:
        paths = sorted(folder.glob(f"{JOURNAL}*"))
    else:
        paths = [folder / JOURNAL, *(path(folder, shard) for shard in shards for path in (_of_shard, _of_whole_shard))]
    records = (_record(line) for path in paths for line in _lines(path) if "unit" in line)
    return {record.unit: record for record in records if shards is None or record.unit[0] in shards}


def read_sent(folder: Path) -> list[Receipt]:
    """Every shard that was sent to the Hub."""
    sent = [line["sent"] for line in _lines(folder / JOURNAL) if "sent" in line]
    return list({one["name"]: Receipt(**one) for one in sent}.values())


def count_units(folder: Path) -> int:
    """How many units an unfinished merge has done so far."""
    return len(read_units(folder))


def note_whole(folder: Path, shard: str) -> None:
    """A shard with a journal of its own is on the disk, and so is that journal: both are believed from now on."""
    _of_shard(folder, shard).replace(_of_whole_shard(folder, shard))


def is_whole(folder: Path, shard: str) -> bool:
    return _of_whole_shard(folder, shard).exists()


def _of_shard(folder: Path, shard: str) -> Path:
    return folder / f"{JOURNAL}.{shard}"


def _of_whole_shard(folder: Path, shard: str) -> Path:
    return folder / f"{JOURNAL}.{shard}.whole"


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return
    for line in raw.splitlines(keepends=True):
        try:
            yield json.loads(line)
        except ValueError:
            return


def _record(line: Mapping[str, Any]) -> UnitRecord:
    digests = {
        (name, int(number)): bytes.fromhex(digest)
        for name, blocks in line["blocks"].items()
        for number, digest in blocks.items()
    }
    odd = {(name, cause): count for name, cause, count in line["odd"]}
    return UnitRecord((line["shard"], line["unit"]), line["bytes"], digests, odd)
