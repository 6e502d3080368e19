"""From checkpoints and plans to what the Merge tab says about them: plain values, no widgets."""

from collections.abc import Mapping, Sequence
from typing import Any

from blockmerge.core.describe import count_text, layer_counts, size_text
from blockmerge.core.describe import formula as described_formula
from blockmerge.core.methods import LINEAR
from blockmerge.core.plan import Plan
from blockmerge.engine.estimate import Estimate
from blockmerge.ui.lines.line import Act, Line, plain
from blockmerge.ui.views import left_text
from blockmerge.ui.wording import say, say_parts


def facts(described: Mapping[str, Any]) -> Sequence[Line]:
    """What stands under a model's name; `described` is what core.describe.describe_checkpoint says of it."""
    layers = " + ".join(str(stack["layers"]) for stack in described["stacks"])
    texts = (
        described["model_type"],
        say("merge.facts_layers", count=layers),
        say("merge.facts_parameters", count=count_text(described["parameters"])),
        described["dtype"],
    )
    return [plain("fact", text) for text in texts]


def problems(title: str, sentences: Sequence[str], acts: Sequence[Act] = ()) -> Sequence[Line]:
    """Everything that is wrong at once, and the buttons that may mend it."""
    told = [Line("bad", [("strong", title)]), *(plain("", sentence) for sentence in sentences)]
    return [*told, Line("acts", (), acts)] if acts else told


def trouble(sentence: str, acts: Sequence[Act]) -> Sequence[Line]:
    """Why what is shown cannot be queued, for the bar."""
    return [Line("bad", [("strong", sentence)], acts)]


def these(count: int) -> str:
    return {1: say("merge.one"), 2: say("merge.two")}.get(count, say("merge.many", count=count))


def formula(plan: Plan) -> Sequence[Line]:
    """The whole merge as one sentence; the same as core.describe.formula says at a terminal, in the models' colours."""
    if plan.recipe.method != LINEAR.name or len(plan.checkpoints) != 2:
        names = {key: checkpoint.name for key, checkpoint in plan.checkpoints.items()}
        return [plain("formula", described_formula(plan, names))]
    weights = [step.weight for step in plan.steps if step.place.layer is not None]
    counts = layer_counts(plan)
    a, b = (checkpoint.name for checkpoint in plan.checkpoints.values())
    low, high = (_weight(weight) for weight in (min(weights), max(weights)))
    one = counts["copied"] == 1
    parts = say_parts(
        "merge.formula",
        a=("a", a),
        b=("b", b),
        span=("", say("merge.formula_one" if low == high else "merge.formula_span", low=low, high=high)),
        copied=("", say("merge.formula_copied_one" if one else "merge.formula_copied", count=counts["copied"])),
        computed=("", str(counts["computed"])),
    )
    return [Line("formula", parts)]


def _weight(weight: float) -> str:
    return f"{weight:.2f}".replace("-", "−")


def needs(plan: Plan, need: Estimate, *, stays: bool = True) -> Sequence[Line]:
    """What the result takes, for the bar; one that does not stay here takes its disk only meanwhile."""
    files = "merge.needs_file" if len(plan.shards) == 1 else "merge.needs_files"
    disk, free = size_text(need.disk + need.scratch), size_text(need.free)
    return [
        _figure("merge.needs_result", say(files, size=size_text(plan.nbytes), count=len(plan.shards))),
        _figure(
            "merge.needs_disk", say("merge.needs_free" if stays else "merge.needs_meanwhile", size=disk, free=free)
        ),
        _figure("merge.needs_memory", size_text(need.memory)),
        *([_figure("merge.needs_gpu", size_text(need.gpu))] if need.gpu else ()),
        _figure("merge.needs_time", left_text(need.seconds)),
    ]


def _figure(label: str, value: str) -> Line:
    return Line("figure", [("quiet", say(label)), ("value", value)])


def said(sentence: str) -> Sequence[Line]:
    return [Line("", [("quiet", sentence)])]


def unfit_weights(reasons: Sequence[str]) -> Sequence[Line]:
    return [plain("warn", say("merge.unfit")), *(plain("", reason) for reason in reasons)]


def reading(names: Sequence[str]) -> Sequence[Line]:
    """What stands there while models are read whose headers are no headers of safetensors."""
    return said(say("merge.reading", names=", ".join(names)))


def single_tensors(globs: Mapping[str, float]) -> Sequence[Line]:
    """What wins over the bars and is not among them."""
    if not globs:
        return []
    named = ", ".join(f"{glob} {weight:g}" for glob, weight in globs.items())
    return [Line("warn", [("", say("merge.globs", globs=named))], [Act(say("merge.drop_globs"), do="globs")])]


def opened(name: str, again: bool) -> Sequence[Line]:
    """That a recipe is shown now."""
    if again:
        return []
    told = [("strong", say("merge.shown")), *([("", f" {say('merge.shown_name', name=name)}")] if name else [])]
    return [Line("ok", told)]


def box(key: str) -> str:
    """What the page calls the place where a model is chosen."""
    return say("merge.base") if key == "base" else say("merge.model", letter=key.upper())


def choose(missing: Sequence[str]) -> str:
    """What is to be done while models are missing."""
    if not missing:
        return say("merge.choose_other")
    if set(missing) == {"a", "b"}:
        return say("merge.choose_pair")
    words = [
        say("merge.choose_base") if key == "base" else say("merge.choose_model", letter=key.upper()) for key in missing
    ]
    first, last = ", ".join(words[:-1]), words[-1]
    return say("merge.choose_missing", models=say("merge.and", first=first, last=last) if first else last)


def choose_again(key: str) -> Act:
    name = say("merge.base") if key == "base" else key.upper()
    return Act(say("merge.choose_again", model=name), at=f"model-{key}")


def models_title(references: Mapping[str, str]) -> str:
    """The heading of what is wrong with a choice of models."""
    chosen = sum(map(bool, references.values()))
    if chosen == len(references):
        return say("merge.misfit", these=these(len(references)))
    return say("merge.unreadable")
