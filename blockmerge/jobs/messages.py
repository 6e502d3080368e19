"""What the worker and its merge process say to each other: one JSON value a line, over stdin and stdout."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from blockmerge.core.progress import Progress, Stage

# All that a worker says after its request: stop and keep what is finished, or stop and leave nothing.
PAUSE = b"pause\n"
CANCEL = b"cancel\n"


@dataclass(frozen=True, slots=True)
class Request:
    """One attempt at one job. `again` says that an earlier attempt may have published the result already.

    `log` takes all that the process has to say on stderr; `lock` is held while it works.
    """

    recipe: str
    out: Path
    again: bool
    log: Path
    lock: Path


@dataclass(frozen=True, slots=True)
class MergeDone:
    digest: str
    nbytes: int
    seconds: float
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MergeFailed:
    error: str


@dataclass(frozen=True, slots=True)
class MergeStopped:
    """It was asked to stop. After a cancel nothing stays, after a pause what is finished."""


Ending = MergeDone | MergeFailed | MergeStopped
Message = Progress | Ending


def encode_request(request: Request) -> bytes:
    return _line({**asdict(request), "out": str(request.out), "log": str(request.log), "lock": str(request.lock)})


def decode_request(line: bytes) -> Request:
    value = json.loads(line)
    return Request(value["recipe"], Path(value["out"]), value["again"], Path(value["log"]), Path(value["lock"]))


def encode_message(message: Message) -> bytes:
    match message:
        case Progress():
            return _line({"progress": asdict(message)})
        case MergeDone():
            return _line({"done": asdict(message)})
        case MergeFailed():
            return _line({"failed": message.error})
        case MergeStopped():
            return _line({"stopped": True})


def decode_message(line: bytes) -> Message:
    [(kind, value)] = json.loads(line).items()
    if kind == "progress":
        return Progress(Stage(value["stage"]), value["done"], value["total"], value["detail"])
    if kind == "done":
        return MergeDone(value["digest"], value["nbytes"], value["seconds"], tuple(value["warnings"]))
    return MergeFailed(value) if kind == "failed" else MergeStopped()


def _line(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"
