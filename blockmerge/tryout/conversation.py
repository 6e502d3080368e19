"""What somebody asked, and what each model answered: kept for a browser as long as the page's process lives."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from blockmerge.tryout.columns import Column
from blockmerge.tryout.kinds import Kind

MOST_ROUNDS = 30
MOST_MEASURES = 12


class AnswerState(StrEnum):
    WAITING = "waiting"
    WRITING = "writing"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asks: `temperature` 0 takes the likeliest token each time, `length` is in tokens."""

    job: int
    prompt: str
    chat: bool = True
    seed: int = 0
    temperature: float = 0.7
    length: int = 128
    blind: bool = False


@dataclass(slots=True)
class Answer:
    """`news` is what is waited for; `notes` stay. `rate` is in tokens a second."""

    column: Column
    state: AnswerState = AnswerState.WAITING
    news: str = ""
    text: str = ""
    tokens: int = 0
    rate: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        return self.state in (AnswerState.WAITING, AnswerState.WRITING)


@dataclass(slots=True)
class Round:
    """One question to all columns; `answers` are in the order in which they are shown.

    A blind one has no names until there is a `vote`: the key of a column, or "equal".
    """

    number: int
    request: Request
    kind: Kind
    recipe: str
    answers: tuple[Answer, ...]
    vote: str = ""
    version: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> None:
        """What an answer has by now is all it will have."""
        self.stopping.set()
        for answer in self.answers:
            if answer.is_open:
                answer.state = AnswerState.STOPPED

    @property
    def is_open(self) -> bool:
        return any(answer.is_open for answer in self.answers)

    @property
    def is_hidden(self) -> bool:
        return self.request.blind and not self.vote


@dataclass(frozen=True, slots=True)
class Measured:
    """One column's figure: `loss` is the mean of −ln p over `tokens`, or `problem` says why there is none."""

    column: Column
    loss: float = 0.0
    tokens: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Measure:
    """How likely each column finds `text`: as the beginning of its answer to `context`, or, without one, by itself."""

    text: str
    context: str
    columns: tuple[Measured, ...]


class Conversation:
    """The rounds of one browser, oldest first. Every change has a new version, so that only changes are sent."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.rounds: list[Round] = []
        self.measures: list[Measure] = []
        self.version = 0
        self._last = 0

    def begin(self, request: Request, kind: Kind, recipe: str, columns: Sequence[Column]) -> Round:
        with self.lock:
            self._last += 1
            answers = tuple(
                Answer(column, AnswerState.FAILED, notes=(column.problem,)) if column.problem else Answer(column)
                for column in columns
            )
            begun = Round(self._last, request, kind, recipe, answers)
            self.rounds = [*self.rounds[-MOST_ROUNDS + 1 :], begun]
            self.touch(begun)
            return begun

    def touch(self, round_: Round) -> None:
        with self.lock:
            self.version += 1
            round_.version = self.version

    def clear(self) -> None:
        with self.lock:
            self.rounds = []
            self.version += 1

    def keep(self, measure: Measure) -> None:
        """The newest first; a text that is measured again replaces its older figures."""
        with self.lock:
            others = [held for held in self.measures if (held.text, held.context) != (measure.text, measure.context)]
            self.measures = [measure, *others][:MOST_MEASURES]

    def history(self, round_: Round, key: str) -> tuple[tuple[str, str], ...]:
        """The questions and this column's answers before a round of the same chat."""
        found = []
        with self.lock:
            for earlier in self.rounds:
                is_before = earlier.number < round_.number and earlier.request.chat
                if not is_before or earlier.request.job != round_.request.job:
                    continue
                answer = next((answer for answer in earlier.answers if answer.column.key == key), None)
                if answer is not None and answer.text:
                    found.append((earlier.request.prompt, answer.text))
        return tuple(found)
