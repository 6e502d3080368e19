"""Which answer people liked best without knowing whose it was, counted for each recipe."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock

from blockmerge.checkpoints.files import read_whole
from blockmerge.checkpoints.strict_json import parse_object

MAX_BYTES = 16 * 10**6
EQUAL = "equal"  # the vote of somebody who liked none better


class Votes:
    """The counts in a file of BLOCKMERGE_HOME, shared by all who use this page."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = FileLock(f"{file}.lock")

    def add(self, recipe: str, choice: str) -> None:
        """`choice` is the key of a column, or EQUAL."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._lock:
            counts = self._read()
            own = counts.setdefault(_digest(recipe), {})
            own[choice] = own.get(choice, 0) + 1
            part = self._file.with_name(f"{self._file.name}.partial")
            part.write_text(json.dumps(counts), "utf-8")
            part.replace(self._file)

    def of(self, recipe: str) -> Mapping[str, int]:
        return self._read().get(_digest(recipe), {})

    def _read(self) -> dict[str, dict[str, int]]:
        if not self._file.exists():
            return {}
        counts: dict[str, dict[str, int]] = parse_object(  # type: ignore[assignment]  # we alone write it
            read_whole(self._file, MAX_BYTES), self._file.name
        )
        return counts


def _digest(recipe: str) -> str:
    return hashlib.sha256(recipe.encode()).hexdigest()
