"""A person's own shapes in the tray of the Equaliser: a component without surface, and what is asked of it."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from blockmerge.errors import InputError, RecipeError, RunError
from blockmerge.ui.parts import OwnComponent
from blockmerge.ui.shape_shelf import KeptShape, ShapeShelf, read_shape_file
from blockmerge.ui.visitors import owner_of
from blockmerge.ui.wording import say


class ShapesLink(OwnComponent):
    """Hands its value to the Equaliser on the page, and fires `ask` with {"do": what, "id": shape, …} from there.

    It is not the Equaliser's own event, as the answer to one would overwrite what is painted meanwhile.
    """

    SCRIPTS = ("shapes",)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(elem_id="shapes", **kwargs)


@dataclass(frozen=True, slots=True)
class ShapeWish:
    """One thing that a person wants; `anchors` are checked when they are kept."""

    do: str
    id: str = ""
    name: str = ""
    text: str = ""
    anchors: object = ()


def read_wish(told: object) -> ShapeWish:
    """What `ask` carries, whoever sent it. Raises RecipeError."""
    if not isinstance(told, Mapping) or "do" not in told or not told.keys() <= ShapeWish.__dataclass_fields__.keys():
        raise RecipeError(say("shapes.wrong_request"))
    if not all(isinstance(value, str) for key, value in told.items() if key != "anchors"):
        raise RecipeError(say("shapes.wrong_request"))
    return ShapeWish(**told)


def carry_out(shelf: ShapeShelf, wish: ShapeWish) -> str:
    """Do what is wanted, and say what came of it. Raises InputError or RunError, and nothing has changed then."""
    match wish.do:
        case "save":
            return say("shapes.saved", name=shelf.add(wish.name, wish.anchors).name)
        case "import":
            return say("shapes.imported", name=shelf.add(*read_shape_file(wish.text, wish.name)).name)
        case "rename":
            return say("shapes.renamed", name=shelf.rename(wish.id, wish.name).name)
        case "delete":
            name = shelf.get(wish.id).name
            shelf.delete(wish.id)
            return say("shapes.deleted", name=name)
    raise RecipeError(say("shapes.wrong_request"))


def tray_value(shelf: ShapeShelf, said: str = "", problem: str = "") -> dict[str, object]:
    """What the tray shows. The nonce makes of an answer that was given before a new one."""
    shapes = [_shown(kept) for kept in shelf.shapes()]
    return {"shapes": shapes, "said": said, "problem": problem, "nonce": secrets.token_hex(8)}


def _shown(kept: KeptShape) -> dict[str, object]:
    return {"id": kept.id, "name": kept.name, "anchors": list(kept.anchors)}


def connect_shapes(link: ShapesLink, home: Path) -> None:
    """Give the link its person's shapes, and carry out what the person asks."""

    def offer(request: gr.Request) -> dict[str, object]:
        return tray_value(ShapeShelf(home, owner_of(request)))

    def ask(request: gr.Request, event: gr.EventData) -> dict[str, object]:
        shelf = ShapeShelf(home, owner_of(request))
        try:
            return tray_value(shelf, said=carry_out(shelf, read_wish(event._data)))
        except (InputError, RunError) as error:
            return tray_value(shelf, problem=str(error))

    quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    gr.on(None, offer, None, link, **quick)
    link.ask(ask, None, link, trigger_mode="multiple", **quick)
