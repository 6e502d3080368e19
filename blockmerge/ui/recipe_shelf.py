"""The recipes that a person keeps: a file each, in a folder of their own under BLOCKMERGE_HOME."""

import time
from dataclasses import dataclass
from pathlib import Path

from blockmerge.core.recipe import Recipe, dump_recipe, parse_recipe
from blockmerge.errors import RecipeError
from blockmerge.ui.owner_files import OwnerFiles, check_name, free_name, new_id
from blockmerge.ui.wording import say

MOST_RECIPES = 500
LONGEST_NOTE = 1_000
NO_SUCH_RECIPE = say("refused.no_recipe")
NAMELESS = say("refused.nameless")


@dataclass(frozen=True, slots=True)
class KeptRecipe:
    """`saved` is in seconds since 1970."""

    id: str
    name: str
    note: str
    saved: float
    recipe: Recipe


class RecipeShelf:
    """One owner's recipes. Names are shown and never become paths; every method raises RecipeError or StorageError."""

    def __init__(self, home: Path, owner: str) -> None:
        self._files = OwnerFiles(home, "recipes", owner)

    def recipes(self) -> tuple[KeptRecipe, ...]:
        """All that can be read, the newest first."""
        found = (self._read(path) for path in self._files.paths())
        return tuple(sorted((kept for kept in found if kept), key=lambda kept: (-kept.saved, kept.id)))

    def unreadable(self) -> tuple[Path, ...]:
        """Files in the folder that are no recipes; they are left alone."""
        return tuple(path for path in self._files.paths() if self._read(path) is None)

    def get(self, recipe_id: object) -> KeptRecipe:
        path = self._files.path(recipe_id)
        kept = self._read(path) if path else None
        if kept is None:
            raise RecipeError(NO_SUCH_RECIPE)
        return kept

    def add(self, name: str, recipe: Recipe, note: str = "") -> KeptRecipe:
        """Keep a recipe. Where the name is taken, a number is put behind it."""
        kept = self.recipes()
        if len(kept) >= MOST_RECIPES:
            raise RecipeError(say("refused.recipes_full", most=MOST_RECIPES))
        added = KeptRecipe(
            new_id(),
            free_name(check_name(name, NAMELESS), {other.name for other in kept}),
            check_note(note),
            time.time(),
            recipe,
        )
        self._write(added)
        return added

    def rename(self, recipe_id: object, name: str, note: str) -> KeptRecipe:
        before = self.get(recipe_id)
        wanted = check_name(name, NAMELESS)
        if any(other.name == wanted and other.id != before.id for other in self.recipes()):
            raise RecipeError(say("refused.recipe_taken", name=wanted))
        after = KeptRecipe(before.id, wanted, check_note(note), before.saved, before.recipe)
        self._write(after)
        return after

    def delete(self, recipe_id: object) -> None:
        self._files.delete(self.get(recipe_id).id)

    def _write(self, kept: KeptRecipe) -> None:
        value = {"name": kept.name, "note": kept.note, "saved": kept.saved, "recipe": dump_recipe(kept.recipe)}
        self._files.write(kept.id, value)

    def _read(self, path: Path) -> KeptRecipe | None:
        match self._files.read(path):
            case {"name": str(name), "note": str(note), "saved": int(saved) | float(saved), "recipe": str(text)}:
                try:
                    return KeptRecipe(path.stem, name, note, float(saved), parse_recipe(text))
                except RecipeError:
                    return None
        return None


def check_note(note: str) -> str:
    if len(note) > LONGEST_NOTE:
        raise RecipeError(say("refused.note_long", found=len(note), most=LONGEST_NOTE))
    return note.strip().encode("utf-8", "replace").decode()
