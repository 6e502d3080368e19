"""What the Try tab shows for a conversation and for measures."""

from pathlib import Path

import gradio as gr
import pytest

from blockmerge.tryout.columns import MERGED, Column
from blockmerge.tryout.conversation import Answer, AnswerState, Conversation, Measure, Measured, Request, Round
from blockmerge.tryout.kinds import Kind
from blockmerge.tryout.pool import Holding
from blockmerge.ui.answers.answers import read_key
from blockmerge.ui.try_views import conversation_view, figures_of, figures_view, holdings_text, round_view

COLUMNS = tuple(
    Column(key, mark, name, None, Kind.WRITER)
    for key, mark, name in (("a", "A", "left"), (MERGED, "", "mine"), ("b", "B", "right"))
)


def nobody(_: str) -> dict[str, int]:
    return {}


def a_round(*, blind: bool = False) -> Round:
    answers = tuple(Answer(column) for column in COLUMNS)
    return Round(1, Request(3, "why?", blind=blind, seed=7), Kind.WRITER, "recipe", answers)


def columns(round_: Round) -> list[dict[str, object]]:
    return round_view(round_, nobody)["columns"]  # type: ignore[return-value]


def test_columns_have_their_letters_names_and_colours() -> None:
    assert [(shown["mark"], shown["name"], shown["kind"]) for shown in columns(a_round())] == [
        ("A", "left", "a"),
        ("", "mine", "merged"),
        ("B", "right", "b"),
    ]


def test_a_blind_round_tells_nothing_that_names_a_model() -> None:
    round_ = a_round(blind=True)
    for answer in round_.answers:
        answer.state, answer.text, answer.notes = (
            AnswerState.DONE,
            "because",
            (f"{answer.column.name} has no template.",),
        )

    view = round_view(round_, nobody)

    assert not any(name in str(view) for name in ("left", "mine", "right"))
    assert [shown["name"] for shown in columns(round_)] == ["Answer 1", "Answer 2", "Answer 3"]
    assert view["vote"] is True


def test_after_the_vote_names_and_counts_are_shown() -> None:
    round_ = a_round(blind=True)
    round_.vote = "merged"

    view = round_view(round_, lambda recipe: {"merged": 2, "a": 1, "equal": 4} if recipe == "recipe" else {})

    assert view["voted"] == "You chose mine. Blind votes for this recipe: left 1, mine 2, right 0, no difference 4."
    assert [shown["best"] for shown in columns(round_)] == [False, True, False]


def test_an_answer_says_what_it_waits_for_how_long_it_is_and_how_fast() -> None:
    round_ = a_round()
    waiting, writing, failed = round_.answers
    waiting.news = "Loading the model."
    writing.state, writing.text, writing.tokens, writing.rate = AnswerState.WRITING, "be", 1234, 58.37
    failed.state, failed.notes = AnswerState.FAILED, ("The tokenizer failed on this text.",)

    shown = columns(round_)

    assert [held["line"] for held in shown] == ["Loading the model.", "", "No answer."]
    assert [held["foot"] for held in shown] == ["", "1,234 tokens, 58.4 tokens/s", ""]
    assert shown[2]["notes"] == ["The tokenizer failed on this text."]
    assert round_view(round_, nobody)["settings"] == "seed 7, temperature 0.7, at most 128 tokens"


def test_only_what_changed_is_sent_again() -> None:
    conversation = Conversation()
    first = conversation.begin(Request(1, "one"), Kind.WRITER, "", COLUMNS)
    second = conversation.begin(Request(1, "two"), Kind.WRITER, "", COLUMNS)
    seen = conversation_view(conversation, -1, nobody)
    conversation.touch(first)

    view = conversation_view(conversation, seen["version"], nobody)  # type: ignore[arg-type]

    assert [shown["number"] for shown in seen["rounds"]] == [2, 1]  # type: ignore[attr-defined]
    assert [shown["number"] for shown in view["rounds"]] == [first.number]  # type: ignore[attr-defined]
    assert view["order"] == [second.number, first.number]


@pytest.mark.parametrize(
    ("loss", "tokens", "shown"),
    [(0.0, 3, "100.0 %"), (0.693, 1, "50.0 %"), (3.0, 3, "1 in 8,103"), (9.0, 4, "less than 1 in a billion")],
)
def test_a_probability_is_shown_as_people_say_it(loss: float, tokens: int, shown: str) -> None:
    [row] = figures_view([Measure("As an AI", "Who are you?", (Measured(COLUMNS[0], loss, tokens),))])

    assert row["what"] == "How likely is “As an AI”"
    assert row["of"] == "after “Who are you?”"
    assert row["cells"][0]["value"] == shown  # type: ignore[index]


@pytest.mark.parametrize(
    ("loss", "shown"), [(1.826, "6.21"), (6.0, "403"), (9.0, "8,103"), (99.0, "more than a billion")]
)
def test_a_perplexity_is_shown_as_people_say_it(loss: float, shown: str) -> None:
    [row] = figures_view([Measure("x" * 100, "", (Measured(COLUMNS[1], loss, 9),))])

    assert (row["what"], row["of"]) == ("Perplexity of", f"“{'x' * 59}…”")
    assert row["cells"][0]["mark"] == "merged"  # type: ignore[index]
    assert row["cells"][0]["value"] == shown  # type: ignore[index]


def test_what_has_no_figure_says_why() -> None:
    measured = Measured(COLUMNS[0], problem="It is another kind of model.")

    assert figures_of(measured) == {"problem": "It is another kind of model."}
    [row] = figures_view([Measure("a", "", (measured,))])
    assert row["cells"][0]["problem"] == "It is another kind of model."  # type: ignore[index]
    assert row["cells"][0]["value"] == ""  # type: ignore[index]


def test_programs_are_told_loss_perplexity_and_probability() -> None:
    figures = figures_of(Measured(COLUMNS[0], 2.0, 3))

    assert figures["loss"] == 2.0
    assert figures["perplexity"] == pytest.approx(7.389, abs=1e-3)
    assert figures["probability"] == pytest.approx(0.002479, abs=1e-6)


def test_what_is_in_memory_is_a_sentence() -> None:
    held = [Holding("left", "float32", 10**9), Holding("mine", "bfloat16", 5 * 10**8)]

    assert holdings_text(held, "") == "In memory: left (float32), mine (bfloat16), 1.5 GB."
    assert holdings_text([Holding("", "float32", 10**9)], "") == "In memory: 1 of other people, 1.0 GB."
    assert holdings_text([], "left was let go.") == "left was let go. No model is in memory."


@pytest.mark.parametrize(
    "payload", [None, "", {}, {"key": 3}, {"key": "x" * 32}, {"key": "../" + "0" * 29}, ["0" * 32]]
)
def test_a_conversation_without_a_key_is_refused(payload: object) -> None:
    with pytest.raises(gr.Error, match="The page does not know whose conversation this is"):
        read_key(payload)


def test_the_scripts_of_the_components_set_no_html() -> None:
    for name in ("answers/answers.js", "figures/figures.js"):
        script = (Path(__file__).parents[2] / "blockmerge" / "ui" / name).read_text()

        assert not any(way in script for way in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("))
