"""What lies behind all tabs: recipes that are to be shown on the Merge tab, unqueued work, and the page's address."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from blockmerge.errors import JobRequestError
from blockmerge.ui.parts import OwnComponent
from blockmerge.ui.wording import say

LONGEST_RECIPE = 1_000_000  # characters that are taken in; core.yaml_reader sets the limit of a recipe itself
LONGEST_NAME = 300
LARGEST_JOB = 2**63 - 1


class Loader(OwnComponent):
    """Has no surface. Any event of any tab may set it to what `shown`, `kept` or `going` makes.

    It fires `opened` for a recipe that is to be shown on the Merge tab, whether it was set, dropped on the page as a
    file or as the address of a repository, came with the page's address or is the work of before a reload; `address`
    when the page's address names another tab, job or recipe; `turn` when another tab is to be selected.
    """

    FRAME = '<div class="loader"></div>'
    SCRIPTS = ("dropped", "loader")
    STYLES = ("loader",)
    TEXTS = ("drop",)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(elem_id="loader", **kwargs)

    def connect(self, tabs: gr.Tabs, by_id: Mapping[str, gr.Tab]) -> None:
        """Let address and tabs follow each other. All of it happens in the browser."""
        quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        listens = "() => {document.body.dataset.listens = 1; document.dispatchEvent(new Event('blockmerge-listens'))}"
        gr.on(None, None, None, None, js=listens, **quick)
        self.turn(None, self, tabs, js="(value) => ({__type__: 'update', selected: value.tab})", **quick)
        for name, tab in by_id.items():
            told = f"() => {{document.dispatchEvent(new CustomEvent('blockmerge-tab', {{detail: '{name}'}}))}}"
            tab.select(None, None, None, js=told, **quick)


def shown(recipe: str, name: str = "", shape: str = "", device: str = "") -> dict[str, object]:
    """A value of the loader: show this recipe on the Merge tab. `name` is wished for the result, or empty; `shape` is
    what its weights are called, and `device` where it is computed, where that is known."""
    return {"recipe": recipe, "name": name, "shape": shape, "device": device, "nonce": uuid.uuid4().hex}


def kept(recipe: str, name: str, shape: str, device: str) -> dict[str, object]:
    """A value of the loader: what stands on the Merge tab, to be shown again after a reload."""
    keep = {"recipe": recipe, "name": name, "shape": shape, "device": device}
    return {"keep": keep, "nonce": uuid.uuid4().hex}


def going(tab: str, *, job: int | None = None, recipe: str = "") -> dict[str, object]:
    """A value of the loader: go to this tab, and to the job or recipe there; the address follows."""
    return {"go": {"tab": tab, "job": job, "recipe": recipe}, "nonce": uuid.uuid4().hex}


@dataclass(frozen=True, slots=True)
class Opening:
    """A recipe as text that is to be shown; nothing of it was looked at. `again` says that it was here before."""

    recipe: str
    name: str
    shape: str = ""
    again: bool = False
    device: str = ""


def read_opening(told: object, recipe_of: Callable[[str], str]) -> Opening:
    """What `opened` carries, whoever sent it; an address stands for `recipe_of` it. Raises JobRequestError, and what
    `recipe_of` raises."""
    match told:
        case {"address": str(address)}:
            return Opening(recipe_of(address), "", "", False)
        case {"problem": str(problem)}:
            raise JobRequestError(problem[:LONGEST_NAME])
        case {
            "recipe": str(recipe),
            "name": str(name),
            "shape": str(shape),
            "device": str(device),
            "again": bool(again),
        } if max(map(len, (name, shape, device))) <= LONGEST_NAME:
            if len(recipe) > LONGEST_RECIPE:
                raise JobRequestError(say("drop.too_long"))
            return Opening(recipe, name, shape, again, device)
        case _:
            raise JobRequestError(say("drop.no_text"))


@dataclass(frozen=True, slots=True)
class Address:
    """What the address of the page names; a recipe by whatever the Recipes tab calls it."""

    tab: str
    job: int | None
    recipe: str


def read_address(told: object) -> Address:
    """What `address` carries; what is no tab, job or recipe is left out, as people write addresses by hand."""
    match told:
        case {"tab": str(tab), "job": str(job), "recipe": str(recipe)}:
            number = int(job) if job.isascii() and job.isdecimal() and len(job) < 19 else None
            return Address(tab[:LONGEST_NAME], number, recipe[:LONGEST_NAME])
        case _:
            return Address("", None, "")
