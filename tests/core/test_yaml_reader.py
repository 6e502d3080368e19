import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockmerge.core.yaml_reader import MAX_BYTES, read_yaml
from blockmerge.core.yaml_writer import write_yaml
from blockmerge.errors import RecipeError

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20) | st.from_regex(
    r"\A[-+~.:<=!&*a-fnoxyNOTF0-9eE_]{1,8}\Z"  # what looks like a number, a switch, a tag or an alias
)
NUMBERS = st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)


def problem_of(text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        read_yaml(text, "The recipe")
    [problem] = caught.value.problems
    return problem


@pytest.mark.parametrize("word", ["no", "yes", "on", "off", "y", "n", "No", "tRUE", "010", "1:30", "1_000", "0x10"])
def test_what_only_yaml_1_1_takes_for_something_else_is_a_word(word: str) -> None:
    assert read_yaml(word, "The recipe") == word


@pytest.mark.parametrize("word", ["2024-01-02", ".inf", ".nan", "-.inf", "<<", "=", "-", ".", "e5", "1e", "1.5.2"])
def test_dates_infinities_and_merge_keys_are_words(word: str) -> None:
    assert read_yaml(f"{{key: {word}}}", "The recipe") == {"key": word}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("0", 0), ("-7", -7), ("+7", 7), ("0.5", 0.5), ("5.", 5.0), (".5", 0.5), ("+.5", 0.5), ("1e3", 1000.0)],
        *[("1.5E-2", 0.015), ("true", True), ("False", False), ("null", None), ("~", None), ("", None), ("'1'", "1")],
    ],
)
def test_numbers_are_decimal_and_switches_are_true_and_false(text: str, value: object) -> None:
    read = read_yaml(text, "The recipe")

    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("a: &x [1]\nb: *x\n", "line 1, column 4", "anchors and aliases are not used in recipes"),
        ("a: 1\nb: *x\n", "line 2, column 4", "anchors and aliases are not used in recipes"),
        ("a: !!python/name:os.system ''", "line 1, column 4", "tags are not used in recipes"),
        ("a:\n  - !weight 3\n", "line 2, column 5", "tags are not used in recipes"),
        ("!recipe {a: 1}", "line 1, column 1", "tags are not used in recipes"),
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1", "the key a stands twice"),
        ("w:\n  layers: 1\n  layers: 1\n", "line 3, column 3", "the key layers stands twice"),
        ("? [a, b]\n: 1\n", "line 1, column 3", "a key is one word"),
        ("a: [1, 2\n", "line 2, column 1", "expected ',' or ']', but got '<stream end>'"),
        ("a: 1\n\tb: 2\n", "line 2, column 1", "found character '\\t' that cannot start any token"),
    ],
)
def test_what_is_refused_is_shown_by_line_and_column(text: str, where: str, what: str) -> None:
    assert problem_of(text) == f"The recipe is not valid YAML at {where}: {what}."


def test_a_text_is_read_up_to_64_kb() -> None:
    assert read_yaml("a" * MAX_BYTES, "The recipe") == "a" * MAX_BYTES
    assert problem_of("é" * (MAX_BYTES // 2) + "a") == (
        "The recipe is longer than 64 kB. A recipe is a page of text; is this the right file?"
    )


@pytest.mark.parametrize("text", ["[" * 60_000, "{a: " * 15_000, "a: \x00", "a: \ud800", "- " * 30_000])
def test_hostile_text_is_refused_by_name(text: str) -> None:
    assert problem_of(text).startswith("The recipe is not valid YAML")


@given(text=st.text(alphabet="ab:-?[]{}&*!|>'\"#%@`,\\ \n\t01.e~", max_size=60))
def test_any_text_is_read_or_refused_by_name(text: str) -> None:
    try:
        read_yaml(text, "The recipe")
    except RecipeError as error:
        [problem] = error.problems
    else:
        return
    assert problem.startswith("The recipe is not valid YAML")


@given(value=st.dictionaries(TEXTS, VALUES, max_size=5))
def test_what_is_written_is_read_back(value: dict[str, object]) -> None:
    assert read_yaml(write_yaml(value), "The recipe") == value


def test_a_word_that_looks_like_a_number_is_written_in_quotes() -> None:
    assert write_yaml({"a": ["1e5", "no", "010", "true", "+.5", "word"]}) == (
        "a: ['1e5', 'no', '010', 'true', '+.5', word]\n"
    )


def test_a_list_that_stands_twice_is_written_twice() -> None:
    line = [0.5, 1.0]

    assert write_yaml({"b": line, "a": line}) == "b: [0.5, 1.0]\na: [0.5, 1.0]\n"
