"""The Recipes tab: recipes that a person keeps, looked at, compared, used, taken in and handed out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from blockmerge.checkpoints.library import EXAMPLE_PAIR
from blockmerge.checkpoints.models import is_meant_on_hub
from blockmerge.core.foreign import read_foreign
from blockmerge.core.recipe import dump_recipe, parse_recipe
from blockmerge.errors import InputError, RecipeError, RunError
from blockmerge.jobs.states import Job
from blockmerge.ui.finder.finder import recipe_of
from blockmerge.ui.loader.loader import going, read_address, shown
from blockmerge.ui.models import Models
from blockmerge.ui.owner_files import LONGEST_NAME
from blockmerge.ui.recipe_plans import on_this_page, plan_here, result_of
from blockmerge.ui.recipe_shelf import KeptRecipe, RecipeShelf
from blockmerge.ui.recipe_views import listed, pair_text, recipe_json, report
from blockmerge.ui.recipe_views import shown as shown_recipe
from blockmerge.ui.recipes.recipes import Recipes
from blockmerge.ui.tabs import Context, Tab
from blockmerge.ui.visitors import owner_of
from blockmerge.ui.wording import say

LOOKED_AT = 200  # newest jobs among which the result of a recipe is looked for

Value = dict[str, object]


@dataclass(frozen=True, slots=True)
class Asked:
    """One thing that a person wants; `id` is the recipe that is shown, `other` the one it is compared with."""

    do: str
    id: str | None = None
    other: str | None = None
    name: str = ""
    note: str = ""
    text: str = ""


def read_asked(told: object) -> Asked:
    """What `ask` carries, whoever sent it. Raises RecipeError."""
    if not isinstance(told, Mapping) or not told.keys() <= Asked.__dataclass_fields__.keys():
        raise RecipeError(say("recipes.wrong_request"))
    fields = {key: value for key, value in told.items() if value is not None}
    if "do" not in fields or not all(isinstance(value, str) for value in fields.values()):
        raise RecipeError(say("recipes.wrong_request"))
    return Asked(**fields)


def keep_recipe(context: Context, owner: str, name: str, text: str) -> KeptRecipe:
    """Keep the text of a recipe under a name, for any tab. Raises InputError."""
    recipe = on_this_page(context.library, parse_recipe(text))
    return RecipeShelf(context.settings.home, owner).add(name, recipe)


@dataclass(frozen=True, slots=True)
class Desk:
    """One person at the Recipes tab: what is asked, and what is then shown."""

    context: Context
    owner: str

    @property
    def shelf(self) -> RecipeShelf:
        return RecipeShelf(self.context.settings.home, self.owner)

    def view(self, asked: Asked, errors: Sequence[str] = (), lines: Sequence[list[str]] = ()) -> Value:
        """All that the tab shows; a recipe that is gone is not shown any more."""
        kept = {recipe.id: recipe for recipe in self.shelf.recipes()}
        chosen = kept.get(asked.id or "") or next(iter(kept.values()), None)
        return {
            "recipes": [listed(recipe) for recipe in kept.values()],
            "problem": self._problem(),
            "chosen": self._shown(chosen, kept.get(asked.other or "")) if chosen else None,
            "report": list(lines),
            "errors": list(errors),
            "imported": bool(lines),
        }

    def _problem(self) -> str:
        unreadable = self.shelf.unreadable()
        if not unreadable:
            return ""
        name = "recipes.unreadable_one" if len(unreadable) == 1 else "recipes.unreadable"
        return say(name, count=len(unreadable), folder=unreadable[0].parent)

    def _shown(self, chosen: KeptRecipe, compared: KeptRecipe | None) -> Value:
        planned = plan_here(self.context.library, chosen.recipe, self.context.library.open_named)
        result = self.result(chosen)
        shown = shown_recipe(chosen, planned, compared)
        return {**shown, "link": recipe_json(chosen.recipe), "result": result.id if result else None}

    def result(self, chosen: KeptRecipe) -> Job | None:
        """The newest result of this recipe, which can be tried."""
        recent = self.context.store.recent(LOOKED_AT)
        return result_of(self.context.library, chosen.recipe, [job for job in recent if job.owner == self.owner])

    def carry_out(self, asked: Asked) -> Value:
        """Do what is asked and show what came of it. Raises InputError or RunError, and nothing has changed then."""
        match asked.do:
            case "choose" | "compare" | "use" | "try":
                self.shelf.get(asked.id)
            case "rename":
                self.shelf.rename(asked.id, asked.name, asked.note)
            case "delete":
                self.shelf.delete(asked.id)
                return self.view(replace(asked, id=None, other=None))
            case "keep":
                return self._keep(asked)
            case "import":
                return self._take_in(asked)
            case _:
                raise RecipeError(say("recipes.wrong_request"))
        return self.view(asked)

    def _keep(self, asked: Asked) -> Value:
        """What stands on the Merge tab."""
        if not asked.text:
            raise RecipeError(say("recipes.nothing_there"))
        name = asked.name or pair_text(parse_recipe(asked.text))
        kept = keep_recipe(self.context, self.owner, name[:LONGEST_NAME], asked.text)
        return self.view(replace(asked, id=kept.id, other=None))

    def _take_in(self, asked: Asked) -> Value:
        reading = read_foreign(self._recipe_in(asked.text), self._pair())
        added = self.shelf.add(asked.name or say("recipes.imported_name"), reading.recipe)
        return self.view(replace(asked, id=added.id, other=None), lines=report(added.name, reading))

    def _recipe_in(self, text: str) -> str:
        """The text itself, or the recipe of the merged repository whose name or address it is."""
        word = text.strip()
        is_name = word.isprintable() and " " not in word and is_meant_on_hub(word) and not word.startswith("{")
        return recipe_of(Models(self.context, self.owner), {"name": word}) if is_name else text

    def _pair(self) -> tuple[str, str]:
        """What stands in for models that a text does not name: those of the newest recipe of two."""
        for kept in self.shelf.recipes():
            if len(kept.recipe.models) == 2 and kept.recipe.base is None:
                a, b = kept.recipe.models.values()
                return a, b
        return EXAMPLE_PAIR


@dataclass(frozen=True, slots=True)
class Handlers:
    """What the tab's events call. Each returns news for the tab and for the loader."""

    context: Context

    def refresh(self, before: object, request: gr.Request) -> Value:
        """The same recipe again, with what has changed meanwhile.

        The first look is marked: where the address names a recipe, that one is shown, whichever answer comes last.
        """
        return self._desk(request).view(Asked("choose", _chosen(before))) | {"first": not before}

    def go(self, before: object, request: gr.Request, event: gr.EventData) -> Any:
        """The recipe that the address names; it tells this also when the page is opened."""
        named = read_address(event._data).recipe or _chosen(before)
        return gr.skip() if before and named == _chosen(before) else self._desk(request).view(Asked("choose", named))

    def ask(self, request: gr.Request, event: gr.EventData) -> tuple[Any, Any]:
        desk = self._desk(request)
        asked = Asked("choose")
        try:
            asked = read_asked(event._data)
            view = desk.carry_out(asked)
        except (InputError, RunError) as error:
            return desk.view(asked, errors=error.problems), gr.skip()
        if asked.do == "use":
            kept = desk.shelf.get(asked.id)
            return view, shown(dump_recipe(kept.recipe), kept.name)
        if asked.do == "try":
            result = desk.result(desk.shelf.get(asked.id))
            return view, going("try", job=result.id) if result else gr.skip()
        chosen = view["chosen"]
        return view, going("recipes", recipe=chosen["id"]) if isinstance(chosen, dict) else gr.skip()

    def _desk(self, request: gr.Request) -> Desk:
        return Desk(self.context, owner_of(request))


def _chosen(before: object) -> str:
    match before:
        case {"chosen": {"id": str(chosen)}}:
            return chosen
        case _:
            return ""


def build(context: Context) -> None:
    handlers = Handlers(context)
    recipes = Recipes(elem_id="recipes")
    quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    recipes.parent.select(handlers.refresh, recipes, recipes, **quick)
    context.loader.address(handlers.go, recipes, recipes, **quick)
    recipes.ask(handlers.ask, None, [recipes, context.loader], trigger_mode="multiple", **quick)


TAB = Tab(say("recipes.tab"), 4, build)
