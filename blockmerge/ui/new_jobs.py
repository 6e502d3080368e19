"""Jobs that are made from other jobs: an edited one, and one for each of several shapes."""

from collections.abc import Sequence
from dataclasses import replace

from blockmerge.core.plan import Plan
from blockmerge.core.recipe import Recipe, ShapeLine, StackWeights, Weights, dump_recipe, parse_recipe
from blockmerge.core.shapes import Preset, load_presets
from blockmerge.engine.devices import used_device
from blockmerge.errors import JobRequestError, RecipeError
from blockmerge.jobs.own_jobs import OwnJobs
from blockmerge.jobs.results import free_name
from blockmerge.jobs.states import Job, NewJob, check_result_name
from blockmerge.ui.models import Models
from blockmerge.ui.recipe_plans import plan_here
from blockmerge.ui.recipe_views import weights_of
from blockmerge.ui.tabs import Context
from blockmerge.ui.wording import say


def edited_job(context: Context, job: Job, name: str, text: str) -> NewJob:
    """What the job becomes with another name and recipe. Raises InputError with every reason why not."""
    shape = job.shape if text == job.recipe else say("jobs.edited_shape")
    new = _on_same_device(_new_job(Models(context, job.owner), parse_recipe(text), name, shape), job)
    return replace(new, wish=job.wish, nbytes=0) if job.wish else new


def shape_jobs(context: Context, own: OwnJobs, job: Job, names: Sequence[str]) -> list[NewJob]:
    """One job for each shape, otherwise as `job` is. Raises InputError with every reason why not."""
    presets = load_presets()
    if not names:
        raise JobRequestError(say("jobs.batch_none"))
    if len(set(names)) != len(names) or not set(names) <= presets.keys():
        raise JobRequestError(say("jobs.wrong_request"))
    if job.wish is not None:
        raise JobRequestError(say("jobs.batch_straight"))
    recipe = parse_recipe(job.recipe)
    if recipe.weights.by_model:
        raise RecipeError(say("jobs.batch_kind"))
    taken = {live.name.lower() for live in own.store.live()}
    models = Models(context, own.owner)
    made = [_with_shape(models, recipe, job.name, presets[name], taken) for name in names]
    return [_on_same_device(new, job) for new in made]


def _on_same_device(new: NewJob, job: Job) -> NewJob:
    """As far as the method gains by it, which may be another one now."""
    return replace(new, device=used_device(parse_recipe(new.recipe).method, job.device))


def _with_shape(models: Models, recipe: Recipe, name: str, preset: Preset, taken: set[str]) -> NewJob:
    line = ShapeLine(preset=preset.name)
    stacks = {stack: StackWeights(layers=line) for stack in recipe.weights.stacks}
    weights = Weights(stacks=stacks) if stacks else Weights(layers=line)
    wanted = models.context.settings.output / check_result_name(f"{name[:70]}-{preset.name}")
    is_free = wanted.name.lower() not in taken and not wanted.exists()
    out = wanted if is_free else free_name(wanted, taken)
    return _new_job(models, recipe.model_copy(update={"weights": weights}), out.name, preset.label)


def _new_job(models: Models, recipe: Recipe, name: str, shape: str) -> NewJob:
    out = models.context.settings.output / check_result_name(name)
    plan = plan_here(models.context.library, recipe, models.open)
    if not isinstance(plan, Plan):
        raise RecipeError(*plan)
    found = {key: str(held.origin or held.folder) for key, held in plan.checkpoints.items()}
    base = found.pop("base", None)
    whole = recipe.model_copy(update={"models": found, "base": base})
    names = tuple(held.name for held in plan.checkpoints.values())
    numbers = weights_of(recipe, plan.layout.stacks[0].depth).numbers
    job = NewJob(name, dump_recipe(whole), out, names, numbers, shape)
    return replace(job, nbytes=plan.nbytes)
