"""What a tab of the page is, and what it is built from."""

from collections.abc import Callable
from dataclasses import dataclass, field

from blockmerge.checkpoints.library import Library
from blockmerge.core.tensors import Checkpoint
from blockmerge.jobs.publications import Offers, Publications
from blockmerge.jobs.store import Store
from blockmerge.settings import Settings
from blockmerge.ui.hub_memory import Memory
from blockmerge.ui.identity import Identity
from blockmerge.ui.loader.loader import Loader
from blockmerge.ui.status.status import Status


@dataclass(frozen=True, slots=True)
class Context:
    """`loader` is on every page once: events of any tab may set it, to show a recipe or to go to another tab. `status`
    stands in the header. `kept` results are all that is left of the jobs before this start; 0 where the jobs are."""

    settings: Settings
    store: Store
    library: Library
    identity: Identity
    publications: Publications = field(default_factory=Publications)
    offers: Offers = field(default_factory=Offers)
    hub_memory: Memory[Checkpoint] = field(default_factory=Memory)
    loader: Loader = field(default_factory=Loader)
    status: Status = field(default_factory=Status)
    kept: int = 0


@dataclass(frozen=True, slots=True)
class Tab:
    """`build` makes the tab's widgets and events inside a Gradio block that is open already; tabs stand in `order`."""

    title: str
    order: int
    build: Callable[[Context], None]
