"""What the Hub said: the page asks with every stroke, the Hub is asked once in a while, and once by two at a time."""

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, TypeVar

from blockmerge.errors import BlockmergeError

KEPT_FOR = 600.0  # seconds
REFUSED_FOR = 10.0  # seconds: somebody may mend what is wrong and try again

_MOST = 200

Answer = TypeVar("Answer")


@dataclass(slots=True)
class _Question(Generic[Answer]):
    """The lock is held by whoever is asking just now; `at` is when it was asked last."""

    lock: Lock = field(default_factory=Lock)
    at: float = float("-inf")
    answer: Answer | None = None
    refusal: BlockmergeError | None = None


class Memory(Generic[Answer]):
    """Answers and refusals by question. Of too many questions the oldest is forgotten."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._guard = Lock()
        self._questions: dict[Hashable, _Question[Answer]] = {}

    def ask(self, key: Hashable, ask: Callable[[], Answer]) -> Answer:
        """What `ask` answers, or has answered. Raises what it raises; of that, BlockmergeErrors are kept too."""
        with self._guard:
            question = self._questions.setdefault(key, _Question[Answer]())
            if len(self._questions) > _MOST:
                del self._questions[next(iter(self._questions))]
        with question.lock:
            if self._clock() - question.at >= (KEPT_FOR if question.refusal is None else REFUSED_FOR):
                self._ask_now(question, ask)
            if question.refusal is not None:
                # A new one, as each raise would add to the traceback of the one that is kept.
                raise type(question.refusal)(*question.refusal.problems)
            assert question.answer is not None
            return question.answer

    def _ask_now(self, question: _Question[Answer], ask: Callable[[], Answer]) -> None:
        question.answer = question.refusal = None
        try:
            question.answer = ask()
        except BlockmergeError as error:
            question.refusal = error
        question.at = self._clock()
