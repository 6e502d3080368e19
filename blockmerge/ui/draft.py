"""A merge in the making: what the Merge tab shows for one form, and the way into the queue."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

from blockmerge.core.blocks import list_blocks
from blockmerge.core.describe import describe_checkpoint
from blockmerge.core.plan import Plan, check_models, make_plan
from blockmerge.core.recipe import dump_recipe
from blockmerge.core.tensors import Checkpoint
from blockmerge.engine.estimate import estimate
from blockmerge.errors import InputError, JobRequestError
from blockmerge.jobs.states import NewJob, check_result_name, part_folder, result_folder
from blockmerge.ui.equaliser.grid import Grid, carry_over, new_grid
from blockmerge.ui.forms import Form, make_recipe, suggest_name
from blockmerge.ui.plan_views import Line, checked, facts, formula, needs, pair_title, problems, said
from blockmerge.ui.tabs import Context

CHOOSE = "Choose two models to see what the merge needs."
NOT_ENOUGH = "The result does not fit on this disk. Free some space, or set BLOCKMERGE_OUTPUT to another disk."


@dataclass(frozen=True, slots=True)
class Draft:
    """What is shown for one form. `ready` says that it can be queued; `plan` is there when it can be planned."""

    facts: tuple[Sequence[Line], Sequence[Line]]
    checks: Sequence[Line]
    grid: Grid | None
    formula: Sequence[Line]
    bar: Sequence[Line]
    name: str
    plan: Plan | None
    ready: bool


@dataclass(frozen=True, slots=True)
class Drafting:
    """Plain values in, plain values out, nothing remembered."""

    context: Context

    def look(self, form: Form) -> Draft:
        """Open what is named, plan what can be planned, and say what stands in the way."""
        references = {"a": form.a, "b": form.b}
        opened, described, wrong = self._open(references)
        shown = (described.get("a", ()), described.get("b", ()))
        if wrong:
            return Draft(shown, problems(pair_title(references), wrong), None, (), said(CHOOSE), form.name, None, False)
        if len(opened) < len(references):
            return Draft(shown, (), None, (), said(CHOOSE), form.name, None, False)
        try:
            grid = _grid_for(form.grid, opened)
        except InputError as error:
            checks = problems(pair_title(references), error.problems)
            bar = said("Choose another model to go on.")
            return Draft(shown, checks, None, (), bar, form.name, None, False)
        return self._planned(replace(form, grid=grid), opened, shown)

    def _open(
        self, references: Mapping[str, str]
    ) -> tuple[dict[str, Checkpoint], dict[str, Sequence[Line]], list[str]]:
        """What could be opened, what is said about each of these, and what is wrong with the others."""
        opened: dict[str, Checkpoint] = {}
        described: dict[str, Sequence[Line]] = {}
        wrong: list[str] = []
        for key, reference in references.items():
            try:
                if reference:
                    checkpoint = self.context.library.open(self.context.library.find(reference))
                    described[key], opened[key] = facts(describe_checkpoint(checkpoint)), checkpoint
            except InputError as error:
                wrong += [f"Model {key.upper()}: {problem}" for problem in error.problems]
        return opened, described, wrong

    def _planned(
        self, form: Form, opened: Mapping[str, Checkpoint], shown: tuple[Sequence[Line], Sequence[Line]]
    ) -> Draft:
        name = form.name or self.free_name(suggest_name(*(held.name for held in opened.values())))
        try:
            plan = make_plan(make_recipe(form, {key: held.folder for key, held in opened.items()}), opened)
        except InputError as error:
            checks = problems("This cannot be merged.", error.problems)
            return Draft(shown, checks, form.grid, (), said("Mend what is wrong above to go on."), name, None, False)
        need = estimate(plan, self.context.settings.output)
        trouble = self._trouble(name) or ("" if need.fits else NOT_ENOUGH)
        bar = problems(trouble, ()) if trouble else needs(plan, need)
        return Draft(shown, checked(plan), form.grid, formula(plan), bar, name, plan, not trouble)

    def _trouble(self, name: str) -> str:
        """Why a result cannot have this name; empty where it can."""
        try:
            out = result_folder(self.context.settings.output, name)
        except JobRequestError as error:
            if any(job.out.name == name for job in self.context.store.live()):
                return f"A job of the name {name} is at work already. Choose another name."
            return str(error)
        if any(job.out == out for job in self.context.store.live()):
            return f"A job of the name {name} is in line already. Choose another name."
        return ""

    def free_name(self, wanted: str) -> str:
        """The name itself, or the first of NAME-2, NAME-3, … that neither a result nor a job in line has."""
        live = {job.name.lower() for job in self.context.store.live()}

        def is_free(name: str) -> bool:
            out = self.context.settings.output / name
            return name.lower() not in live and not out.exists() and not part_folder(out).exists()

        if is_free(wanted):
            return wanted
        numbered = re.fullmatch(r"(.+)-(\d{1,4})", wanted)
        stem, number = numbered.groups() if numbered else (wanted, "1")
        return next(name for n in count(int(number) + 1) if is_free(name := f"{stem}-{n}"))

    def add(self, form: Form) -> int:
        """Queue the form's merge; the number of its job. Raises InputError with every reason why not."""
        draft = self.look(form)
        if draft.plan is None or draft.grid is None:
            sentences = [_text(line) for line in draft.checks] or [CHOOSE]
            raise JobRequestError(*sentences)
        out = result_folder(self.context.settings.output, check_result_name(draft.name))
        if not draft.ready:
            raise JobRequestError(*(_text(line) for line in draft.bar))
        first = draft.grid.blocks.stacks[0].name
        models = tuple(held.name for held in draft.plan.checkpoints.values())
        recipe = dump_recipe(draft.plan.recipe)
        weights = draft.grid.lines[first, "layers"]
        return self.context.store.add(NewJob(draft.name, recipe, out, models, weights, draft.grid.shape))


def _grid_for(grid: Grid | None, opened: Mapping[str, Checkpoint]) -> Grid:
    """The grid of this pair, with the weights of the one before as far as they fit."""
    a, b = (held.name for held in opened.values())
    blocks = list_blocks(check_models(("a", "b"), opened))
    return new_grid(a, b, blocks) if grid is None else carry_over(grid, a, b, blocks)


def _text(line: Line) -> str:
    return "".join(text for _, text in line.parts)
