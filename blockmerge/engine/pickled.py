"""PyTorch's own files (`.bin`), without ever running what a pickle asks for: `torch.load(weights_only=True)` alone.

`main` is the child that reads headers: on stdin one JSON object with the paths, on
stdout one line of JSON for each. Under FakeTensorMode no weights are read, and torch tells where each tensor's bytes
lie in the file.
"""

import json
import os
import pickle
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.serialization import config as serialization

from blockmerge.checkpoints.files import open_for_reading
from blockmerge.core.tensors import Checkpoint, TensorSpec
from blockmerge.errors import RunError

CODES: Mapping[torch.dtype, str] = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_FORBIDDEN = re.compile(r"GLOBAL (\S+)|unrecognized function (.+)|unsupported class (.+)")
# What torch's reader raises over bytes that are no pickle, or half of one.
_BROKEN = (
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
)


def describe(path: str) -> dict[str, Any]:
    """What the file holds: {"tensors": [[name, dtype, shape, offset]…], "whole": …}, or {"refused": why}.

    `whole` means that the file has no place to read a tensor from, as before torch 1.6: it has to be loaded, and the
    offsets are those that `unpack` gives them.
    """
    try:
        with FakeTensorMode():
            entries = torch.load(path, weights_only=True)
    except pickle.UnpicklingError as error:
        found = _FORBIDDEN.search(str(error))
        if found is None:
            return {"refused": "broken", "what": "its pickle is not whole"}
        return {"refused": "code", "what": next(filter(None, found.groups())).rstrip(".")}
    except _BROKEN as error:
        return {"refused": "broken", "what": str(error).splitlines()[0] if str(error) else type(error).__name__}
    if not isinstance(entries, dict):
        return {"refused": "kind", "what": type(entries).__name__}
    extra = next((name for name, entry in entries.items() if not isinstance(entry, Tensor)), None)
    if extra is not None:
        return {"refused": "entry", "what": str(extra)}
    odd = next((t for t in entries.values() if t.dtype not in CODES or t.layout is not torch.strided), None)
    if odd is not None:
        what = odd.dtype if odd.layout is torch.strided else odd.layout
        return {"refused": "dtype", "what": str(what).removeprefix("torch.")}
    offsets = _offsets(entries)
    whole = offsets is None
    placed = _packed(entries) if offsets is None else offsets
    tensors = [[str(name), CODES[t.dtype], list(t.shape), placed[name]] for name, t in entries.items()]
    return {"tensors": tensors, "whole": whole}


def _offsets(entries: Mapping[str, Tensor]) -> dict[str, int] | None:
    """Where the bytes of each tensor begin in the file; None where some do not lie there in a row."""
    offsets: dict[str, int] = {}
    for name, tensor in entries.items():
        # A private attribute; tests/engine/test_pickled.py reads real bytes by it.
        start = tensor.untyped_storage()._checkpoint_offset
        if start is None or not tensor.is_contiguous():
            return None
        offsets[name] = start + int(tensor.storage_offset()) * tensor.element_size()
    return offsets


def _packed(entries: Mapping[str, Tensor]) -> dict[str, int]:
    """Offsets of the tensors one behind the other; those that share all their numbers have one place."""
    offsets: dict[str, int] = {}
    places: dict[tuple[object, ...], int] = {}
    end = 0
    for name, tensor in entries.items():
        key = (tensor.untyped_storage()._cdata, tensor.storage_offset(), tensor.shape, tensor.stride())
        offsets[name] = places.setdefault(key, end)
        if offsets[name] == end:
            end += int(tensor.numel()) * tensor.element_size()
    return offsets


def open_tensors(checkpoint: Checkpoint, file: str, scratch: Path, stack: ExitStack) -> int:
    """A descriptor in which each tensor lies at its offset: the file itself, or what it holds, unpacked in `scratch`.

    `stack` closes it.
    """
    path = checkpoint.folder / file
    if any(shard.name == file and shard.whole for shard in checkpoint.shards):
        tensors = [tensor for tensor in checkpoint.tensors.values() if tensor.file == file]
        return stack.enter_context(_unpack(path, tensors, scratch)).fileno()
    handle = open_for_reading(path)
    stack.callback(os.close, handle)
    return handle


def _unpack(path: Path, tensors: Iterable[TensorSpec], folder: Path) -> IO[bytes]:
    """Load a whole file and write its tensors where their specs say, into a file without a name in `folder`."""
    entries = torch.load(path, weights_only=True, map_location="cpu")
    target = TemporaryFile(dir=folder)  # noqa: SIM115 - the caller closes it after the merge
    for spec in tensors:
        tensor = entries[spec.name].detach()
        if CODES[tensor.dtype] != spec.dtype.code or tuple(tensor.shape) != spec.shape:
            raise RunError(f"{spec.name} in {path.name} is not what it was when the plan was made. Start again.")
        target.seek(spec.offset)
        target.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    target.flush()
    return target


def main() -> None:
    request = json.loads(sys.stdin.readline())
    # Else torch reads each record's own header, and between the ends of such a file there is nothing.
    serialization.load.calculate_storage_offsets = request["headers_only"]
    for path in request["paths"]:
        print(json.dumps(describe(path)), flush=True)
