"""Part folders under the results that no job can go on from: listed for a person, deleted only when asked."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blockmerge.errors import JobRequestError
from blockmerge.jobs.results import remove_part_folder
from blockmerge.jobs.states import LIVE, part_folder
from blockmerge.jobs.store import Store
from blockmerge.settings import Settings
from blockmerge.ui.wording import say

_ALL_JOBS = 1_000_000
_ENDING = ".partial"


@dataclass(frozen=True, slots=True)
class LeftFolder:
    """`changed` is in seconds since 1970."""

    path: Path
    size: int
    changed: float


def left_folders(settings: Settings, store: Store) -> tuple[LeftFolder, ...]:
    """Those of nobody's, by name."""
    owned = {part_folder(job.out) for job in store.recent(_ALL_JOBS) if job.state in LIVE or job.kept}
    return tuple(_described(path) for path in _part_folders(settings.output) if path not in owned)


def delete_left_folder(settings: Settings, store: Store, name: object) -> str:
    """Delete one of them; its name for the answer. Raises JobRequestError where it is none, or holds other files."""
    path = next((left.path for left in left_folders(settings, store) if left.path.name == name), None)
    if path is None:
        raise JobRequestError(say("settings.left_gone"))
    remove_part_folder(path.with_name(path.name.removesuffix(_ENDING)))
    if path.exists():
        raise JobRequestError(say("settings.left_refused", name=path.name))
    return path.name


def _part_folders(output: Path) -> Iterator[Path]:
    if output.is_dir():
        yield from (path for path in sorted(output.iterdir()) if path.name.endswith(_ENDING) and _is_folder(path))


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _described(path: Path) -> LeftFolder:
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    return LeftFolder(path, size, path.stat().st_mtime)
