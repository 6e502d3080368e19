"""All texts in one file: every one is used, and every one that is asked for is there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockmerge.ui.wording import all_texts, say, script_texts

UI = Path(__file__).parents[2] / "blockmerge" / "ui"
ASKED = re.compile(r"""say\(\s*["'`](\w+\.\w+)["'`]""")
NAMES = {f"{part}.{name}" for part, texts in all_texts().items() for name in texts}


def sources() -> Iterator[str]:
    for path in sorted(UI.rglob("*")):
        if path.suffix in (".py", ".js"):
            yield path.read_text("utf-8")


def test_every_text_that_is_asked_for_is_there() -> None:
    asked = {name for source in sources() for name in ASKED.findall(source)}

    assert len(asked) > 100
    assert asked - NAMES == set()


def test_every_text_is_used() -> None:
    words = set(re.findall(r"\w+", "\n".join(sources())))
    # Names of acts, stages and themes are put together from words that stand in the sources.
    unused = [name for name in NAMES if not set(re.split(r"[._]", name.partition(".")[2])) <= words | _parts(words)]

    assert unused == []


# Everything that the Merge and Try tabs are made of
SAYS_NOTHING = sorted(
    UI / name
    for name in (
        *("checks.py", "draft.py", "mends.py", "plan_views.py", "shapes/shapes.py", "difference/difference.py"),
        *("tabs/merge.py", "tabs/merge_news.py", "tabs/merge_widgets.py", "equaliser/meaning.py", "lines/lines.js"),
        *("loader/loader.py", "loader/loader.js", "loader/dropped.js"),
        *("tabs/try_it.py", "try_views.py", "answers/answers.py", "answers/answers.js"),
        *(f"equaliser/{path.name}" for path in (UI / "equaliser").glob("*.js")),
    )
)
# Keys of the keyboard, events of the browser, formats and models of the Hub, which are no words of the page
NO_TEXT = re.compile(r"HuggingFaceTB/.*|Arrow\w+|Page\w+|Home|End|Enter|Escape|Files|Once, .*|GET|POST")


@pytest.mark.parametrize("path", SAYS_NOTHING, ids=lambda path: path.name)
def test_no_text_of_these_tabs_stands_in_their_code(path: Path) -> None:
    source = path.read_text("utf-8")
    literals = _python_texts(source) if path.suffix == ".py" else _script_texts(source)

    assert [text for text in literals if re.match(r"\W*[A-Z][a-z]", text) and not NO_TEXT.fullmatch(text)] == []


def _python_texts(source: str) -> Iterator[str]:
    """Every text in quotes but docstrings."""
    tree = ast.parse(source)
    docs = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docs:
            yield node.value


def _script_texts(source: str) -> Iterator[str]:
    for line in source.splitlines():
        yield from re.findall(r"""["`](.*?)["`]""", re.sub(r"(^|\s)//.*", "", line))


def _parts(words: set[str]) -> set[str]:
    return {part for word in words for part in word.split("_")}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_text_is_plain_and_whole(name: str) -> None:
    part, _, key = name.partition(".")
    text = all_texts()[part][key]

    assert text.strip() == text or text.startswith(", ")
    assert not re.search(r"\b(alpha|beta|ratio|multiplier)\b", text)
    assert "<" not in text


def test_a_value_is_filled_in() -> None:
    assert say("jobs.as", name="{x}") == "as {x}"
    assert say("jobs.spoken", id=3, state="Done") == "Job 3, Done"


def test_scripts_get_their_texts_as_data() -> None:
    script = script_texts("header")

    assert '"header.disk": "Disk {free} free"' in script
    assert "jobs." not in script
