"""The headers of PyTorch's own files (`.bin`), read in a child process, as nothing here may import torch.

The child never runs what a pickle asks for; a file that wants to is refused by name.
"""

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from blockmerge.checkpoints.files import opened
from blockmerge.checkpoints.safetensors import MAX_TENSORS, Header, check_name
from blockmerge.checkpoints.strict_json import shown
from blockmerge.child_environment import child_command, child_environment
from blockmerge.core.tensors import DTYPE_BY_CODE, HEADERS_ONLY, ShardFile, TensorSpec
from blockmerge.errors import CheckpointError

READER = "blockmerge.engine.pickled"
TIMEOUT = 300  # seconds; reading a header takes less than one, importing torch a few

_POINTER = b"version "  # how a Git LFS pointer begins


def read_bin_headers(folder: Path, names: Iterable[str]) -> Mapping[str, Header]:
    """Read the headers of these files in one child process; a file that did not change is not read twice.

    Raises CheckpointError with the problems of all files.
    """
    files = tuple(_identify(folder / name) for name in names)
    answers = _ask(folder, files)
    headers: dict[str, Header] = {}
    problems: list[str] = []
    for file, answer in zip(files, answers, strict=False):  # the last answer may be that the child died
        try:
            headers[file.name] = _header(file, answer)
        except CheckpointError as error:
            problems += error.problems
    if problems:
        raise CheckpointError(*problems)
    return headers


def _identify(path: Path) -> ShardFile:
    with opened(path) as fd:
        status = os.fstat(fd)
        start = os.read(fd, len(_POINTER))
    if not start:
        raise CheckpointError(f"{path.name} is empty. Download it again.")
    if start == _POINTER:
        raise CheckpointError(
            f"{path.name} is a Git LFS pointer, not the file itself. Run 'git lfs pull' in its folder."
        )
    return ShardFile(path.name, status.st_size, status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=64)
def _ask(folder: Path, files: tuple[ShardFile, ...]) -> tuple[Mapping[str, Any], ...]:
    """The child's answers in order; where it died, the last one says so."""
    paths_to_read = [str(folder / file.name) for file in files]
    request = json.dumps({"paths": paths_to_read, "headers_only": (folder / HEADERS_ONLY).is_file()})
    try:
        child = subprocess.run(
            child_command(READER, "-W", "ignore"),
            input=f"{request}\n",
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            env=child_environment(os.environ, CUDA_VISIBLE_DEVICES=""),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ({"refused": "broken", "what": f"it took more than {TIMEOUT} seconds"},)
    answers = [json.loads(line) for line in child.stdout.splitlines()]
    if len(answers) < len(files):
        last = next((line for line in reversed(child.stderr.splitlines()) if line.strip()), "the reader was killed")
        answers.append({"refused": "broken", "what": last})
    return tuple(answers)


def _header(file: ShardFile, answer: Mapping[str, Any]) -> Header:
    if "refused" in answer:
        raise CheckpointError(_refusal(file.name, answer["refused"], shown(answer["what"])))
    if not answer["tensors"]:
        raise CheckpointError(f"{file.name} holds no tensors. Is this the right file?")
    if len(answer["tensors"]) > MAX_TENSORS:
        raise CheckpointError(f"{file.name} lists too many tensors: at most {MAX_TENSORS:,} are read.")
    specs = [
        TensorSpec(check_name(name, file.name), DTYPE_BY_CODE[code], tuple(shape), file.name, offset)
        for name, code, shape, offset in answer["tensors"]
    ]
    if not answer["whole"] and any(spec.offset + spec.nbytes > file.size for spec in specs):
        raise CheckpointError(f"{file.name} is cut short. Download it again.")
    specs.sort(key=lambda spec: (spec.offset, spec.nbytes))
    tensors = {spec.name: spec for spec in specs}
    return Header(tensors, {}, file.size, 0, file.mtime_ns, file.inode, answer["whole"])


def _refusal(name: str, why: str, what: str) -> str:
    match why:
        case "code":
            return (
                f"{name} wants to run code when it is loaded ({what}), so it is not read. "
                "Use a safetensors copy, or a file from a source that you trust."
            )
        case "kind":
            return f"{name} holds {what}, not a table of tensors by name. Use the model's weight files."
        case "entry":
            return (
                f"{name} holds {what}, which is not a tensor: it looks like a training state. "
                "Use the model's weight files."
            )
        case "dtype":
            return f"{name} holds tensors of the kind {what}, which are not read. Use the original weights."
    return f"{name} cannot be read as a PyTorch file: {what}. Download it again."
