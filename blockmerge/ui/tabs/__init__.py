"""What a tab of the page is, and what it is built from."""

from collections.abc import Callable
from dataclasses import dataclass

from blockmerge.checkpoints.library import Library
from blockmerge.jobs.store import Store
from blockmerge.settings import Settings


@dataclass(frozen=True, slots=True)
class Context:
    settings: Settings
    store: Store
    library: Library


@dataclass(frozen=True, slots=True)
class Tab:
    """`build` makes the tab's widgets and events inside a Gradio block that is open already; tabs stand in `order`."""

    title: str
    order: int
    build: Callable[[Context], None]
