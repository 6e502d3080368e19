"""JSON files of a checkpoint, read by one strict reader.

Python's own reader takes the last of two equal keys, NaN, numbers of any length and any depth. A file that means
different things to different readers is refused here.
"""

import json
import math
from pathlib import Path
from typing import Any, NoReturn

from blockmerge.checkpoints.files import read_whole
from blockmerge.errors import CheckpointError

MAX_BYTES = 16 * 10**6
MAX_DEPTH = 64
MAX_DIGITS = 40  # characters of one number; a 64-bit integer has 20, a float64 at most 25
_MANY_DIGITS = b"0" * MAX_DIGITS
_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")

_CONTAINERS = (dict, list)
_BOM = b"\xef\xbb\xbf"
_KINDS = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "true or false", type(None): "null"}


class _InvalidError(ValueError):
    """Raised inside the hooks; becomes a CheckpointError with the file's name."""


def read_object(path: Path, most: int = MAX_BYTES) -> dict[str, object]:
    """The JSON object in a file of at most `most` bytes. Raises CheckpointError that starts with the file's name."""
    return parse_object(read_whole(path, most), path.name)


def parse_object(raw: bytes, name: str) -> dict[str, object]:
    """The JSON object in `raw`; `name` begins the sentence of the CheckpointError."""
    try:
        value = _parse(raw)
    except json.JSONDecodeError as error:
        what = error.msg[0].lower() + error.msg[1:]
        raise CheckpointError(f"{name} is not valid: {what} at line {error.lineno}, column {error.colno}.") from error
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{name} is not valid: byte {error.start:,} is not UTF-8.") from error
    except RecursionError as error:
        raise CheckpointError(f"{name} is not valid: it is nested too deeply.") from error
    except _InvalidError as error:
        raise CheckpointError(f"{name} is not valid: {error}.") from error
    return value


def shown(text: str) -> str:
    """A text from a file as it may stand in a sentence: quoted, printable and short."""
    quoted = f"'{text}'" if text.isprintable() else ascii(text)
    return quoted if len(quoted) <= 100 else f"{quoted[:99]}…"


def _parse(raw: bytes) -> dict[str, object]:
    if not raw:
        raise _InvalidError("it is empty")
    if raw.startswith(_BOM):
        raise _InvalidError("it starts with a byte order mark")
    value = json.loads(
        raw.decode("utf-8"),
        object_pairs_hook=_object,
        # A header has thousands of numbers, and a function of ours takes four times as long as Python's own.
        parse_int=_integer if _MANY_DIGITS in raw.translate(_AS_ZEROS) else int,
        parse_float=_float,
        parse_constant=_refuse_constant,
    )
    if not isinstance(value, dict):
        raise _InvalidError(f"an object in braces was expected, found {_KINDS[type(value)]}")
    _check_depth(value)
    return value


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for number, key in enumerate(keys) if key in keys[:number])
        raise _InvalidError(f"duplicate key {twice if twice.isprintable() and len(twice) <= 100 else shown(twice)}")
    return value


def _integer(digits: str) -> int:
    _check_length(digits)
    return int(digits)


def _float(digits: str) -> float:
    _check_length(digits)
    value = float(digits)
    if math.isinf(value):
        raise _InvalidError(f"the number {digits} is too large")
    return value


def _check_length(digits: str) -> None:
    if len(digits) > MAX_DIGITS:
        raise _InvalidError(f"the number {digits[:10]}… has {len(digits):,} digits")


def _refuse_constant(constant: str) -> NoReturn:
    raise _InvalidError(f"{constant} is not JSON")


def _check_depth(value: dict[str, object]) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        held = (parent.values() if isinstance(parent, dict) else parent for parent in level)
        # json makes just these two; to ask isinstance of each number of a header takes three times as long.
        level = [child for children in held for child in children if type(child) in _CONTAINERS]
        if not level:
            return
    raise _InvalidError("it is nested too deeply")
