"""What the Merge tab says about models of the Hub on loopback, and what it asks the Hub for."""

from dataclasses import replace
from pathlib import Path

import pytest

from blockmerge.checkpoints.library import Library
from blockmerge.core.describe import size_text
from blockmerge.core.recipe import parse_recipe
from blockmerge.core.tensors import Checkpoint
from blockmerge.errors import HubRefusalError, SignInError
from blockmerge.hub.sources import with_weights
from blockmerge.jobs.states import LOCAL
from blockmerge.ui import hub_memory
from blockmerge.ui.draft import Draft, Drafting
from blockmerge.ui.forms import Form
from blockmerge.ui.identity import Identity
from blockmerge.ui.models import Models, open_of_job
from blockmerge.ui.tabs import Context
from blockmerge.ui.tabs.recipes import Asked, Desk
from tests.hub.results import merge_result
from tests.hub.test_commands import commit_of
from tests.hub_server import HubServer
from tests.tiny_models import write_llama
from tests.ui.test_draft import said


def look(context: Context, a: str = "org/a", b: str = "org/b", owner: str = LOCAL) -> Draft:
    return Drafting(context, owner).look(Form({"a": a, "b": b}))


def texts(draft: Draft, key: str) -> list[str]:
    return said(list(draft.facts[key]))


def test_a_pair_on_the_hub_is_checked_by_its_headers_and_the_hub_is_not_asked_again(
    server: HubServer, context: Context
) -> None:
    draft = look(context)

    assert said(draft.checks)[0] == "These two can be merged. 39 of 39 tensors match."
    assert draft.ready
    assert texts(draft, "a")[-1] == f"commit {commit_of(server, 'org/a')[:7]}"
    assert draft.name == "a-x-b"
    assert server.weights_given == 0
    asked = len(server.asked)
    assert look(context).ready
    assert len(server.asked) == asked


def test_a_revision_and_an_address_name_the_same_model(server: HubServer, context: Context) -> None:
    draft = look(context, "org/a@main", f"{server.endpoint}/org/b/tree/main")

    assert draft.recipe is not None
    assert draft.recipe.models == {key: f"org/{key}@{commit_of(server, f'org/{key}')}" for key in "ab"}


def test_a_job_names_the_commits_that_were_checked(server: HubServer, context: Context) -> None:
    checked = look(context)
    server.store.commit(server.store.repositories["org/a"], {"notes.txt": b"later"})

    number = Drafting(context).add(Form({"a": "org/a", "b": "org/b"}, grid=checked.grid))

    recipe = parse_recipe(context.store.get(number).recipe)
    assert checked.recipe is not None
    assert recipe.models == checked.recipe.models
    assert commit_of(server, "org/a") not in recipe.models["a"]


def test_after_a_while_the_hub_is_asked_again(
    server: HubServer, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(context)
    asked = len(server.asked)
    monkeypatch.setattr(hub_memory, "KEPT_FOR", 0.0)

    look(context)

    assert len(server.asked) == asked + 2


def test_a_folder_of_the_name_wins(server: HubServer, context: Context, tmp_path: Path) -> None:
    write_llama(tmp_path / "models" / "org" / "a", seed=9)

    draft = look(context)

    assert not any(text.startswith("commit") for text in texts(draft, "a"))
    assert texts(draft, "b")[-1].startswith("commit")
    assert not any("org/a" in str(asked) for asked in server.asked)


def test_the_bar_says_what_will_be_downloaded_and_what_is_here(context: Context, tmp_path: Path) -> None:
    def size_of(name: str) -> int:
        return sum(file.stat().st_size for file in (tmp_path / name).iterdir())

    def first() -> str:
        return said(list(look(context).bar))[0]

    models = {key: Models(context, LOCAL).open(f"org/{key}") for key in "ab"}
    b, both = (size_text(sum(map(size_of, names))) for names in ("b", "ab"))
    assert first() == f"Download{both}"

    fetch(context, {"a": models["a"]})
    assert first() == f"Download{b} of {both}"

    fetch(context, models)
    assert first() == "Downloadall is here"


def fetch(context: Context, models: dict[str, Checkpoint]) -> None:
    with_weights(models, context.identity.hub_of(LOCAL), report=lambda _: None, is_cancelled=lambda: False)


def test_a_model_is_measured_and_tried_with_the_weights_that_a_job_has_downloaded(
    server: HubServer, context: Context
) -> None:
    models = Models(context, LOCAL)
    known = models.open("org/a")
    with pytest.raises(HubRefusalError, match="is not on this machine as a whole"):
        open_of_job(context, str(known.origin))
    assert models.here(known) is None

    fetch(context, {"a": known})
    server.asked.clear()

    held = models.here(known)
    assert held is not None
    assert not held.is_headers_only
    assert open_of_job(context, str(known.origin)).folder == held.folder
    assert server.asked == []


def test_what_is_wrong_on_the_hub_is_said_in_the_checks(server: HubServer, context: Context) -> None:
    wrong = look(context, "org/nobody", "org/b@nowhere")
    server.stop()
    unreachable = look(context, "org/b", "org/a")

    assert said(wrong.checks)[1].startswith("Model A: There is no folder org/nobody here, and on the Hub it does not")
    assert said(wrong.checks)[2] == "Model B: org/b has no revision 'nowhere'. Check the branch, tag or commit."
    assert said(unreachable.checks)[1].startswith(f"Model A: The Hub at {server.endpoint} cannot be reached.")


def test_what_one_person_may_see_another_may_not(server: HubServer, context: Context, tmp_path: Path) -> None:
    server.store.add_folder("ann/private", tmp_path / "a", private=True)
    shared = replace(context, identity=Identity(context.settings.home, is_private=False))
    shared.identity.sign_in("ann's browser", server.store.add_user("ann").token)

    mine = look(shared, "ann/private", owner="ann's browser")
    theirs = look(shared, "ann/private", owner="another browser")

    assert mine.ready
    assert "There is no folder ann/private here" in said(theirs.checks)[1]
    with pytest.raises(SignInError):
        Models(shared, "").open("ann/private")


def test_where_other_people_come_no_path_of_this_machine_is_looked_at(
    server: HubServer, context: Context, tmp_path: Path
) -> None:
    write_llama(tmp_path / "org" / "a", seed=9)  # beside the page, where a relative path would find it
    shared = replace(context, library=Library((), any_path=False), identity=Identity(tmp_path / "home", False))

    assert texts(look(shared), "a")[-1].startswith("commit")
    assert "There is no model" in said(look(shared, str(tmp_path / "a")).checks)[1]


def test_what_the_hub_refuses_is_not_asked_again_at_once(server: HubServer, context: Context) -> None:
    look(context, a="org/nothing")
    server.asked.clear()

    again = look(context, a="org/nothing")

    assert said(again.checks)[1].startswith("Model A: There is no folder org/nothing here, and on the Hub it does not")
    assert server.asked == []


def test_the_address_of_a_merged_repository_is_as_good_as_its_recipe(
    server: HubServer, context: Context, tmp_path: Path
) -> None:
    server.store.add_folder("org/merged", merge_result(server, tmp_path))
    desk = Desk(context, LOCAL)

    desk.carry_out(Asked("import", text=f" {server.endpoint}/org/merged\n"))

    [kept] = desk.shelf.recipes()
    assert dict(kept.recipe.models) == {key: f"org/{key}@{commit_of(server, f'org/{key}')}" for key in "ab"}


def test_a_recipe_that_only_mentions_an_address_is_read_as_a_recipe(server: HubServer, context: Context) -> None:
    text = '{"blockmerge":1,"models":{"a":"https://huggingface.co/org/a","b":"b"},"weights":{"layers":0}}'
    server.asked.clear()

    Desk(context, LOCAL).carry_out(Asked("import", text=text))

    assert server.asked == []
