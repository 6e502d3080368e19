"""A merge in the making: what the Merge tab shows for one form, and the way into the queue."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from blockmerge.checkpoints.card import Parent, agreed_licence, held_licences, is_licence
from blockmerge.checkpoints.models import with_tokens
from blockmerge.core.blocks import list_blocks
from blockmerge.core.describe import describe_checkpoint
from blockmerge.core.layout import Layout
from blockmerge.core.plan import Plan, check_models, make_plan
from blockmerge.core.recipe import Recipe, dump_recipe
from blockmerge.core.tensors import Checkpoint
from blockmerge.engine.devices import CPU, CUDA, Found
from blockmerge.engine.estimate import estimate, estimate_by_shard
from blockmerge.errors import BlockmergeError, InputError, JobRequestError, RecipeError
from blockmerge.jobs.own_jobs import OwnJobs
from blockmerge.jobs.states import LOCAL, NewJob, check_result_name, part_folder, result_folder
from blockmerge.ui.checks import Check, check_disk, check_room, checked
from blockmerge.ui.equaliser.grid import Grid, carry_over, new_grid
from blockmerge.ui.forms import BASE, Form, fill_form, fill_grid, make_recipe, meaning_of, suggest_name
from blockmerge.ui.hub_views import fetch_figures, pinned_fact
from blockmerge.ui.lines.line import Act, Line
from blockmerge.ui.loader.loader import Opening
from blockmerge.ui.mends import mends_of
from blockmerge.ui.models import Models
from blockmerge.ui.plan_views import (
    box,
    choose,
    choose_again,
    facts,
    formula,
    models_title,
    needs,
    problems,
    said,
    trouble,
    unfit_weights,
)
from blockmerge.ui.tabs import Context
from blockmerge.ui.wording import say


@dataclass(frozen=True, slots=True)
class Draft:
    """What is shown for one form. `ready` says that it can be queued; `plan` is there when it can be planned; `gpu` is
    what the workers have, where one has looked.

    `recipe` is the form's own, with the models as the person named them; where there is none, the one before it.
    """

    facts: Mapping[str, Sequence[Line]]
    checks: Sequence[Line]
    grid: Grid | None
    formula: Sequence[Line]
    bar: Sequence[Line]
    name: str
    plan: Plan | None
    ready: bool
    recipe: Recipe | None = None
    gpu: Found | None = None


@dataclass(frozen=True, slots=True)
class Drafting:
    """Plain values in, plain values out, nothing remembered. The Hub is asked as `owner` may ask it."""

    context: Context
    owner: str = LOCAL

    @property
    def models(self) -> Models:
        return Models(self.context, self.owner)

    def look(self, form: Form) -> Draft:
        """Open what is named, plan what can be planned, and say what stands in the way."""
        references = form.references
        opened, described, wrong = self._open(references)
        missing = [key for key, reference in references.items() if not reference]
        gpu = self.context.store.find_gpu()
        nothing = Draft(described, (), None, (), said(choose(missing)), form.name, None, False, form.origin, gpu)
        if wrong:
            acts = [choose_again(key) for key, reference in references.items() if reference and key not in opened]
            return replace(nothing, checks=problems(models_title(references), wrong, acts))
        if missing:
            return replace(nothing, grid=form.grid)
        try:
            layout = check_models(tuple(opened), opened)
        except InputError as error:
            checks = problems(models_title(references), error.problems, [choose_again(list(references)[-1])])
            return replace(nothing, checks=checks, bar=said(say("merge.choose_other")))
        filled, unfit = _with_grid(form, opened, layout)
        draft = self._planned(filled, opened, nothing)
        return replace(draft, checks=[*draft.checks, *unfit])

    def _open(
        self, references: Mapping[str, str]
    ) -> tuple[Mapping[str, Checkpoint], dict[str, Sequence[Line]], list[str]]:
        """What could be opened, what is said about each of these, and what is wrong with the others."""
        opened: dict[str, Checkpoint] = {}
        described: dict[str, Sequence[Line]] = {}
        wrong: list[str] = []
        for key, reference in references.items():
            try:
                if reference:
                    checkpoint = self.models.open(reference)
                    told = [*facts(describe_checkpoint(checkpoint)), *pinned_fact(checkpoint.origin)]
                    described[key], opened[key] = told, checkpoint
            except BlockmergeError as error:
                wrong += [say("merge.problem_of", box=box(key), problem=problem) for problem in error.problems]
        return with_tokens(opened) if opened else opened, described, wrong

    def _planned(self, form: Form, opened: Mapping[str, Checkpoint], nothing: Draft) -> Draft:
        """`nothing` with the plan, or with every reason why there is none."""
        names = [short_name(held) for key, held in opened.items() if key != BASE or len(opened) == 2]
        name = form.name or self.free_name(suggest_name(*names))
        draft = replace(nothing, grid=form.grid, name=name)
        try:
            pinned = {key: held.origin or form.references[key] for key, held in opened.items()}
            draft = replace(draft, recipe=make_recipe(form, pinned))
            recipe = make_recipe(form, {key: held.origin or held.folder for key, held in opened.items()})
            keys = [*([BASE] if recipe.base else []), *recipe.models]
            plan = make_plan(recipe, dict(zip(keys, opened.values(), strict=True)))
        except InputError as error:
            checks = problems(say("merge.not_planned"), error.problems, mends_of(form))
            return replace(draft, checks=checks, bar=said(say("merge.mend_first")))
        return self._looked_at(form, replace(draft, formula=formula(plan), plan=plan), plan)

    def _looked_at(self, form: Form, draft: Draft, plan: Plan) -> Draft:
        """The draft with what is said of its plan here: the name, the disk, the device, and where it goes."""
        output, name = self.context.settings.output, self._check_name(draft.name)
        if form.keeps_nothing:
            need = estimate_by_shard(plan, output)
            here, figures = [name, self._check_place(form, plan), check_room(need)], needs(plan, need, stays=False)
        else:
            need = estimate(plan, output, form.device)
            fetch = self.models.fetch_of(plan.checkpoints, need.disk + need.scratch, output)
            here, figures = [name, check_disk(need, fetch)], [*fetch_figures(fetch), *needs(plan, need)]
        wrong = next((check.text for check in here if not check.passed), "")
        missing = self._missing_device(form.computed_on)
        if not name.passed:
            free = self.other_name(draft.name)
            bar = trouble(name.text, [Act(say("merge.use_name", name=free), do="name")] if free else [])
        else:
            bar = trouble(wrong, []) if wrong else figures
        if missing and not wrong:
            bar = trouble(missing, [Act(say("merge.use_processors"), do="processors")])
        return replace(draft, checks=checked(plan, here), bar=bar, ready=not wrong and not missing)

    def _missing_device(self, device: str) -> str:
        try:
            self._own(self.owner).check_device(device)
        except JobRequestError as error:
            return str(error)
        return ""

    def _own(self, owner: str) -> OwnJobs:
        return OwnJobs(self.context.store, self.context.settings, owner)

    def _check_place(self, form: Form, plan: Plan) -> Check:
        """Whether this person may name this place, and the card can have a licence.

        That they may write there, the job asks before it merges.
        """
        if not form.repository:
            return Check(False, say("publish.no_place"))
        if form.licence and not is_licence(form.licence):
            return Check(False, say("publish.no_licence"))
        parents = [Parent(key, held.name, held.origin, held.licence) for key, held in plan.checkpoints.items()]
        if not form.licence and agreed_licence(parents) is None:
            return Check(False, say("merge.choose_licence", held=held_licences(parents)))
        from blockmerge.hub.push import read_destination  # the Hub's client takes a while to import

        try:
            place = read_destination(self.models.hub, form.repository)
        except BlockmergeError as error:
            return Check(False, str(error))
        return Check(True, say("merge.check_place", repository=place))

    def _check_name(self, name: str) -> Check:
        """Whether a result can have this name, or why not."""
        try:
            out = result_folder(self.context.settings.output, name)
        except JobRequestError as error:
            if any(job.out.name == name for job in self.context.store.live()):
                return Check(False, say("merge.at_work", name=name))
            return Check(False, str(error))
        if any(job.out == out for job in self.context.store.live()):
            return Check(False, say("merge.in_line_already", name=name))
        return Check(True, say("merge.check_name", name=name))

    def other_name(self, name: str) -> str:
        """A free name like this one; empty where there is none."""
        for wanted in (name, suggest_name(name)):
            try:
                return check_result_name(self.free_name(check_result_name(wanted)))
            except JobRequestError:
                continue
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

    def fill(self, told: Opening) -> Form:
        """The form that shows a recipe; one that was here before keeps its name as it was, taken or not.

        Raises RecipeError with every reason why the page cannot show it.
        """
        name = self.free_name(told.name) if told.name and not told.again else told.name
        form = fill_form(told.recipe, name, self._refer)
        return replace(form, shape=told.shape, device=CUDA if told.device == CUDA else CPU)

    def _refer(self, reference: str) -> str:
        """What the page calls a model of a recipe: recipes of jobs hold paths, those of results name@digest."""
        offered = self.context.library.offered()
        by_folder = {str(folder): name for name, folder in offered.items()}
        if reference in by_folder:
            return by_folder[reference]
        name, _, digest = reference.rpartition("@")
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            return reference
        for offer, folder in offered.items():
            if folder.name == name and self._has_digest(folder, digest):
                return offer
        return name

    def _has_digest(self, folder: Path, digest: str) -> bool:
        try:
            return self.context.library.open(folder).header_digest == digest
        except InputError:
            return False

    def add(self, form: Form, owner: str = LOCAL) -> int:
        """Queue the form's merge; the number of its job. Raises InputError with every reason why not."""
        draft = self.look(form)
        if draft.plan is None or draft.grid is None:
            raise JobRequestError(*(line.text for line in draft.checks or draft.bar if line.text))
        out = result_folder(self.context.settings.output, check_result_name(draft.name))
        if not draft.ready:
            raise JobRequestError(*(line.text for line in draft.bar))
        first = draft.grid.blocks.stacks[0].name
        models = tuple(held.name for held in draft.plan.checkpoints.values())
        recipe = dump_recipe(draft.plan.recipe)
        weights = draft.grid.lines[first, "layers"]
        own = self._own(owner)
        new = NewJob(draft.name, recipe, out, models, weights, draft.grid.shape, owner, wish=form.wish)
        new = replace(new, device=own.device_for(form.method, form.computed_on))
        return own.add(new if form.keeps_nothing else replace(new, nbytes=draft.plan.nbytes))


def _with_grid(form: Form, opened: Mapping[str, Checkpoint], layout: Layout) -> tuple[Form, Sequence[Line]]:
    """The form with the grid of these models, with the weights of before as far as they fit, and what did not fit."""
    meaning = meaning_of(form, {key: held.name for key, held in opened.items()})
    fresh = new_grid(meaning, list_blocks(layout))
    if form.grid is not None:
        return replace(form, grid=carry_over(form.grid, fresh)), ()
    if form.origin is None:
        return replace(form, grid=fresh), ()
    try:
        grid = fill_grid(form.origin, meaning, layout)
        return replace(form, grid=replace(grid, shape=form.shape or grid.shape)), ()
    except RecipeError as error:
        is_told = form.origin.method == form.method and _is_drawn(form.origin.weights.model_dump(exclude_none=True))
        told = unfit_weights(error.problems) if is_told else ()
        return replace(form, grid=fresh, origin=None), told


def _is_drawn(weights: object) -> bool:
    """Whether these lines say anything but 0.5, which every grid begins with."""
    if isinstance(weights, Mapping):
        return any(map(_is_drawn, weights.values()))
    return any(map(_is_drawn, weights)) if isinstance(weights, list | tuple) else weights != 0.5


def short_name(checkpoint: Checkpoint) -> str:
    """Without the organisation on the Hub, for the names of results."""
    return checkpoint.name.rpartition("/")[2]
