"""From conversations and measures to what the Try tab shows: plain values, nothing of Gradio."""

import math
from collections.abc import Callable, Mapping, Sequence

from blockmerge.core.describe import size_text
from blockmerge.jobs.states import Job
from blockmerge.tryout.columns import MERGED, Column
from blockmerge.tryout.conversation import Answer, AnswerState, Conversation, Measure, Measured, Round
from blockmerge.tryout.kinds import Kind
from blockmerge.tryout.pool import Holding
from blockmerge.tryout.votes import EQUAL
from blockmerge.ui.wording import say

View = dict[str, object]
Tally = Callable[[str], Mapping[str, int]]  # the votes for a recipe
_LONGEST_QUOTE = 60

_STATES = {AnswerState.STOPPED: say("try.stopped"), AnswerState.FAILED: say("try.no_answer")}


def conversation_view(conversation: Conversation, since: int, tally_of: Tally) -> View:
    """All rounds by number, the newest first, and in full those that changed since a version."""
    with conversation.lock:
        rounds = conversation.rounds[::-1]
        return {
            "version": conversation.version,
            "order": [held.number for held in rounds],
            "rounds": [round_view(held, tally_of) for held in rounds if held.version > since],
            "open": any(held.is_open for held in rounds),
        }


def round_view(round_: Round, tally_of: Tally) -> View:
    request = round_.request
    settings = say(
        "try.settings", seed=request.seed, temperature=f"{request.temperature:g}", length=f"{request.length:,}"
    )
    return {
        "number": round_.number,
        "prompt": request.prompt,
        "settings": settings if round_.kind is Kind.WRITER else "",
        "open": round_.is_open,
        "vote": round_.is_hidden and not round_.is_open,
        "voted": vote_text(round_, tally_of(round_.recipe)) if round_.vote else "",
        "columns": [_column(round_, place, answer) for place, answer in enumerate(round_.answers)],
    }


def _column(round_: Round, place: int, answer: Answer) -> View:
    key = answer.column.key
    is_hidden = round_.is_hidden
    return {
        "kind": "hidden" if is_hidden else colour_of(answer.column),
        "mark": str(place + 1) if is_hidden else answer.column.mark,
        "name": say("try.answer", number=place + 1) if is_hidden else answer.column.name,
        "state": answer.state.value,
        "line": (answer.news or say("try.waiting"))
        if answer.state is AnswerState.WAITING
        else _STATES.get(answer.state, ""),
        "text": answer.text,
        # A note may tell whose answer it is.
        "notes": [] if is_hidden else list(answer.notes),
        "foot": _foot(answer),
        "best": round_.vote == key,
    }


def colour_of(column: Column) -> str:
    """Blue for the first model, orange for the second, both for the result, none for others."""
    return MERGED if column.key == MERGED else {"A": "a", "B": "b"}.get(column.mark, "other")


def _foot(answer: Answer) -> str:
    if not answer.tokens:
        return ""
    count = say("try.tokens_one") if answer.tokens == 1 else say("try.tokens", count=f"{answer.tokens:,}")
    return say("try.rate", tokens=count, rate=f"{answer.rate:.3g}") if answer.rate else count


def vote_text(round_: Round, tally: Mapping[str, int]) -> str:
    names = {answer.column.key: answer.column.name for answer in round_.answers}
    chosen = say("try.chose_none") if round_.vote == EQUAL else names[round_.vote]
    counts = [f"{name} {tally.get(key, 0)}" for key, name in sorted(names.items(), key=lambda item: item[1])]
    return say("try.chose", name=chosen, counts=", ".join(counts), equal=tally.get(EQUAL, 0))


def holdings_text(holdings: Sequence[Holding], news: str) -> str:
    """What is in memory, as a sentence."""
    if not holdings:
        return " ".join(filter(None, (news, say("try.no_memory"))))
    named = [f"{held.name} ({held.dtype})" for held in holdings if held.name]
    others = len(holdings) - len(named)
    held = ", ".join([*named, *([say("try.of_others", count=others)] if others else [])])
    in_memory = say("try.in_memory", names=held, size=size_text(sum(held.nbytes for held in holdings)))
    return " ".join(filter(None, (news, in_memory)))


def job_choice(job: Job) -> tuple[str, int]:
    """The text and the value of one entry of the list of results."""
    return say("try.choice", name=job.name, models=" × ".join(job.models), job=job.id), job.id


def figures_view(measures: Sequence[Measure]) -> list[View]:
    return [
        {
            "what": say("try.likely", text=_quoted(measure.text)) if measure.context else say("try.perplexity"),
            "of": say("try.after", text=_quoted(measure.context)) if measure.context else _quoted(measure.text),
            "cells": [_cell(measured, is_phrase=bool(measure.context)) for measured in measure.columns],
        }
        for measure in measures
    ]


def _cell(measured: Measured, *, is_phrase: bool) -> View:
    value = likely_text(measured) if is_phrase else perplexity_text(measured)
    return {
        "kind": colour_of(measured.column),
        "mark": measured.column.mark or say("try.merged"),
        "name": measured.column.name,
        "value": "" if measured.problem else value,
        "problem": measured.problem,
    }


def figures_of(measured: Measured) -> dict[str, object]:
    """What a program is told of one column."""
    if measured.problem:
        return {"problem": measured.problem}
    return {
        "loss": measured.loss,
        "tokens": measured.tokens,
        "perplexity": math.exp(min(measured.loss, 700)),
        "probability": math.exp(-measured.loss * measured.tokens),
    }


def perplexity_text(measured: Measured) -> str:
    """Of so many tokens the model was in doubt at each."""
    perplexity = math.exp(min(measured.loss, 700))
    if perplexity > 1e9:
        return say("try.a_billion")
    return f"{perplexity:,.0f}" if perplexity >= 100 else f"{perplexity:.3g}"


def likely_text(measured: Measured) -> str:
    """A probability in per cent, or as one in so many."""
    share = math.exp(-measured.loss * measured.tokens)
    if share >= 0.001:
        return say("try.share", share=f"{share * 100:.1f}")
    return say("try.one_in", count=f"{1 / share:,.0f}") if share > 1e-9 else say("try.less_than")


def _quoted(text: str) -> str:
    short = " ".join(text.split())
    return f"“{short if len(short) <= _LONGEST_QUOTE else short[: _LONGEST_QUOTE - 1] + '…'}”"
