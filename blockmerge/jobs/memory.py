"""Whether there is memory for one more merge beside those that run."""

from blockmerge.checkpoints.models import open_models
from blockmerge.core.plan import make_plan
from blockmerge.core.recipe import parse_recipe
from blockmerge.engine.estimate import estimate
from blockmerge.engine.memory import memory_here
from blockmerge.errors import BlockmergeError
from blockmerge.jobs.states import Job

RESERVE = 500 * 10**6  # bytes that stay free for the page, the system and what estimates miss


def fits_beside(job: Job, free: int | None = None) -> bool:
    """Whether the job's merge fits into `free` bytes of memory, or into what is free now; an unplannable one does."""
    try:
        recipe = parse_recipe(job.recipe)
        need = estimate(make_plan(recipe, open_models(recipe.references)), job.out, job.device).memory
    except BlockmergeError:
        return True  # the merge process says why
    return need + RESERVE <= (memory_here().free if free is None else free)
