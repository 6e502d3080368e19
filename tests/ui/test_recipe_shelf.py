"""Kept recipes: one file each, nobody else's, whatever their names are."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blockmerge.core.recipe import parse_recipe
from blockmerge.errors import RecipeError
from blockmerge.ui.owner_files import LONGEST_NAME
from blockmerge.ui.recipe_shelf import MOST_RECIPES, RecipeShelf

RECIPE = parse_recipe("blockmerge: 1\nmodels: {a: ./A, b: ./B}\nweights: {layers: {preset: rise}}\n")
HOSTILE = ("<img src=x onerror=alert(1)>", "${alert(1)}", "{{value}}", "../../etc/passwd", "‮gpj.exe", "con", "a/b\\c")


@pytest.fixture
def shelf(tmp_path: Path) -> RecipeShelf:
    return RecipeShelf(tmp_path, "local")


def test_a_recipe_is_kept_with_its_name_and_note(shelf: RecipeShelf) -> None:
    added = shelf.add("  Zephyr \n late ", RECIPE, "sounds warm")

    assert shelf.recipes() == (added,)
    assert (added.name, added.note, added.recipe) == ("Zephyr late", "sounds warm", RECIPE)
    assert shelf.get(added.id) == added


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_text_and_never_a_path(tmp_path: Path, shelf: RecipeShelf, name: str) -> None:
    shelf.add(name, RECIPE)

    assert [kept.name for kept in shelf.recipes()] == [name]
    assert {path.parent.parent for path in tmp_path.rglob("*.json")} == {tmp_path / "recipes"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(name=st.text(max_size=200))
def test_any_name_is_kept_or_refused(shelf: RecipeShelf, name: str) -> None:
    try:
        added = shelf.add(name, RECIPE)
    except RecipeError as error:
        assert "name" in str(error)  # noqa: PT017 - either is right
    else:
        assert shelf.get(added.id) == added
        shelf.delete(added.id)


def test_a_taken_name_gets_a_number(shelf: RecipeShelf) -> None:
    names = [shelf.add("Late", RECIPE).name for _ in range(3)]

    assert names == ["Late", "Late 2", "Late 3"]


def test_renaming_keeps_the_recipe_and_its_time(shelf: RecipeShelf) -> None:
    before = shelf.add("Late", RECIPE)

    after = shelf.rename(before.id, "Early", "a note")

    assert shelf.recipes() == (after,)
    assert (after.name, after.note, after.saved, after.recipe) == ("Early", "a note", before.saved, RECIPE)


def test_two_recipes_cannot_have_one_name(shelf: RecipeShelf) -> None:
    shelf.add("Early", RECIPE)
    late = shelf.add("Late", RECIPE)

    with pytest.raises(RecipeError, match=r"^Another recipe is called Early already\. Choose another name\.$"):
        shelf.rename(late.id, "Early", "")
    assert shelf.get(late.id) == late


def test_a_deleted_recipe_is_gone(tmp_path: Path, shelf: RecipeShelf) -> None:
    added = shelf.add("Late", RECIPE)

    shelf.delete(added.id)

    assert shelf.recipes() == ()
    assert list(tmp_path.rglob("*.json")) == []


@pytest.mark.parametrize("recipe_id", [None, 1, "", "../x", "0" * 16, "0" * 15 + "G", {"id": 1}])
def test_an_id_that_is_none_is_refused(shelf: RecipeShelf, recipe_id: object) -> None:
    added = shelf.add("Late", RECIPE)

    for act in (shelf.get, shelf.delete, lambda wrong: shelf.rename(wrong, "x", "")):
        with pytest.raises(RecipeError, match=r"^There is no such recipe any more\. Reload the page\.$"):
            act(recipe_id)
    assert shelf.recipes() == (added,)


def test_another_owner_has_other_recipes(tmp_path: Path, shelf: RecipeShelf) -> None:
    added = shelf.add("Late", RECIPE)
    other = RecipeShelf(tmp_path, "browser:1")

    assert other.recipes() == ()
    with pytest.raises(RecipeError):
        other.get(added.id)


def test_a_damaged_file_is_left_alone_and_told(shelf: RecipeShelf, tmp_path: Path) -> None:
    good = shelf.add("Late", RECIPE)
    [path] = tmp_path.rglob("*.json")
    damaged = path.with_name("0123456789abcdef.json")
    damaged.write_text('{"name": "x", "note": "", "saved": 1, "recipe": "blockmerge: 2"}')

    assert shelf.recipes() == (good,)
    assert shelf.unreadable() == (damaged,)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (" ", "A recipe needs a name. Write one, such as “Zephyr late”."),
        ("x" * 300, f"The name has 300 characters. Use {LONGEST_NAME} at most."),
        ("a\x00b", "The name has a character that cannot be shown. Write it anew."),
    ],
)
def test_what_is_no_name_gets_a_sentence(shelf: RecipeShelf, name: str, sentence: str) -> None:
    with pytest.raises(RecipeError) as refused:
        shelf.add(name, RECIPE)

    assert str(refused.value) == sentence


def test_a_full_shelf_takes_no_more(shelf: RecipeShelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blockmerge.ui.recipe_shelf.MOST_RECIPES", 2)
    shelf.add("One", RECIPE)
    shelf.add("Two", RECIPE)

    assert MOST_RECIPES == 500
    with pytest.raises(RecipeError, match=r"^2 recipes are kept, and no more can be\. Delete some first\.$"):
        shelf.add("Three", RECIPE)
