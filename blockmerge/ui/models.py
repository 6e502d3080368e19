"""The models that one person may choose by name: those of this machine's library, and those of the Hub."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from blockmerge.checkpoints.models import is_folder, is_meant_on_hub
from blockmerge.core.tensors import Checkpoint
from blockmerge.errors import StorageError
from blockmerge.ui.tabs import Context

if TYPE_CHECKING:
    from blockmerge.hub.client import Hub

HUB_PAIR = ("HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M-Instruct")  # the second example


@dataclass(frozen=True, slots=True)
class Fetch:
    """Bytes of the models of a merge that a job downloads: `missing` of `total`; `problem` where there is no room."""

    missing: int
    total: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Models:
    """What this owner of jobs may open. A model of the library wins over one of its name on the Hub."""

    context: Context
    owner: str

    @property
    def hub(self) -> "Hub":
        return self.context.identity.hub_of(self.owner)

    def open(self, reference: str) -> Checkpoint:
        """Raises CheckpointError, HubRefusalError, HubError or StorageError."""
        library = self.context.library
        if library.has(reference) or not is_meant_on_hub(reference):
            return library.open_named(reference)
        hub = self.hub
        from blockmerge.hub.sources import open_text  # only now: the Hub's client takes a while to import

        # Who asks with another token, or without one, is another person: access is asked for each.
        return self.context.hub_memory.ask((hub, reference), lambda: open_text(hub, reference))

    def of_the_hub(self, references: Iterable[str]) -> Sequence[str]:
        """Those that the Hub may have to be asked about."""
        return [name for name in references if name and is_meant_on_hub(name) and not self.context.library.has(name)]

    def here(self, checkpoint: Checkpoint) -> Checkpoint | None:
        """The model with its weights; None where they would have to be downloaded."""
        if not checkpoint.is_headers_only:
            return checkpoint
        from blockmerge.hub.download import find_downloaded

        return find_downloaded(self.hub, checkpoint)

    def fetch_of(self, checkpoints: Mapping[str, Checkpoint], result: int, out: Path) -> Fetch | None:
        """What a job downloads before its result of so many bytes goes to `out`; None where no model is of the Hub."""
        found = {held.origin: held for held in checkpoints.values() if held.is_headers_only}
        if not found:
            return None
        from blockmerge.hub.download import check_space, plan_download

        hub = self.hub
        wanted = [plan_download(hub, held) for held in found.values()]
        problem = ""
        try:
            check_space(hub, wanted, result, out)
        except StorageError as error:
            problem = str(error)
        return Fetch(sum(one.nbytes for one in wanted), sum(one.total for one in wanted), problem)


def open_of_job(context: Context, reference: str) -> Checkpoint:
    """A model of the recipe of a job that is done: its folder, or what the job has downloaded. The Hub is not asked."""
    if is_folder(reference):
        return context.library.open(Path(reference).expanduser())
    from blockmerge.hub.cached import find_text

    return find_text(context.identity.hub_of(""), reference)
