"""The models on this machine that can be chosen by name: those in the listed folders, and the example pair."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from blockmerge.checkpoints.folder import CONFIG, open_checkpoint
from blockmerge.checkpoints.models import is_there
from blockmerge.core.tensors import Checkpoint
from blockmerge.errors import CheckpointError

EXAMPLE = Path(__file__).parents[1] / "example"
EXAMPLE_PAIR = ("example/lowercase", "example/capitals")
MAX_OFFERED = 1_000
LONGEST_REFERENCE = 1_000  # characters

_LEVELS = 2  # a root holds name/ or org/name/
_KEPT = 8


class Library:
    """Finds and opens models by name. `any_path`: a path on this machine is a name, too.

    Opened headers are kept while nothing in their folder changes, as the page asks again with every stroke.
    """

    def __init__(self, roots: tuple[Path, ...], *, any_path: bool) -> None:
        self._roots = roots
        self._any_path = any_path
        self._opened: dict[Path, tuple[object, Checkpoint]] = {}

    def offered(self) -> Mapping[str, Path]:
        """Name → folder of all that may be chosen, the example pair last; of two of one name the first counts."""
        found: dict[str, Path] = {}
        for root in self._roots:
            for folder in _models_in(root, _LEVELS):
                found.setdefault(folder.relative_to(root).as_posix(), folder)
                if len(found) == MAX_OFFERED:
                    break
        return found | {name: EXAMPLE / name.partition("/")[2] for name in EXAMPLE_PAIR}

    def find(self, reference: str) -> Path:
        """The folder of a name. Raises CheckpointError."""
        if not reference.isprintable() or len(reference) > LONGEST_REFERENCE:
            raise CheckpointError("This is not the name of a model. Choose one from the list.")
        folder = self.offered().get(reference)
        if folder is None and self._any_path:
            folder = Path(reference).expanduser().absolute()
        if folder is None:
            raise CheckpointError(
                f"There is no model {reference!r} here. Choose one from the list; whoever runs this page can add "
                "folders with BLOCKMERGE_MODELS."
            )
        return folder

    def has(self, reference: str) -> bool:
        """Whether a model or a folder of this name is here. Where paths are no names, no path is looked at."""
        return reference in self.offered() or (self._any_path and is_there(reference))

    def takes_seconds(self, reference: str) -> bool:
        """Whether opening it will: a process of its own, which imports torch, reads the headers of .bin files."""
        try:
            folder = self.find(reference)
            kinds = {path.suffix for path in folder.iterdir()}
        except (CheckpointError, OSError):
            return False  # opening it will tell why
        known = self._opened.get(folder)
        is_known = known is not None and known[0] == _state_of(folder)
        return not is_known and ".bin" in kinds and ".safetensors" not in kinds

    def open_named(self, reference: str) -> Checkpoint:
        """Find and open. Raises CheckpointError."""
        return self.open(self.find(reference))

    def open(self, folder: Path) -> Checkpoint:
        """open_checkpoint, from memory where nothing changed since. Raises CheckpointError."""
        state = _state_of(folder)
        known = self._opened.get(folder)
        if known is not None and known[0] == state:
            return known[1]
        checkpoint = open_checkpoint(folder)
        self._opened = {**dict(list(self._opened.items())[1 - _KEPT :]), folder: (state, checkpoint)}
        return checkpoint


def _models_in(root: Path, levels: int) -> Iterator[Path]:
    try:
        entries = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    except OSError:
        return  # a root that is not there, or may not be read, offers nothing
    for entry in entries:
        if not entry.is_dir() or not entry.name.isprintable() or entry.name.endswith((".partial", ".old")):
            continue
        if (entry / CONFIG).is_file():
            yield entry
        elif levels > 1:
            yield from _models_in(entry, levels - 1)


def _state_of(folder: Path) -> object:
    """Equal states mean that no file of the folder itself came, went or changed."""
    try:
        with os.scandir(folder) as entries:
            stats = [(entry.name, entry.stat()) for entry in entries]
    except OSError:
        return object()  # never equal: opening it will tell why
    return sorted((name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in stats)
