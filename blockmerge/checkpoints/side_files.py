"""The files of a checkpoint that are not weights: which of them a result carries along, and why not the others."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from blockmerge.checkpoints.strict_json import shown
from blockmerge.core.tensors import SideFile

MAX_DEPTH = 3  # parts of a file's path below the checkpoint

WEIGHT_SUFFIXES = frozenset(
    {
        ".bin",
        ".ckpt",
        ".gguf",
        ".h5",
        ".mlmodel",
        ".msgpack",
        ".onnx",
        ".onnx_data",
        ".ot",
        ".pt",
        ".pth",
        ".safetensors",
        ".tflite",
    }
)
_CODE_SUFFIXES = frozenset({".py", ".pyc", ".so", ".dll", ".dylib", ".pkl", ".pickle"})  # unpickling runs code
_DESCRIBING = frozenset({"README.md", "blockmerge.json", "mergekit_config.yml"})


@dataclass(frozen=True, slots=True)
class SideFiles:
    """`skipped` has the reason for each file; a problem stops the checkpoint from being opened."""

    files: tuple[SideFile, ...]
    skipped: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]


def find_side_files(folder: Path, shards: Collection[str]) -> SideFiles:
    """All that lies in the folder but the weight files `shards` and hidden files."""
    root = Path(os.path.realpath(folder))
    files: list[SideFile] = []
    skipped: list[tuple[str, str]] = []
    problems: list[str] = []
    seen: dict[str, str] = {}
    for path in _walk(folder, MAX_DEPTH):
        name = path.relative_to(folder).as_posix()
        if name in shards:
            continue
        if not name.isprintable():
            problems.append(f"{folder.name} holds a file named {shown(name)}, which is not plain text. Rename it.")
            continue
        reason = _reason_to_skip(path, root)
        if reason:
            skipped.append((name, reason))
            continue
        twin = seen.setdefault(name.casefold(), name)
        if twin != name:
            # One would overwrite the other on macOS and Windows.
            problems.append(f"{folder.name} holds {twin} and {name}, which differ only in case. Rename one.")
        files.append(SideFile(name, path.stat().st_size))
    return SideFiles(tuple(files), tuple(skipped), tuple(problems))


def leads_out(path: Path, root: Path) -> bool:
    """Is this a link to a file outside `root`, a folder without links in its path?

    The Hugging Face cache is allowed: its snapshot folders hold links to the files in `blobs` beside `snapshots`, and
    those that several repositories share lie in folders of two characters in `blobs` beside the repositories.
    """
    target = Path(os.path.realpath(path))
    return not (target.is_relative_to(root) or _is_in_cache(target, root))


def _is_in_cache(target: Path, root: Path) -> bool:
    if root.parent.name != "snapshots" or len(root.parents) < 3:
        return False
    repository, cache = root.parents[1:3]
    return target.parent == repository / "blobs" or target.parent.parent == cache / "blobs"


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """Files, and the folders that are not entered."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink() and depth > 1:
            yield from _walk(path, depth - 1)
        else:
            yield path


def _reason_to_skip(path: Path, root: Path) -> str:
    """Empty where there is none."""
    return _reason_by_name(path.name, path.suffix.lower()) or _reason_by_kind(path, root)


def _reason_by_name(name: str, suffix: str) -> str:
    if suffix in _CODE_SUFFIXES:
        return "code files are never carried along"
    if suffix in WEIGHT_SUFFIXES:
        return "these weights are not part of the model that is read"
    if name.endswith(".index.json"):
        return "it lists the input's weight files"
    if name in _DESCRIBING:
        return "it describes the input, not the result"
    return ""


def _reason_by_kind(path: Path, root: Path) -> str:
    if path.is_dir():
        return "links to folders are not followed" if path.is_symlink() else f"it lies over {MAX_DEPTH} folders deep"
    if path.is_symlink() and not path.exists():
        return "this link leads nowhere"
    if leads_out(path, root):
        return "this link leads out of the folder"
    return "" if path.is_file() else "it is not a regular file"
