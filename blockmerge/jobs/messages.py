"""What the worker and its merge process say to each other: one JSON value a line, over stdin and stdout."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from blockmerge.core.progress import Progress, Stage
from blockmerge.core.wish import Wish
from blockmerge.engine.devices import CPU, Found
from blockmerge.engine.loading import Loading

# All that a worker says after its request: stop and keep what is finished, or stop and leave nothing.
PAUSE = b"pause\n"
CANCEL = b"cancel\n"


@dataclass(frozen=True, slots=True)
class Request:
    """One attempt at one job. `again` says that an earlier attempt may have left something, or published the result.

    `memory` are the bytes that the process may take for itself, None as many as there are. The Hub is asked with
    `token`; where there is none, `as_owner` with this machine's own, and otherwise as somebody without one. A result of
    `split_from` bytes or more is merged part by part, as the worker orders, since others may merge parts of it.
    `helps`: no more than that, parts of a job that another worker carries out. `device` is where it is computed. With
    a `wish` the result goes straight to the Hub, and nothing is made at `out`.
    """

    recipe: str
    out: Path
    again: bool
    memory: int | None = None
    as_owner: bool = False
    token: str | None = field(default=None, repr=False)
    split_from: int | None = None
    helps: bool = False
    device: str = CPU
    wish: Wish | None = None


@dataclass(frozen=True, slots=True)
class MergeDone:
    """`address` is that of the commit or pull request, where it went straight to the Hub."""

    digest: str
    nbytes: int
    seconds: float
    warnings: tuple[str, ...]
    address: str = ""


@dataclass(frozen=True, slots=True)
class MergeFailed:
    """`needs_sign_in` where it can go on as soon as somebody has signed in to the Hub."""

    error: str
    needs_sign_in: bool = False


@dataclass(frozen=True, slots=True)
class MergeStopped:
    """It was asked to stop. After a cancel nothing stays, after a pause what is finished."""


@dataclass(frozen=True, slots=True)
class Question:
    """What does transformers say of this folder? The worker has it at hand, and answers with a line."""

    folder: Path


@dataclass(frozen=True, slots=True)
class Split:
    """It merges part by part; of so many bytes each. It waits for an order, which says what is next."""

    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PartDone:
    """The part that was ordered last is whole, and on the disk. It waits for the next order."""


Ending = MergeDone | MergeFailed | MergeStopped
Message = Progress | Question | Split | PartDone | Found | Ending


def encode_request(request: Request) -> bytes:
    return _line({**asdict(request), "out": str(request.out)})


def decode_request(line: bytes) -> Request:
    value = json.loads(line)
    wish = Wish(**value["wish"]) if value["wish"] else None
    return Request(**{**value, "out": Path(value["out"]), "wish": wish})


def encode_order(part: int | None) -> bytes:
    """The number of the part to merge next; None: all parts are whole, go on to the end."""
    return _line(part)


def decode_order(line: bytes) -> int | None:
    part: int | None = json.loads(line)
    return part


def encode_answer(answer: Loading) -> bytes:
    return _line(answer.as_json)


def decode_answer(line: bytes) -> Loading:
    return Loading.read(json.loads(line))


def encode_message(message: Message) -> bytes:
    match message:
        case Progress():
            return _line({"progress": asdict(message)})
        case Question():
            return _line({"question": str(message.folder)})
        case Split():
            return _line({"split": message.sizes})
        case PartDone():
            return _line({"part_done": True})
        case Found():
            return _line({"found": asdict(message)})
        case MergeDone():
            return _line({"done": asdict(message)})
        case MergeFailed():
            return _line({"failed": asdict(message)})
        case MergeStopped():
            return _line({"stopped": True})


def decode_message(line: bytes) -> Message:
    [(kind, value)] = json.loads(line).items()
    if kind == "progress":
        return Progress(Stage(value["stage"]), value["done"], value["total"], value["detail"])
    if kind == "question":
        return Question(Path(value))
    if kind == "split":
        return Split(tuple(value))
    if kind == "part_done":
        return PartDone()
    if kind == "found":
        return Found(**value)
    if kind == "done":
        return MergeDone(**{**value, "warnings": tuple(value["warnings"])})
    return MergeFailed(**value) if kind == "failed" else MergeStopped()


def _line(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"
