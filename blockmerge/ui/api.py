"""The page's actions as named endpoints with typed arguments: for gradio_client, curl and MCP clients (docs/api.md).

The docstrings are what these clients are shown.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import gradio as gr

from blockmerge.checkpoints.models import open_models
from blockmerge.core.blocks import list_blocks
from blockmerge.core.describe import describe_checkpoint, describe_plan
from blockmerge.core.method import Method
from blockmerge.core.methods import METHODS
from blockmerge.core.plan import Plan, check_models, make_plan
from blockmerge.core.recipe import dump_recipe, parse_recipe, suggestion
from blockmerge.core.shapes import load_presets
from blockmerge.core.template import write_template
from blockmerge.core.tensors import Checkpoint
from blockmerge.engine.devices import CPU
from blockmerge.engine.estimate import estimate
from blockmerge.errors import JobRequestError, RecipeError
from blockmerge.jobs.own_jobs import NO_SUCH_JOB, OwnJobs
from blockmerge.jobs.states import Job, JobState, NewJob, result_folder
from blockmerge.ui.arguments import endpoint
from blockmerge.ui.draft import Drafting, short_name
from blockmerge.ui.files import LARGEST_ID, result_files
from blockmerge.ui.forms import suggest_name
from blockmerge.ui.models import Models
from blockmerge.ui.tabs import Context
from blockmerge.ui.visitors import asking_owner, owner_of
from blockmerge.ui.wording import say

MOST_JOBS = 1_000  # told at once
_KEYS = "abcdefghijklmnopqrstuvwxyz"

Value = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Api:
    """Plain values in, plain JSON values out. Raises BlockmergeError."""

    context: Context

    def models(self) -> list[str]:
        """The names of the models on this machine that a recipe may use, the example pair among them."""
        return list(self.context.library.offered())

    def inspect(self, model: str) -> Value:
        """Stacks, layers, modules, rows, dtype, size and vocabulary of a model: the names that a recipe may use.

        Args:
            model: The name of a model, as `models` lists them, or org/name on the Hub.
        """
        return describe_checkpoint(self._open(model))

    def methods(self) -> list[Value]:
        """The merge methods: how many models each takes, whether a base, what its weight means, its parameters."""
        return [_method_value(method) for method in METHODS.values()]

    def shapes(self) -> list[Value]:
        """The named shapes: a weight as a function of depth, for `layers: {preset: NAME}` in a recipe."""
        return [asdict(preset) for preset in load_presets().values()]

    def template(self, models: list[str], method: str = "linear", base: str | None = None) -> str:
        """A recipe for some models, to be edited: every layer on a line of its own, all at 0.5.

        Args:
            models: Names of models, as `models` lists them.
            method: A merge method, as `methods` lists them.
            base: The model that the others were tuned from, for methods that need it.
        """
        if method not in METHODS:
            raise RecipeError(
                say("refused.method", method=repr(method[:60]), suggestion=suggestion(method, tuple(METHODS)))
            )
        keys = dict(zip(_KEYS, models, strict=False))
        problems = tuple(METHODS[method].misuses(len(models), base is not None))
        if problems or len(keys) < len(models):
            raise RecipeError(*problems or [say("refused.models", most=len(_KEYS), found=len(models))])
        references = keys if base is None else {"base": base, **keys}
        layout = check_models(tuple(references), open_models(references, self._open))
        return write_template(keys, method, list_blocks(layout), base)

    def plan(self, recipe: str) -> Value:
        """What a recipe would do to every tensor and what it needs, or every reason why it can't. Reads no weights.

        Args:
            recipe: The text of a recipe, version 1. Its models are names, as `models` lists them.
        """
        plan = self._plan(recipe)
        need = estimate(plan, self.context.settings.output)
        return describe_plan(plan) | {"device": CPU, "estimate": asdict(need), "fits": need.fits}

    def queue(self, request: gr.Request, recipe: str, name: str = "", device: str = CPU) -> int:
        """Put a merge in line; returns the number of its job.

        Args:
            recipe: The text of a recipe, version 1. Its models are names, as `models` lists them.
            name: The name of the result's folder; left out, one is made from the models' names.
            device: Where it is computed: cpu, or cuda for methods that gain by a GPU, where a worker has one.
        """
        plan = self._plan(recipe)
        used = self._own(request).device_for(plan.recipe.method, device)
        drafting, output = Drafting(self.context, owner_of(request)), self.context.settings.output
        held = [checkpoint.name for checkpoint in plan.checkpoints.values()]
        short = [*map(short_name, plan.checkpoints.values())]
        wanted = name or drafting.free_name(suggest_name(short[0], short[-1]))
        out = result_folder(output, wanted)
        need = estimate(plan, output)
        fetch = drafting.models.fetch_of(plan.checkpoints, need.disk + need.scratch, output)
        if not need.fits or (fetch and fetch.problem):
            raise JobRequestError(fetch.problem if fetch and fetch.problem else say("merge.not_enough"))
        title = METHODS[plan.recipe.method].title
        job = NewJob(wanted, dump_recipe(plan.recipe), out, tuple(held), _curve(plan), title)
        return self._own(request).add(replace(job, nbytes=plan.nbytes, device=used))

    def jobs(self, request: gr.Request, search: str = "") -> list[Value]:
        """Your jobs: live ones first, then the newest.

        Args:
            search: Only those whose name, models or shape contain it.
        """
        page = self._own(request).page(search, limit=MOST_JOBS)
        return [_job_value(job, page.places.get(job.id)) for job in page.jobs]

    def job(self, request: gr.Request, job: int) -> Value:
        """How a job goes: its state, its progress in bytes, and what came of it.

        Args:
            job: The number of the job.
        """
        found = self._own(request).get(_number(job))
        return _job_value(found, self.context.store.place_in_line(found.id)) | {"recipe": found.recipe}

    def log(self, request: gr.Request, job: int) -> list[str]:
        """The last lines of a job's log.

        Args:
            job: The number of the job.
        """
        return list(self._own(request).log(_number(job)))

    def cancel(self, request: gr.Request, job: int) -> Value:
        """Cancel a job that waits or runs; what it has written goes.

        Args:
            job: The number of the job.
        """
        self._own(request).cancel(_number(job))
        return self.job(request, job)

    def retry(self, request: gr.Request, job: int) -> Value:
        """Put a job that failed or was cancelled in line again; it goes on from what is kept.

        Args:
            job: The number of the job.
        """
        self._own(request).retry(_number(job))
        return self.job(request, job)

    def clone(self, request: gr.Request, job: int) -> int:
        """The same merge once more under a free name; returns the number of the new job.

        Args:
            job: The number of the job.
        """
        return self._own(request).clone(_number(job))

    def move_up(self, request: gr.Request, job: int) -> Value:
        """Let a waiting job of yours change places with the one before it.

        Args:
            job: The number of the job.
        """
        self._own(request).move_up(_number(job))
        return self.job(request, job)

    def delete_files(self, request: gr.Request, job: int) -> Value:
        """Delete the files of a job that is over.

        Args:
            job: The number of the job.
        """
        self._own(request).delete_files(_number(job))
        return self.job(request, job)

    def files(self, request: gr.Request, job: int) -> list[Value]:
        """What a finished job made: each file with its size in bytes and its address on this server.

        Args:
            job: The number of the job.
        """
        done = self._own(request).get(_number(job))
        if done.state is not JobState.DONE:
            raise JobRequestError(say("refused.no_files", job=done.id, state=done.state))
        return [
            {"name": file.name, "bytes": file.size, "address": f"files/{done.id}/{file.name}"}
            for file in result_files(done.out)
        ]

    def _own(self, request: gr.Request) -> OwnJobs:
        return OwnJobs(self.context.store, self.context.settings, owner_of(request))

    def _open(self, model: str) -> Checkpoint:
        """A model of the library or of the Hub, never a stranger's path."""
        return Models(self.context, asking_owner()).open(model)

    def _plan(self, text: str) -> Plan:
        """The plan of a recipe whose models are names; in it they are folders or commits of the Hub, for the worker."""
        recipe = parse_recipe(text)
        opened = open_models(recipe.references, self._open)
        found = {key: str(held.origin or held.folder) for key, held in opened.items()}
        models = {key: found[key] for key in recipe.models}
        return make_plan(recipe.model_copy(update={"models": models, "base": found.get("base")}), opened)


_TOLD = (
    *("id", "name", "state", "models", "weights", "shape", "created", "started", "finished"),
    *("error", "digest", "nbytes", "seconds", "warnings", "device"),
)


def _number(job: int) -> int:
    if not 0 < job <= LARGEST_ID:
        raise JobRequestError(NO_SUCH_JOB)
    return job


def _job_value(job: Job, place: int | None) -> Value:
    value = {name: getattr(job, name) for name in _TOLD}
    progress = None if job.progress is None else asdict(job.progress)
    # Not "path": gradio_client would download what has one.
    return {**value, "folder": str(job.out), "progress": progress, "place": place}


def _method_value(method: Method) -> Value:
    return {
        "name": method.name,
        "description": method.description,
        "models": method.counts,
        "base": method.base.value,
        "weight": method.kind.value,
        "weights": [method.weight_low, method.weight_high],
        "gains_on_gpu": method.gains_on_gpu,
        "parameters": [
            {"name": entry.name, "default": entry.default, "description": entry.description}
            for entry in method.parameters
        ],
    }


def _curve(plan: Plan) -> tuple[float, ...]:
    """One weight for each layer of the first stack, for the picture of the job: the mean of its tensors'."""
    stack = plan.layout.stacks[0]
    weights: list[list[float]] = [[] for _ in range(stack.depth)]
    for step in plan.steps:
        if step.place.stack == stack.name and step.place.layer is not None:
            weights[step.place.layer].append(step.weight)
    return tuple(round(sum(held) / len(held), 3) for held in weights)


def connect(context: Context) -> None:
    """Make the endpoints, inside a Gradio block that is open already."""
    api = Api(context)
    for call in (
        *(api.models, api.inspect, api.methods, api.shapes, api.template, api.plan),
        *(
            api.queue,
            api.jobs,
            api.job,
            api.log,
            api.cancel,
            api.retry,
            api.clone,
            api.move_up,
            api.delete_files,
            api.files,
        ),
    ):
        # Unqueued: a call by name is one request and one answer, and an MCP tool needs no way back to this server.
        gr.api(endpoint(call), api_name=call.__name__, queue=False)
