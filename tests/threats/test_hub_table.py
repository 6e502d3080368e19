"""The rows of the table of threats that need a Hub, here one on loopback, and the command line as a person starts it.

Names that start with a number are that row: 18 a push that fails, 20 ids that only look right, 21 a card.
"""

import ast
from pathlib import Path

import pytest
import yaml

import blockmerge
from tests.hub.conftest import server
from tests.hub.results import merge_result
from tests.hub.test_commands import Terminal
from tests.hub_server import HubServer
from tests.threats.conftest import Running

__all__ = ["server"]  # the fixture of tests/hub, for the tests of this file

COMMIT_FAILS = [403, 404, 409, 412, 413, 500, 503]
LOOKALIKES = {
    "\u043epenai/x": r"'\u043epenai/x'",  # a Cyrillic o
    "openai\u200b/x": r"'openai\u200b/x'",
    "org/a..b": "'org/a..b'",
    "org/a--b": "'org/a--b'",
    "org/a.git": "'org/a.git'",
    "-org/a": "'-org/a'",
    "org\uff0f/a": r"'org\uff0f/a'",
}


@pytest.mark.parametrize("status", COMMIT_FAILS)
def test_18_a_push_that_fails_takes_nothing_away(server: HubServer, tmp_path: Path, status: int) -> None:
    user = server.store.add_user("ann")
    before = server.store.create("ann/mine", private=True).head.oid
    terminal = Terminal(server, tmp_path, user.token)
    result = merge_result(server, tmp_path)

    with server.failing("POST .*/commit", status=status):
        code, _, told = terminal.run("push", result, "ann/mine", "--license", "mit")

    assert code == (2 if status == 403 else 1)  # whom it may not be sent to is the command's mistake
    assert told
    assert [path for path in server.requests() if path.startswith("DELETE") or "/settings" in path] == []
    assert server.store.repositories["ann/mine"].head.oid == before
    assert server.store.repositories["ann/mine"].private


def test_18_nothing_in_the_project_can_delete_or_open_a_repository() -> None:
    """Whatever a later change does with huggingface_hub, these are not called."""
    forbidden = ("delete_", "update_repo", "move_repo", "super_squash", "permanently_")
    called = {
        node.func.attr
        for path in (Path(blockmerge.__file__).parent / "hub").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }

    assert "create_commit" in called  # what is looked at are the calls of huggingface_hub
    # What is downloaded may be deleted: that is this machine's own copy.
    assert [name for name in called - {"delete_revisions"} if name.startswith(forbidden)] == []


@pytest.mark.parametrize("name", LOOKALIKES)
def test_20_an_id_that_only_looks_right_is_refused_unasked(server: HubServer, tmp_path: Path, name: str) -> None:
    code, shown, told = Terminal(server, tmp_path).run("inspect", "--", name)

    assert (code, shown) == (2, "")
    assert told.endswith(f"{LOOKALIKES[name]} is not a valid Hub id. Give a Hub id such as org/name, or a folder.\n")
    assert server.requests() == []


@pytest.mark.parametrize("name", LOOKALIKES)
def test_20_the_page_refuses_it_too(running: Running, name: str) -> None:
    told = running.visitor().call("inspect", name)

    assert told.startswith((f"There is no model {name!r} here.", "This is not the name of a model.", LOOKALIKES[name]))


def test_20_a_real_id_is_shown_with_its_commit(server: HubServer, tmp_path: Path) -> None:
    """ASCII twins cannot be told apart by their letters: the commit says which repository was read."""
    terminal = Terminal(server, tmp_path)

    terminal.printed("template", "org/a", "org/b", "-o", "recipe.yaml")

    models = yaml.safe_load((tmp_path / "recipe.yaml").read_text("utf-8"))["models"]
    assert models == {key: f"org/{key}@{server.store.repositories[f'org/{key}'].head.oid}" for key in "ab"}


def test_21_a_licence_that_would_end_the_card_stays_one_value(server: HubServer, tmp_path: Path) -> None:
    """A parent's card is somebody else's text; what comes from it stands in ours as one value, or not at all."""
    evil = "x\n---\nevil: true\n"
    for name in ("org/a", "org/b"):
        front = yaml.safe_dump({"license": evil})
        server.store.commit(server.store.repositories[name], {"README.md": f"---\n{front}---\n".encode()})
    user = server.store.add_user("ann")
    terminal = Terminal(server, tmp_path, user.token)
    result = merge_result(server, tmp_path)

    code, _, told = terminal.run("push", result, "ann/mine")
    assert (code, "add --license NAME" in told) == (2, True), told

    terminal.printed("push", result, "ann/mine", "--license", "mit")
    repository = server.store.repositories["ann/mine"]
    card = server.store.content(repository.head.files["README.md"]).decode()
    front, body = card.removeprefix("---\n").split("\n---\n", 1)
    assert yaml.safe_load(front)["license"] == "mit"
    assert "evil" not in yaml.safe_load(front)
    assert "\nevil: true" not in body
    assert "\n---\n" not in body
