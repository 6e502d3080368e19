"""What the page and a model process say to each other: one JSON value a line, over stdin and stdout."""

import json
from dataclasses import asdict, dataclass
from typing import Any

STOP = "stop"
TEMPLATE, TOKENS, MODEL = "template", "tokens", "model"  # the steps of an answer


@dataclass(frozen=True, slots=True)
class Load:
    """`most` is how many bytes of addresses the process may hold afterwards, beside those that it holds already."""

    folder: str
    architecture: str
    dtype: str
    most: int


@dataclass(frozen=True, slots=True)
class Generate:
    """Go on with `text`. In a chat it is the last thing said, and `history` are the questions and answers before.

    `length` is in tokens. Without `template` a chat is plain text, too.
    """

    text: str
    history: tuple[tuple[str, str], ...]
    chat: bool
    template: bool
    seed: int
    temperature: float
    length: int


@dataclass(frozen=True, slots=True)
class Score:
    """How likely is `text` after `context`? In a chat as the answer to it."""

    text: str
    context: str
    chat: bool
    template: bool


@dataclass(frozen=True, slots=True)
class Fill:
    text: str


@dataclass(frozen=True, slots=True)
class Compare:
    first: str
    second: str


Question = Generate | Score | Fill | Compare
Ask = Load | Question


@dataclass(frozen=True, slots=True)
class Hello:
    """Everything is imported. `free` is the memory of the device where that is not the machine's own."""

    device: str
    free: int | None


@dataclass(frozen=True, slots=True)
class Loaded:
    """`missing` counts the tensors that transformers filled with random numbers."""

    missing: int


@dataclass(frozen=True, slots=True)
class Doing:
    """A step begins: the template is rendered, the text is split into tokens, the model computes."""

    step: str


@dataclass(frozen=True, slots=True)
class Noted:
    sentence: str


@dataclass(frozen=True, slots=True)
class Written:
    """All of the text so far; `seconds` passed since its first token."""

    text: str
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Ended:
    """`reason` is "end" where the model ended by itself, "length" or "stopped"."""

    reason: str


@dataclass(frozen=True, slots=True)
class Scored:
    """`loss` is the mean of −ln p over the tokens."""

    loss: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Filled:
    """The likeliest words, each with its probability."""

    words: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """The cosine of the two sentences."""

    similarity: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The question has no answer; the process lives on."""

    sentence: str


LAST = (Loaded, Ended, Scored, Filled, Compared, Failed)
Message = Hello | Loaded | Doing | Noted | Written | Ended | Scored | Filled | Compared | Failed

_ASKS: dict[str, Any] = {kind.__name__: kind for kind in (Load, Generate, Score, Fill, Compare)}
_MESSAGES: dict[str, Any] = {kind.__name__: kind for kind in (Hello, Doing, Noted, Written, *LAST)}


def encode_ask(number: int, ask: Ask) -> bytes:
    return _line([number, type(ask).__name__, asdict(ask)])


def encode_stop(number: int) -> bytes:
    """Stop the answer to the question of this number; it says nothing where that has ended already."""
    return _line([number, STOP, {}])


def decode_ask(line: bytes) -> tuple[int, Ask | None]:
    """The number of a question with the question, or with None where it is to be stopped."""
    number, name, fields = json.loads(line)
    return number, None if name == STOP else _ASKS[name](**_with_tuples(fields))


def encode_message(message: Message) -> bytes:
    return _line([type(message).__name__, asdict(message)])


def decode_message(line: bytes) -> Message:
    name, fields = json.loads(line)
    message: Message = _MESSAGES[name](**_with_tuples(fields))
    return message


def _with_tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(map(tuple, value)) if isinstance(value, list) else value for name, value in fields.items()}


def _line(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"
