from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from blockmerge.core.progress import Progress, Stage
from blockmerge.core.wish import Wish
from blockmerge.engine.devices import DEVICES, Found
from blockmerge.engine.loading import Loading
from blockmerge.jobs.messages import (
    MergeDone,
    MergeFailed,
    MergeStopped,
    Message,
    PartDone,
    Question,
    Request,
    Split,
    decode_answer,
    decode_message,
    decode_order,
    decode_request,
    encode_answer,
    encode_message,
    encode_order,
    encode_request,
)

_text = st.text(st.characters(codec="utf-8"))
_count = st.integers(0, 2**60)
_paths = _text.filter(lambda text: "\0" not in text).map(lambda text: Path("/out") / text)
_messages = st.one_of(
    st.builds(Progress, st.sampled_from(Stage), _count, _count, _text),
    st.builds(MergeDone, _text, _count, st.floats(0, 1e6), st.lists(_text).map(tuple), _text),
    st.builds(MergeFailed, _text, st.booleans()),
    st.builds(Question, _paths),
    st.just(MergeStopped()),
    st.builds(Split, st.lists(_count).map(tuple)),
    st.just(PartDone()),
    st.builds(Found, _text, _text),
)


@given(_messages)
def test_a_message_arrives_as_it_was_sent_on_one_line(message: Message) -> None:
    line = encode_message(message)

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_message(line) == message


@given(
    st.builds(
        *(Request, _text, _paths, st.booleans(), st.none() | _count, st.booleans()),
        *(st.none() | _text, st.none() | _count, st.booleans(), st.sampled_from(DEVICES)),
        st.none() | st.builds(Wish, _text, st.none() | _text, st.booleans(), st.booleans(), st.none() | _text),
    )
)
def test_a_request_arrives_as_it_was_sent_on_one_line(request: Request) -> None:
    line = encode_request(request)

    assert line.count(b"\n") == 1
    assert decode_request(line) == request


@given(st.none() | _count)
def test_an_order_arrives_as_it_was_sent_on_one_line(part: int | None) -> None:
    line = encode_order(part)

    assert line.count(b"\n") == 1
    assert decode_order(line) == part


_names = st.frozensets(_text, max_size=3)
_troubles = st.none() | st.fixed_dictionaries(dict.fromkeys(("missing", "unexpected", "mismatched"), _names))


@given(st.builds(Loading, _text, _text, _troubles))
def test_an_answer_arrives_as_it_was_sent_on_one_line(answer: Loading) -> None:
    line = encode_answer(answer)

    assert line.count(b"\n") == 1
    assert decode_answer(line) == answer
