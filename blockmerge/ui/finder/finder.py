"""The search of the Hub below the model boxes: letters in, names out, each to be used or to have its recipe shown."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from blockmerge.checkpoints.models import is_meant_on_hub
from blockmerge.core.describe import count_text
from blockmerge.errors import BlockmergeError, JobRequestError
from blockmerge.ui.loader.loader import shown
from blockmerge.ui.models import Models
from blockmerge.ui.parts import SHARED, OwnComponent
from blockmerge.ui.tabs import Context
from blockmerge.ui.visitors import owner_of
from blockmerge.ui.wording import say

FEWEST_LETTERS = 3
LONGEST_TEXT = 200


class Finder(OwnComponent):
    """Fires `search` with the text that stands there, `use` with {"name": model, "key": box}, and `recipe` with
    {"name": model}."""

    FRAME = '<div class="finder"></div>'
    SCRIPTS = STYLES = (SHARED, "finder")
    TEXTS = ("hub",)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A model that was found, and the box that it goes to."""

    name: str
    key: str


def read_chosen(told: object) -> Chosen:
    """What `use` carries, whoever sent it. Raises JobRequestError."""
    match told:
        case {"name": str(name), "key": "a" | "b" as key} if len(name) <= LONGEST_TEXT and is_meant_on_hub(name):
            return Chosen(name, key)
        case _:
            raise JobRequestError(say("hub.wrong_request"))


def search(models: Models, text: object) -> dict[str, object]:
    """What is found for these letters, or why nothing is: a value of the finder."""
    if not isinstance(text, str) or not text.isprintable() or not FEWEST_LETTERS <= len(text) <= LONGEST_TEXT:
        return {"query": "", "found": [], "problem": say("hub.wrong_request")}
    from blockmerge.hub.search import search_models  # only now is the Hub's client wanted

    try:
        found = search_models(models.hub, text)
    except BlockmergeError as error:
        return {"query": text, "found": [], "problem": str(error)}
    rows = [{"name": one.name, "note": _note(one.downloads)} for one in found]
    return {"query": text, "found": rows, "problem": "" if rows else say("hub.none_found")}


def _note(downloads: int) -> str:
    return say("hub.downloads", count=count_text(downloads)) if downloads else ""


def recipe_of(models: Models, told: object) -> str:
    """The recipe of a merged model that was found. Raises BlockmergeError."""
    match told:
        case {"name": str(name)} if len(name) <= LONGEST_TEXT and is_meant_on_hub(name):
            from blockmerge.hub.search import read_recipe

            return read_recipe(models.hub, name)
        case _:
            raise JobRequestError(say("hub.wrong_request"))


def connect_finder(finder: Finder, context: Context) -> None:
    """Answer its searches, and show the recipes that are wanted; `use` is the Merge tab's."""

    def answer(request: gr.Request, event: gr.EventData) -> dict[str, object]:
        return search(Models(context, owner_of(request)), event._data)

    def show(before: object, request: gr.Request, event: gr.EventData) -> list[Any]:
        try:
            return [gr.skip(), shown(recipe_of(Models(context, owner_of(request)), event._data))]
        except BlockmergeError as error:
            held = before if isinstance(before, dict) else {}
            return [{**held, "problem": str(error)}, gr.skip()]

    quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    finder.search(answer, None, finder, trigger_mode="always_last", **quick)
    finder.recipe(show, finder, [finder, context.loader], **quick)
