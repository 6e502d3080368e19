import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockmerge.checkpoints.strict_json import MAX_BYTES, parse_object, read_object, shown
from blockmerge.errors import CheckpointError

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(value=st.dictionaries(st.text(), JSON))
def test_what_pythons_own_writer_writes_is_read_back(value: dict[str, object]) -> None:
    assert parse_object(json.dumps(value).encode(), "x.json") == value


@given(raw=st.binary(max_size=200) | st.text(alphabet='{}[]":,0123456789.eE-+truefalsn\\u NaI\ufeff').map(str.encode))
def test_any_bytes_are_read_or_refused_by_name(raw: bytes) -> None:
    try:
        value = parse_object(raw, "x.json")
    except CheckpointError as error:
        [problem] = error.problems
    else:
        assert value == json.loads(raw)
        return
    assert problem.startswith("x.json is not valid: ")


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b'{"num_hidden_layers": 2, "num_hidden_layers": 3}', "duplicate key num_hidden_layers."),
        (b'{"a": {"b": 1, "b": 1}}', "duplicate key b."),
        (b'{"a\\n": 1, "a\\n": 1}', r"duplicate key 'a\n'."),
        (b'{"a": NaN}', "NaN is not JSON."),
        (b'{"a": -Infinity}', "-Infinity is not JSON."),
        (b'{"a": 1e999}', "the number 1e999 is too large."),
        (b'{"a": ' + b"9" * 5000 + b"}", "the number 9999999999… has 5,000 digits."),
        (b'{"a": 0.' + b"9" * 5000 + b"}", "the number 0.99999999… has 5,002 digits."),
        (b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "it is nested too deeply."),
        (b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}", "it is nested too deeply."),
        (b"\xef\xbb\xbf{}", "it starts with a byte order mark."),
        ('{"a": "é"}'.encode("latin-1"), "byte 7 is not UTF-8."),
        (b"", "it is empty."),
        (b"[1]", "an object in braces was expected, found a list."),
        (b"null", "an object in braces was expected, found null."),
        (b"true", "an object in braces was expected, found true or false."),
        (b'{"a" 1}', "expecting ':' delimiter at line 1, column 6."),
        (b'{"a": 1} x', "extra data at line 1, column 10."),
    ],
)
def test_what_readers_would_not_agree_on_is_refused(raw: bytes, sentence: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        parse_object(raw, "config.json")

    assert str(caught.value) == f"config.json is not valid: {sentence}"


def test_a_depth_of_63_lists_is_read() -> None:
    assert parse_object(b'{"a": ' + b"[" * 62 + b"]" * 62 + b"}", "config.json")


def test_a_file_is_read_up_to_16_mb(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b"{}" + b" " * (MAX_BYTES - 2))

    assert read_object(path) == {}
    path.write_bytes(b"{}" + b" " * (MAX_BYTES - 1))
    with pytest.raises(CheckpointError) as caught:
        read_object(path)

    assert str(caught.value) == (
        "config.json is 16,000,001 bytes long, at most 16,000,000 are read. Is this the right file?"
    )


@given(text=st.text())
def test_a_text_is_shown_printable_and_short(text: str) -> None:
    assert shown(text).isprintable()
    assert len(shown(text)) <= 100
