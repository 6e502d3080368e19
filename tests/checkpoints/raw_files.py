"""Safetensors files and folders put together byte by byte, also such as no library would write."""

import json
from collections.abc import Mapping
from pathlib import Path

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def header(text: str | bytes) -> bytes:
    """The text with its length before it."""
    raw = text if isinstance(text, bytes) else text.encode()
    return len(raw).to_bytes(8, "little") + raw


def file_of(entries: Mapping[str, object], nbytes: int) -> bytes:
    """A file with these header entries and so many zero bytes of data."""
    return header(json.dumps(entries)) + bytes(nbytes)


def float_file(*names: str) -> bytes:
    """A valid file with one float32 pair of each name."""
    entries = {
        name: {"dtype": "F32", "shape": [2], "data_offsets": [8 * number, 8 * number + 8]}
        for number, name in enumerate(names)
    }
    return file_of(entries, 8 * len(names))


def write_folder(folder: Path, **files: bytes | str | Mapping[str, object]) -> Path:
    """A folder with config.json, unless given otherwise; in the names __ is a dot and _D_ a dash."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {"config__json": {"model_type": "llama"}, **files}.items():
        raw = json.dumps(content) if isinstance(content, Mapping) else content
        data = raw.encode() if isinstance(raw, str) else raw
        (folder / name.replace("_D_", "-").replace("__", ".")).write_bytes(data)
    return folder
