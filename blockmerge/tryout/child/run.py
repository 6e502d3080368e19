"""The model process, a child of the page: one model, asked over stdin, answering over stdout.

What it has to say beside its answers goes to the file that BLOCKMERGE_TRY_LOG names; prompts and answers do not.
"""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

import transformers

from blockmerge.jobs.process import watch_parent
from blockmerge.tryout.child.measuring import compare, fill, score
from blockmerge.tryout.child.model import Model, NoAnswerError, find_device, free_on, load, use_threads
from blockmerge.tryout.child.writing import write
from blockmerge.tryout.messages import (
    Ask,
    Compare,
    Failed,
    Fill,
    Generate,
    Hello,
    Load,
    Message,
    Question,
    Score,
    decode_ask,
    encode_message,
)

OUT_OF_MEMORY = "There is not enough memory for this answer. Shorten the prompt, or free other models."

_LOG = logging.getLogger(__name__)


class _Process:
    """The model that is held, and the way to answer."""

    def __init__(self, say: Callable[[Message], None]) -> None:
        self._say = say
        self._asks: SimpleQueue[tuple[int, Ask]] = SimpleQueue()
        self._stopped = 0
        self._model: Model | None = None
        self._device = find_device()

    def hear(self, line: bytes) -> None:
        number, ask = decode_ask(line)
        if ask is None:
            self._stopped = max(self._stopped, number)
        else:
            self._asks.put((number, ask))

    def run(self) -> None:
        self._say(Hello(self._device, free_on(self._device)))
        while True:
            number, ask = self._asks.get()
            self._say(self._outcome(number, ask))

    def _outcome(self, number: int, ask: Ask) -> Message:
        try:
            if isinstance(ask, Load):
                self._model, loaded = load(ask, self._device)
                return loaded
            assert self._model is not None
            return self._answer(self._model, ask, lambda: self._stopped >= number)
        except NoAnswerError as error:
            return Failed(str(error))
        except MemoryError:
            return Failed(OUT_OF_MEMORY)
        except Exception as error:  # noqa: BLE001 - the boundary where a model's crash becomes a sentence
            _LOG.exception("answering")
            is_memory = "alloc" in str(error) or "out of memory" in str(error)
            crash = f"The model failed on this ({type(error).__name__}). The log of tries says more."
            return Failed(OUT_OF_MEMORY if is_memory else crash)

    def _answer(self, model: Model, question: Question, is_stopped: Callable[[], bool]) -> Message:
        match question:
            case Generate():
                return write(model, question, self._say, is_stopped)
            case Score():
                return score(model, question, self._say)
            case Fill():
                return fill(model, question, self._say)
            case Compare():
                return compare(model, question, self._say)


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    with Path(os.environ["BLOCKMERGE_TRY_LOG"]).open("ab") as log:
        for number in (1, 2):  # whatever else prints
            os.dup2(log.fileno(), number)

    def say(message: Message) -> None:
        answers.write(encode_message(message))
        answers.flush()

    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s")
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    use_threads()
    process = _Process(say)
    watch_parent(process.hear, lambda: os._exit(0))
    process.run()
