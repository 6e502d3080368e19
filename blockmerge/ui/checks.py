"""What was looked at before a merge: folded while all of it is well, open at the first thing that is not."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from blockmerge.core.describe import size_text
from blockmerge.core.pairs import LACKING, label
from blockmerge.core.plan import Plan
from blockmerge.engine.estimate import Estimate
from blockmerge.ui.lines.line import Act, Line, plain
from blockmerge.ui.models import Fetch
from blockmerge.ui.plan_views import these
from blockmerge.ui.wording import say


@dataclass(frozen=True, slots=True)
class Check:
    passed: bool
    text: str


def checked(plan: Plan, here: Sequence[Check]) -> Sequence[Line]:
    """That the models fit, what the plan decided by itself, and every check; `here` are those of this machine."""
    matching, everything = _tensors(plan)
    count = say("merge.tensors", matching=matching, all=everything)
    return [
        Line("ok", [("strong", say("merge.fits", these=these(len(plan.checkpoints)))), ("", f" {count}")]),
        *(plain("warn", note) for note in plan.notes),
        *_other_tokenizer(plan),
        _fold([*_checks(plan), *here]),
    ]


def _fold(checks: Sequence[Check]) -> Line:
    passed = sum(check.passed for check in checks)
    whole = passed == len(checks)
    text = say("merge.checks" if whole else "merge.checks_failed", passed=passed, count=len(checks))
    inside = [plain("ok" if check.passed else "bad", check.text) for check in checks]
    return Line("quiet", [("", text)], inside=inside, is_open=not whole)


def _tensors(plan: Plan) -> tuple[str, str]:
    alone = sum(step.reason.endswith(LACKING) for step in plan.steps)
    return f"{len(plan.steps) - alone:,}", f"{len(plan.steps):,}"


def _checks(plan: Plan) -> Iterable[Check]:
    """What is true of every plan, or there would be none; said so that a person knows that somebody looked."""
    held = tuple(plan.checkpoints.values())
    files = sum(len(checkpoint.shards) for checkpoint in held)
    layers = " + ".join(str(stack.depth) for stack in plan.layout.stacks)
    matching, everything = _tensors(plan)
    dtypes = ", ".join(dict.fromkeys(checkpoint.dtype.label for checkpoint in held))
    yield Check(True, say("merge.check_files", files=files))
    yield Check(True, say("merge.check_kind", kind=plan.checkpoints[plan.owner].model_type, layers=layers))
    yield Check(True, say("merge.check_tensors", matching=matching, all=everything))
    yield Check(True, say("merge.check_numbers", dtypes=dtypes))
    yield Check(True, say(_TOKENS[_vocabularies(plan)], model=label(plan.recipe.output.tokenizer)))
    yield Check(True, say("merge.check_weights"))


def check_disk(need: Estimate, fetch: Fetch | None) -> Check:
    """Room for the result, and for what is downloaded before it."""
    if not need.fits or (fetch and fetch.problem):
        return Check(False, say("merge.not_enough") if not need.fits or not fetch else fetch.problem)
    return _room(need)


def check_room(need: Estimate) -> Check:
    """Room for what lies here at a time, where nothing is kept."""
    return _room(need) if need.fits else Check(False, say("merge.straight_no_room"))


def _room(need: Estimate) -> Check:
    return Check(True, say("merge.check_disk", size=size_text(need.disk + need.scratch), free=size_text(need.free)))


class _Vocabularies(Enum):
    NONE, SAME, SOME_LACKING, OTHER = range(4)


_TOKENS = {
    _Vocabularies.NONE: "merge.check_no_tokens",
    _Vocabularies.SAME: "merge.check_same_tokens",
    _Vocabularies.SOME_LACKING: "merge.check_tokens",
    _Vocabularies.OTHER: "merge.check_tokens",
}


def _vocabularies(plan: Plan) -> _Vocabularies:
    digests = {held.vocabulary.digest for held in plan.checkpoints.values()}
    if len(digests) == 1:
        return _Vocabularies.SAME if all(digests) else _Vocabularies.NONE
    return _Vocabularies.OTHER if all(digests) else _Vocabularies.SOME_LACKING


def _other_tokenizer(plan: Plan) -> Sequence[Line]:
    """A way to the other model's tokenizer, where two have one each."""
    others = plan.checkpoints.keys() - {plan.recipe.output.tokenizer}
    if len(others) != 1 or _vocabularies(plan) is not _Vocabularies.OTHER:
        return []
    [other] = others
    return [Line("acts", (), [Act(say("merge.take_tokenizer", model=label(other)), do="tokenizer")])]
