"""What a person keeps by name: small JSON files under ids of ours, in a folder of their own under BLOCKMERGE_HOME."""

import hashlib
import json
import re
import secrets
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from itertools import count
from pathlib import Path

from blockmerge.checkpoints.files import write_new
from blockmerge.checkpoints.strict_json import read_object
from blockmerge.errors import CheckpointError, RecipeError, StorageError
from blockmerge.ui.wording import say

LONGEST_NAME = 120  # characters

_MOST_BYTES = 256 * 1024
_ID = re.compile(r"[0-9a-f]{16}")


class OwnerFiles:
    """One owner's files of one kind, such as recipes. Names are shown and never become paths."""

    def __init__(self, home: Path, kind: str, owner: str) -> None:
        self._folder = home / kind / hashlib.sha256(owner.encode()).hexdigest()[:32]

    def paths(self) -> Iterator[Path]:
        return (path for path in sorted(self._folder.glob("*.json")) if _ID.fullmatch(path.stem))

    def path(self, file_id: object) -> Path | None:
        """Where the file of this id lies; None for what is no id, or where there is no file."""
        if not isinstance(file_id, str) or not _ID.fullmatch(file_id):
            return None
        path = self._folder / f"{file_id}.json"
        return path if path.is_file() else None

    def read(self, path: Path) -> Mapping[str, object]:
        """What a file holds; nothing where it cannot be read."""
        try:
            return read_object(path, _MOST_BYTES)
        except (CheckpointError, StorageError):
            return {}

    def write(self, file_id: str, value: Mapping[str, object]) -> None:
        """Whole or not at all: written beside, then renamed. Raises StorageError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        fresh = self._folder / f"{file_id}.{secrets.token_hex(4)}.new"
        try:
            write_new(fresh, json.dumps(value, ensure_ascii=False, indent=1).encode())
            fresh.replace(self._folder / f"{file_id}.json")
        finally:
            fresh.unlink(missing_ok=True)

    def delete(self, file_id: str) -> None:
        (self._folder / f"{file_id}.json").unlink(missing_ok=True)


def new_id() -> str:
    return secrets.token_hex(8)


def check_name(name: str, nameless: str) -> str:
    """The name on one line. Raises RecipeError where it is none, with the sentence `nameless` where it is empty."""
    plain = " ".join(name.split())
    if not plain:
        raise RecipeError(nameless)
    if len(plain) > LONGEST_NAME:
        raise RecipeError(say("refused.name_long", found=len(plain), most=LONGEST_NAME))
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in plain):
        raise RecipeError(say("refused.name_letter"))
    return plain


def free_name(wanted: str, taken: Collection[str]) -> str:
    """The name itself, or with the first number behind it that makes it nobody else's."""
    if wanted not in taken:
        return wanted
    return next(name for n in count(2) if (name := f"{wanted[: LONGEST_NAME - 5]} {n}") not in taken)
