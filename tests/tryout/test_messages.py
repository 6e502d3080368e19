"""What is said arrives as it was said."""

import pytest

from blockmerge.tryout.messages import (
    Ask,
    Compare,
    Compared,
    Doing,
    Ended,
    Failed,
    Fill,
    Filled,
    Generate,
    Hello,
    Load,
    Loaded,
    Message,
    Noted,
    Score,
    Scored,
    Written,
    decode_ask,
    decode_message,
    encode_ask,
    encode_message,
    encode_stop,
)

ODD = 'two\nlines, "quotes", ü, \ud800 and \x00'


@pytest.mark.parametrize(
    "ask",
    [
        Load("/models/a", "LlamaForCausalLM", "float32", 10**12),
        Generate(ODD, (("q", "a"), (ODD, "b")), True, False, 7, 0.7, 128),
        Generate("x", (), False, True, 0, 0.0, 1),
        Score(ODD, "", False, True),
        Fill("a [MASK]"),
        Compare("a", "b"),
    ],
)
def test_a_question_arrives_as_it_was_asked(ask: Ask) -> None:
    line = encode_ask(3, ask)

    assert line.count(b"\n") == 1
    assert decode_ask(line) == (3, ask)


@pytest.mark.parametrize(
    "message",
    [
        Hello("cpu", None),
        Hello("cuda", 80 * 10**9),
        Loaded(2),
        Doing("tokens"),
        Noted(ODD),
        Written(ODD, 3, 0.5),
        Ended("length"),
        Scored(1.5, 8),
        Filled((("paris", 0.4), ("rome", 0.1))),
        Compared(0.25),
        Failed("why"),
    ],
)
def test_a_message_arrives_as_it_was_said(message: Message) -> None:
    assert decode_message(encode_message(message)) == message


def test_a_stop_names_the_question_that_it_ends() -> None:
    assert decode_ask(encode_stop(5)) == (5, None)
