"""From checkpoints and plans to what the Merge tab says about them: plain values, no widgets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blockmerge.core.describe import count_text, layer_counts, size_text
from blockmerge.core.pairs import LACKING
from blockmerge.core.plan import Plan
from blockmerge.engine.estimate import Estimate
from blockmerge.ui.views import left_text

Parts = Sequence[tuple[str, str]]  # (class, text)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the Lines component: `kind` chooses icon and colour."""

    kind: str
    parts: Parts


LinesValue = list[dict[str, object]]


def lines_value(lines: Sequence[Line]) -> LinesValue:
    return [{"kind": line.kind, "parts": [list(part) for part in line.parts]} for line in lines]


def facts(described: Mapping[str, Any]) -> Sequence[Line]:
    """What stands under a model's name; `described` is what core.describe.describe_checkpoint says of it."""
    layers = " + ".join(str(stack["layers"]) for stack in described["stacks"])
    count = count_text(described["parameters"])
    texts = (described["model_type"], f"{layers} layers", f"{count} parameters", described["dtype"])
    return [Line("fact", [("", text)]) for text in texts]


def problems(title: str, sentences: Sequence[str]) -> Sequence[Line]:
    return [Line("bad", [("strong", title)]), *(Line("", [("", sentence)]) for sentence in sentences)]


def checked(plan: Plan) -> Sequence[Line]:
    """That the pair fits, and what the plan decided by itself."""
    alone = sum(step.reason.endswith(LACKING) for step in plan.steps)
    count = f" {len(plan.steps) - alone:,} of {len(plan.steps):,} tensors match."
    return [
        Line("ok", [("strong", "These two can be merged."), ("", count)]),
        *(Line("warn", [("", note)]) for note in plan.notes),
    ]


def formula(plan: Plan) -> Sequence[Line]:
    """The whole merge as one sentence; the same as core.describe.formula says at a terminal, in the models' colours."""
    weights = [step.weight for step in plan.steps if step.place.layer is not None]
    counts = layer_counts(plan)
    a, b = (checkpoint.name for checkpoint in plan.checkpoints.values())
    low, high = (_weight(weight) for weight in (min(weights), max(weights)))
    span = f"with w = {low}" if low == high else f"with w from {low} to {high}"
    copied = "1 layer is copied" if counts["copied"] == 1 else f"{counts['copied']} layers are copied"
    text = f" × w, {span}. {copied}, {counts['computed']} computed."
    return [Line("formula", [("", "Merged = "), ("a", a), ("", " × (1 − w) + "), ("b", b), ("", text)])]


def _weight(weight: float) -> str:
    return f"{weight:.2f}".replace("-", "−")


def needs(plan: Plan, need: Estimate) -> Sequence[Line]:
    """What the result takes, for the bar."""
    files = "1 file" if len(plan.shards) == 1 else f"{len(plan.shards)} files"
    return [
        _figure("Result", size_text(plan.nbytes), f" in {files}"),
        _figure("Disk", size_text(need.disk + need.scratch), f" of {size_text(need.free)} free"),
        _figure("Memory", size_text(need.memory), ""),
        _figure("Time", left_text(need.seconds), ""),
    ]


def _figure(label: str, value: str, note: str) -> Line:
    return Line("figure", [("quiet", label), ("", ""), ("value", value + note)])


def said(sentence: str) -> Sequence[Line]:
    return [Line("", [("quiet", sentence)])]


def pair_title(references: Mapping[str, str]) -> str:
    """The heading of what is wrong with a choice of models."""
    return "These two cannot be merged." if all(references.values()) else "This model cannot be read."
