"""Own shapes: kept for one person, read strictly, and nothing that a forged event says changes them."""

import json
from pathlib import Path

import pytest
import yaml

from blockmerge.errors import RecipeError
from blockmerge.ui.shape_shelf import MOST_SHAPES, ShapeShelf, read_shape_file
from blockmerge.ui.shapes.shapes import ShapeWish, carry_out, read_wish, tray_value

ANCHORS = (0.0, 0.25, 1.0)
HOSTILE = "<img src=x onerror=alert(1)> ${alert(1)} {{value}} ../../etc/passwd"


@pytest.fixture
def shelf(tmp_path: Path) -> ShapeShelf:
    return ShapeShelf(tmp_path, "local")


def test_a_shape_is_kept_renamed_and_deleted(shelf: ShapeShelf) -> None:
    assert carry_out(shelf, ShapeWish("save", name="  Late \n rise ", anchors=[0, 0.25, 1])) == "Saved as “Late rise”."
    [kept] = shelf.shapes()
    assert (kept.name, kept.anchors) == ("Late rise", ANCHORS)

    assert carry_out(shelf, ShapeWish("rename", kept.id, name="Later")) == "Renamed to “Later”."
    [renamed] = shelf.shapes()
    assert (renamed.id, renamed.name, renamed.anchors) == (kept.id, "Later", ANCHORS)

    assert carry_out(shelf, ShapeWish("delete", kept.id)) == "Deleted “Later”."
    assert shelf.shapes() == ()


def test_a_taken_name_gets_a_number_and_cannot_be_given_twice(shelf: ShapeShelf) -> None:
    first, second = (shelf.add("Late", ANCHORS) for _ in range(2))

    assert second.name == "Late 2"
    with pytest.raises(RecipeError, match=r"^Another shape is called Late already\. Choose another name\.$"):
        shelf.rename(second.id, "Late")
    assert shelf.shapes() == (first, second)


def test_a_name_is_text_and_never_a_path(shelf: ShapeShelf, tmp_path: Path) -> None:
    shelf.add(HOSTILE, ANCHORS)

    assert [kept.name for kept in shelf.shapes()] == [HOSTILE]
    assert {path.parent.parent for path in tmp_path.rglob("*.json")} == {tmp_path / "shapes"}


@pytest.mark.parametrize(
    "text",
    [
        "name: Late\nanchors: [0, 0.25, 1]\n",
        json.dumps({"name": "Late", "values": [0, 0.25, 1]}),
        yaml.safe_dump({"anchors": [0, 0.25, 1]}),
    ],
)
def test_a_file_is_yaml_or_json_with_anchors_or_values(text: str) -> None:
    assert read_shape_file(text, "Late") == ("Late", ANCHORS)


NO_SHAPE = "This is no shape: expected anchors or values, a list of weights, and perhaps a name. Choose another file."
NO_ANCHORS = "A shape has 1 to 1,000 weights, as a list called anchors. Write them such as anchors: [0, 0.5, 1]."


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("hello", NO_SHAPE),
        ("[0, 1]", NO_SHAPE),
        ("{anchors: [0], values: [0]}", NO_SHAPE),
        ("{anchors: [0], more: 1}", NO_SHAPE),
        ("{anchors: [0], name: 3}", NO_SHAPE),
        ("{anchors: 1}", NO_ANCHORS),
        ("{anchors: []}", NO_ANCHORS),
        (json.dumps({"anchors": [0] * 1001}), NO_ANCHORS),
        (
            "{anchors: [0, 3]}",
            "Weight 2 of the shape: expected a number from −1 to 2, found 3. Write numbers only.",
        ),
        (
            "{anchors: [true]}",
            "Weight 1 of the shape: expected a number from −1 to 2, found True. Write numbers only.",
        ),
        ("{a: 1, a: 2}", "The file is not valid YAML at line 1, column 8: the key a stands twice."),
        ("x" * 70_000, "The file is longer than 64 kB. A recipe is a page of text; is this the right file?"),
    ],
)
def test_any_other_file_gets_a_sentence_and_is_not_kept(shelf: ShapeShelf, text: str, sentence: str) -> None:
    with pytest.raises(RecipeError) as refused:
        carry_out(shelf, ShapeWish("import", name="x", text=text))

    assert str(refused.value) == sentence
    assert shelf.shapes() == ()


@pytest.mark.parametrize(
    "told",
    [
        None, 1, "save", [], {}, {"do": 1}, {"do": "save", "name": 1}, {"do": "save", "more": "x"}, {"do": "burn"},
        {"do": "save", "name": "x", "anchors": "0, 1"}, {"do": "save", "name": "x", "anchors": [float("nan")]},
        {"do": "save", "name": "x", "anchors": [float("inf")]}, {"do": "save", "name": "x", "anchors": ["0"]},
        {"do": "save", "name": "x", "anchors": {"0": 1}}, {"do": "save", "name": " ", "anchors": [0]},
        {"do": "save", "name": "x" * 300, "anchors": [0]}, {"do": "delete", "id": "../x"}, {"do": "rename", "id": ""},
    ],
)  # fmt: skip
def test_a_forged_event_is_refused_and_changes_nothing(shelf: ShapeShelf, told: object) -> None:
    kept = shelf.add("Late", ANCHORS)

    with pytest.raises(RecipeError, match=r"\.$"):
        carry_out(shelf, read_wish(told))
    assert shelf.shapes() == (kept,)


@pytest.mark.parametrize("do", ["rename", "delete"])
def test_another_persons_shape_is_none(shelf: ShapeShelf, tmp_path: Path, do: str) -> None:
    kept = shelf.add("Late", ANCHORS)
    other = ShapeShelf(tmp_path, "browser:1")

    assert other.shapes() == ()
    with pytest.raises(RecipeError, match=r"^There is no such shape any more\. Reload the page\.$"):
        carry_out(other, ShapeWish(do, kept.id, name="Mine"))
    assert shelf.shapes() == (kept,)


def test_a_damaged_file_is_left_alone(shelf: ShapeShelf, tmp_path: Path) -> None:
    kept = shelf.add("Late", ANCHORS)
    [path] = tmp_path.rglob("*.json")
    damaged = path.with_name("0123456789abcdef.json")
    damaged.write_text('{"name": "x", "saved": 1, "anchors": [7]}')

    assert shelf.shapes() == (kept,)
    assert damaged.exists()


def test_a_full_shelf_takes_no_more(shelf: ShapeShelf) -> None:
    for _ in range(MOST_SHAPES):
        shelf.add("Late", ANCHORS)

    with pytest.raises(RecipeError, match=r"^100 shapes are kept, and no more can be\. Delete some first\.$"):
        shelf.add("Late", ANCHORS)


def test_an_answer_that_was_given_before_is_new(shelf: ShapeShelf) -> None:
    first, second = (tray_value(shelf, problem="x") for _ in range(2))

    assert first != second
