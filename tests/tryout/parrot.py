"""A model process without a model: it speaks the protocol, and says again what it is told. Starts at once."""

import os
import time
from queue import SimpleQueue

from blockmerge.jobs.process import watch_parent
from blockmerge.tryout.messages import (
    MODEL,
    TEMPLATE,
    TOKENS,
    Ask,
    Doing,
    Ended,
    Failed,
    Generate,
    Hello,
    Load,
    Loaded,
    Message,
    Written,
    decode_ask,
    encode_message,
)

asks: SimpleQueue[tuple[int, Ask]] = SimpleQueue()
stopped: set[int] = set()


def hear(line: bytes) -> None:
    number, ask = decode_ask(line)
    if ask is None:
        stopped.add(number)
    else:
        asks.put((number, ask))


def say(message: Message) -> None:
    os.write(1, encode_message(message))


def answer(number: int, question: Generate) -> Message:
    """The text says what to do: "hang template" and "hang tokens" for ever, "die", "long" until stopped."""
    step = {"hang template": TEMPLATE, "hang tokens": TOKENS}.get(question.text)
    if step and question.template:
        say(Doing(step))
        while True:
            pass
    if question.text == "die":
        os._exit(3)
    if question.text == "fail":
        return Failed("It has no answer.")
    say(Doing(MODEL))
    words = 0
    while question.text == "long" and number not in stopped:
        words += 1
        say(Written("la " * words, words, 0.01 * words))
        time.sleep(0.01)
    if words:
        return Ended("stopped")
    say(Written(question.text, 1, 0.0))
    return Ended("end")


def main() -> None:
    watch_parent(hear, lambda: os._exit(0))
    say(Hello("cpu", None))
    while True:
        number, ask = asks.get()
        say(Loaded(0) if isinstance(ask, Load) else answer(number, ask))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
