"""A result on the Hub: whole with its card, or not there at all."""

import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from blockmerge.checkpoints.manifest import MANIFEST, read_manifest
from blockmerge.core.progress import Progress
from blockmerge.core.wish import Wish
from blockmerge.errors import (
    BlockmergeError,
    CheckpointError,
    HubError,
    HubRefusalError,
    MergeCancelledError,
    SignInError,
)
from blockmerge.hub.client import Hub
from blockmerge.hub.publish import preview_card, publish
from blockmerge.hub.push import Destination, Pushed, prepare, push, read_destination
from tests.hub.conftest import hub_of
from tests.hub.results import merge_result
from tests.hub.test_xet import child_environment
from tests.hub_server import HubServer, running_hub
from tests.hub_store import Store
from tests.hub_xet import XetObjects
from tests.tiny_models import write_llama

CARD = b"---\nlicense: mit\n---\n"


@pytest.fixture
def result(server: HubServer, tmp_path: Path) -> Path:
    for name in ("org/a", "org/b"):
        server.store.commit(server.store.repositories[name], {"README.md": CARD, "LICENSE": b"MIT of " + name.encode()})
    return merge_result(server, tmp_path)


@pytest.fixture
def ann(server: HubServer, tmp_path: Path) -> Hub:
    return hub_of(server, tmp_path, server.store.add_user("ann", "team"))


def send(hub: Hub, folder: Path, to: str = "ann/merged", licence: str | None = None, **options: bool) -> Pushed:
    planned = prepare(hub, folder, read_manifest(folder), to, licence)
    return push(hub, planned, Destination(to, **options), report=lambda _: None, is_cancelled=lambda: False)


def refusal(kind: type[BlockmergeError], hub: Hub, folder: Path, to: str = "ann/merged", **options: Any) -> str:
    with pytest.raises(kind) as caught:
        send(hub, folder, to, **options)
    return str(caught.value)


def contents(server: HubServer, repository: str) -> dict[str, bytes]:
    return {name: server.store.content(file) for name, file in server.store.repositories[repository].head.files.items()}


def assert_nothing_was_taken_away(server: HubServer) -> None:
    assert [path for path in server.requests() if path.startswith("DELETE") or "/settings" in path] == []


def test_a_new_repository_is_private_and_holds_the_result_its_card_recipe_and_licences(
    server: HubServer, ann: Hub, result: Path
) -> None:
    pushed = send(ann, result)

    repository = server.store.repositories["ann/merged"]
    assert repository.private
    assert pushed == Pushed(
        "ann/merged", f"{server.endpoint}/ann/merged/commit/{repository.head.oid}", repository.head.oid, True, True
    )
    held = contents(server, "ann/merged")
    for path in result.iterdir():
        assert held[path.name] == path.read_bytes()
    assert held["recipe.yaml"].decode() == read_manifest(result).recipe
    assert yaml.safe_load(held["mergekit_config.yml"])["models"][1] == {
        "model": f"org/b@{server.store.repositories['org/b'].head.oid}",
        "parameters": {"weight": 0.5},
    }
    assert held["weights.png"].startswith(b"\x89PNG")
    assert b"](weights.png)" in held["README.md"]
    assert held["licenses/org--a/LICENSE"] == b"MIT of org/a"
    assert held["licenses/org--b/LICENSE"] == b"MIT of org/b"
    front = yaml.safe_load(held["README.md"].decode().split("---\n")[1])
    assert front["license"] == "mit"
    assert front["base_model"] == ["org/a", "org/b"]
    assert len(repository.commits) == 2
    assert {asked.token for asked in server.asked if asked.host == "storage"} == {None}


def test_a_repository_is_public_only_when_that_was_asked_for(server: HubServer, ann: Hub, result: Path) -> None:
    assert not send(ann, result, is_public=True).is_private

    server.store.create("ann/hidden", private=True)
    assert send(ann, result, "ann/hidden", is_public=True).is_private
    assert server.store.repositories["ann/hidden"].private
    assert_nothing_was_taken_away(server)


def test_progress_is_told_in_bytes_and_by_file(ann: Hub, result: Path) -> None:
    reports: list[Progress] = []
    planned = prepare(ann, result, read_manifest(result), "ann/merged", None)

    push(ann, planned, Destination("ann/merged"), report=reports.append, is_cancelled=lambda: False)

    total = sum(path.stat().st_size for path in result.iterdir())
    assert {report.total for report in reports} == {total}
    assert [report.done for report in reports] == sorted(report.done for report in reports)
    assert (reports[-1].done, reports[-1].detail) == (total, "commit")
    assert {"model.safetensors", MANIFEST} <= {report.detail for report in reports}


def test_an_interrupted_push_shows_nothing_and_goes_on(server: HubServer, ann: Hub, result: Path) -> None:
    with server.failing("POST .*/commit", status=403):
        assert refusal(SignInError, ann, result) == (
            "This token may not write to ann/merged. Use a token with write access, another name, or, where the "
            "repository exists, a pull request."
        )
    assert set(contents(server, "ann/merged")) == {".gitattributes"}
    server.asked.clear()

    pushed = send(ann, result)

    assert not pushed.is_new
    assert not [path for path in server.requests("storage") if path.startswith("PUT")]
    assert contents(server, "ann/merged")["model.safetensors"] == (result / "model.safetensors").read_bytes()
    assert_nothing_was_taken_away(server)


def test_a_commit_whose_answer_was_lost_is_not_made_twice(server: HubServer, ann: Hub, result: Path) -> None:
    with server.failing("POST .*/commit", cut_after=1):
        assert refusal(HubError, ann, result) == ("The connection to the Hub was cut. Try again; what was moved stays.")
    head = server.store.repositories["ann/merged"].head

    assert send(ann, result).commit == head.oid


def test_a_later_result_is_a_commit_on_top(server: HubServer, ann: Hub, result: Path, tmp_path: Path) -> None:
    first = send(ann, result)

    second = send(ann, merge_result(server, tmp_path, "other", 0.25))

    assert (second.is_new, second.commit != first.commit) == (False, True)
    assert contents(server, "ann/merged")[MANIFEST] == (tmp_path / "other" / MANIFEST).read_bytes()
    assert list(server.store.repositories["ann/merged"].commits)[-2:] == [first.commit, second.commit]


def test_a_pull_request_leaves_the_main_branch_to_its_owner(
    server: HubServer, ann: Hub, result: Path, tmp_path: Path
) -> None:
    send(ann, result)
    before = server.store.repositories["ann/merged"].head
    server.store.repositories["ann/merged"].private = False
    bob = hub_of(server, tmp_path, server.store.add_user("bob"))

    pushed = send(bob, merge_result(server, tmp_path, "other", 0.25), as_pull_request=True)

    assert pushed.address == f"{server.endpoint}/ann/merged/discussions/1"
    assert server.store.repositories["ann/merged"].head == before
    held = server.store.repositories["ann/merged"].at("refs/pr/1").files
    assert server.store.content(held[MANIFEST]) == (tmp_path / "other" / MANIFEST).read_bytes()


def test_whoever_pushed_in_between_loses_nothing(server: HubServer, ann: Hub, result: Path) -> None:
    repository = server.store.create("ann/merged")

    def interfere() -> None:
        while not [path for path in server.requests("storage") if path.startswith("PUT")]:
            time.sleep(0.02)
        server.store.commit(repository, {"note.txt": b"mine"})

    other = threading.Thread(target=interfere)
    other.start()
    with server.failing("PUT /_storage", times=1, seconds=2):
        told = refusal(HubError, ann, result)
    other.join()

    assert told == "Somebody changed ann/merged meanwhile, so nothing was changed. Push again to put this on top."
    assert set(contents(server, "ann/merged")) == {".gitattributes", "note.txt"}
    send(ann, result)
    assert contents(server, "ann/merged")["note.txt"] == b"mine"


def test_weights_that_would_stay_beside_the_result_stop_it(server: HubServer, ann: Hub, result: Path) -> None:
    more = {"model-00001-of-00002.safetensors": b"x", "pytorch_model.bin": b"x", "model.safetensors": b"x"}
    server.store.commit(server.store.create("ann/merged"), more)

    assert refusal(HubRefusalError, ann, result) == (
        "ann/merged holds 'model-00001-of-00002.safetensors' and 1 more weight files, which this result would not "
        "replace. Push to a new repository, or delete them on the Hub."
    )
    assert set(contents(server, "ann/merged")) == {".gitattributes", *more}


def test_a_file_that_the_repository_ignores_is_missed(server: HubServer, ann: Hub, result: Path) -> None:
    server.store.commit(server.store.create("ann/merged"), {".gitignore": b"config.json\n"})

    assert refusal(HubError, ann, result) == (
        "ann/merged was changed, but config.json did not arrive: its .gitignore may name it. Remove it there, and push "
        "again."
    )


def test_names_and_tokens_that_cannot_be_pushed_to(server: HubServer, ann: Hub, result: Path, tmp_path: Path) -> None:
    server.store.create("bob/theirs", private=True)
    reader = hub_of(server, tmp_path, server.store.add_user("eve", role="read"))

    assert refusal(HubRefusalError, ann, result, "bob/theirs") == (
        "bob/theirs is taken on the Hub by what this token may not see. Choose another name."
    )
    assert refusal(HubRefusalError, ann, result, "ann/none", as_pull_request=True) == (
        "There is no ann/none that a pull request could go to. Push without one, and it is made."
    )
    assert refusal(SignInError, reader, result, "eve/mine") == (
        "This token may not write to eve/mine: You don't have the rights to create a model under the namespace eve. "
        "Use a token with write access, another name, or, where the repository exists, a pull request."
    )
    assert "team/shared" in send(ann, result, "team/shared").address
    assert [path for path in server.requests("storage") if path.startswith("PUT")]


@pytest.mark.parametrize(
    ("to", "sentence"),
    [
        ("name", "'name' is no place on the Hub. Give one as ORG/NAME."),
        ("./org/name", "'./org/name' is no place on the Hub. Give one as ORG/NAME."),
        ("org/name@main", "'org/name@main' is no place on the Hub. Give one as ORG/NAME."),
        ("org/a..b", "'org/a..b' is not a valid Hub id. Give a Hub id such as org/name, or a folder."),
    ],
)
def test_a_place_on_the_hub_is_org_and_name(ann: Hub, to: str, sentence: str) -> None:
    with pytest.raises(HubRefusalError) as caught:
        read_destination(ann, to)

    assert str(caught.value) == sentence
    assert read_destination(ann, "org/name") == "org/name"


def test_nobody_pushes(hub: Hub) -> None:
    with pytest.raises(SignInError) as caught:
        read_destination(hub, "org/name")

    assert str(caught.value) == (
        "Only people who are signed in may push. Sign in ('hf auth login', or a token in HF_TOKEN)."
    )


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/hostname", "link.txt", "gone.txt"])
def test_a_manifest_cannot_name_files_that_are_not_of_the_result(
    ann: Hub, result: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (result / "link.txt").symlink_to(tmp_path / "secret.txt")
    value = json.loads((result / MANIFEST).read_text())
    value["files"][name] = {"size": 6}
    (result / MANIFEST).write_text(json.dumps(value))

    assert refusal(CheckpointError, ann, result) == (
        f"{MANIFEST} names '{name}', which is no file of out. Merge again."
    )


def test_licences_that_differ_are_chosen_by_a_person(server: HubServer, ann: Hub, result: Path) -> None:
    server.store.repositories["org/b"].disabled = True  # nobody knows its licence any more

    assert refusal(HubRefusalError, ann, result) == (
        "The licence of the result is yours to choose, by those of its models (org/a: mit; org/b: unknown): "
        "add --license NAME."
    )
    send(ann, result, licence="apache-2.0")
    front = yaml.safe_load(contents(server, "ann/merged")["README.md"].decode().split("---\n")[1])
    assert front["license"] == "apache-2.0"


def test_a_card_that_a_person_wrote_is_sent_as_it_is_and_its_licence_stands_in_it(
    server: HubServer, ann: Hub, result: Path
) -> None:
    server.store.repositories["org/b"].disabled = True  # nobody knows its licence any more
    card = "---\nlicense: other\n---\n\n# Mine\n"

    published(ann, result, card=card)

    assert contents(server, "ann/merged")["README.md"].decode() == card


def published(hub: Hub, folder: Path, **wish: Any) -> Pushed:
    return publish(hub, folder, Wish("ann/merged", **wish), report=lambda _: None, is_cancelled=lambda: False)


@pytest.mark.parametrize("card", ["", "# Mine\n", "---\nlicense: mit\n", "---\n- mit\n---\n", "a\n---\nb: 1\n---\n"])
def test_a_card_without_its_block_of_yaml_is_refused_before_anything_is_sent(
    server: HubServer, ann: Hub, result: Path, card: str
) -> None:
    with pytest.raises(HubRefusalError) as caught:
        published(ann, result, card=card)

    assert str(caught.value) == (
        "The card does not begin with a block of YAML between two lines of ---, where its licence and its models "
        "stand. Put it back, or have the card written anew."
    )
    assert "ann/merged" not in server.store.repositories


def test_a_card_whose_yaml_is_none_is_refused_with_the_place(ann: Hub, result: Path) -> None:
    with pytest.raises(
        HubRefusalError, match=r"^The card is not valid YAML at line 2, column 1: the key license stands twice\.$"
    ):
        published(ann, result, card="---\nlicense: mit\nlicense: mit\n---\n")


def test_a_card_that_the_hub_does_not_accept_is_the_cards_fault(server: HubServer, ann: Hub, result: Path) -> None:
    answer = b'{"errors": [{"message": "license must be one of [mit, other]"}], "warnings": []}'
    with server.failing("POST /api/validate-yaml", status=400, body=answer), pytest.raises(HubRefusalError) as caught:
        published(ann, result)

    assert str(caught.value) == (
        "The Hub does not accept the card: Invalid metadata in README.md. - license must be one of [mit, other]. Mend "
        "the block between its lines of ---, or have it written anew."
    )


def test_the_preview_is_the_card_that_is_sent(server: HubServer, ann: Hub, result: Path) -> None:
    previewed = preview_card(ann, result, Wish("ann/merged"))
    assert "ann/merged" not in server.store.repositories

    published(ann, result)
    assert contents(server, "ann/merged")["README.md"].decode() == previewed


def test_a_cancel_while_the_result_is_verified_sends_nothing(server: HubServer, ann: Hub, result: Path) -> None:
    server.asked.clear()
    with pytest.raises(MergeCancelledError) as caught:
        publish(ann, result, Wish("ann/merged"), report=lambda _: None, is_cancelled=lambda: True)

    assert str(caught.value) == "The upload was cancelled before it began."
    assert server.asked == []


def test_offline_nothing_is_pushed(ann: Hub) -> None:
    with pytest.raises(HubRefusalError) as caught:
        read_destination(replace(ann, offline=True), "ann/merged")

    assert str(caught.value) == "The Hub is not asked while HF_HUB_OFFLINE is set. Unset it, then try again."


def test_a_cancel_ends_a_push_at_once(server: HubServer, ann: Hub, result: Path) -> None:
    planned = prepare(ann, result, read_manifest(result), "ann/merged", None)
    begun: list[float] = []

    def is_cancelled() -> bool:
        if any(path.startswith("PUT") for path in server.requests("storage")) and not begun:
            begun.append(time.monotonic())
        return bool(begun)

    with server.failing("PUT /_storage", seconds=20), pytest.raises(MergeCancelledError) as caught:
        push(ann, planned, Destination("ann/merged"), report=lambda _: None, is_cancelled=is_cancelled)

    assert time.monotonic() - begun[0] < 1
    assert str(caught.value) == "The upload was cancelled. Files that are whole stay."
    assert set(contents(server, "ann/merged")) == {".gitattributes"}


_PUSH_BY_XET = """
import sys
from pathlib import Path
from blockmerge.checkpoints.manifest import read_manifest
from blockmerge.hub.client import Hub
from blockmerge.core.wish import Wish
from blockmerge.hub.publish import preview_card, publish
from blockmerge.hub.push import Destination, prepare, push
if __name__ == "__main__":
    endpoint, token, home = sys.argv[1:]
    hub, out = Hub(endpoint, Path(home) / "cache", Path(home) / "kept", token), Path(home) / "out"
    planned = prepare(hub, out, read_manifest(out), "ann/merged", "mit")
    push(hub, planned, Destination("ann/merged"), report=lambda _: None, is_cancelled=lambda: False)
"""


def test_a_result_goes_by_xet_too(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    with running_hub(Store(XetObjects(tmp_path / "objects"))) as server:
        for seed, key in enumerate("ab"):
            server.store.add_folder(f"org/{key}", write_llama(tmp_path / key, seed=seed))
        result = merge_result(server, tmp_path)

        subprocess.run(
            [sys.executable, "-c", _PUSH_BY_XET, server.endpoint, server.store.add_user("ann").token, str(tmp_path)],
            env=child_environment(tmp_path / "home"),
            timeout=120,
            check=True,
        )

        held = contents(server, "ann/merged")
        assert {name: held[name] for name in read_manifest(result).files} == {
            name: (result / name).read_bytes() for name in read_manifest(result).files
        }
        assert any("xet-write-token" in path for path in server.requests())
