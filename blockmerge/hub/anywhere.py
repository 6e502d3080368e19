"""The models of a recipe, wherever they are. The Hub's client is imported only where one is not a folder."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from blockmerge.checkpoints.models import is_folder, open_models
from blockmerge.core.plan import Plan, make_plan
from blockmerge.core.progress import IsCancelled, Report
from blockmerge.core.tensors import Checkpoint

if TYPE_CHECKING:
    from blockmerge.hub.client import Hub

FindHub = Callable[[], "Hub"]


def open_anywhere(references: Mapping[str, str], find_hub: FindHub) -> Mapping[str, Checkpoint]:
    """open_models, also of models on the Hub: of these no more than their headers."""
    if all(is_folder(reference) for reference in references.values()):
        return open_models(references)
    from blockmerge.hub.sources import opener

    return open_models(references, opener(find_hub()))


def bring_here(plan: Plan, find_hub: FindHub, out: Path, *, report: Report, is_cancelled: IsCancelled) -> Plan:
    """The same plan with the weights of every model on this machine, where they fit beside the result at `out`.

    Raises what hub.sources.with_weights raises.
    """
    if not any(held.is_headers_only for held in plan.checkpoints.values()):
        return plan
    from blockmerge.hub.sources import with_weights

    result = (plan.nbytes, out)
    whole = with_weights(plan.checkpoints, find_hub(), report=report, is_cancelled=is_cancelled, result=result)
    return make_plan(plan.recipe, whole)
