"""Low-disk mode: from the Hub to the Hub, shard by shard, with nothing whole on this machine."""

import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from blockmerge.checkpoints.manifest import MANIFEST
from blockmerge.checkpoints.models import open_models
from blockmerge.core.plan import Plan, make_plan
from blockmerge.core.recipe import parse_recipe
from blockmerge.core.wish import Wish
from blockmerge.engine.by_shard import Merged, check_room
from blockmerge.engine.journal import read_sent
from blockmerge.engine.merge import carry_out
from blockmerge.engine.target import Target
from blockmerge.errors import BlockmergeError, HubError, HubRefusalError, MergePausedError, SignInError, StorageError
from blockmerge.hub.client import Hub
from blockmerge.hub.push import Pushed
from blockmerge.hub.sources import opener, with_weights
from blockmerge.jobs.straight import merge_to_hub, part_target
from tests.engine.test_token_rows import A_TOKENS, B_TOKENS, write_words
from tests.hub.conftest import hub_of
from tests.hub.test_commands import Terminal
from tests.hub_server import HubServer, running_hub
from tests.hub_store import Store
from tests.hub_xet import XetObjects
from tests.tiny_models import write_llama, write_tokenizer

TO = "ann/merged"
PART = "ann--merged.partial"
SHARD = 8 * 10**6  # bytes
NEVER = lambda: False  # noqa: E731


@pytest.fixture
def ann(server: HubServer, tmp_path: Path) -> Hub:
    return hub_of(server, tmp_path, server.store.add_user("ann"))


@pytest.fixture
def large(server: HubServer, tmp_path: Path) -> HubServer:
    """`org/large-a` in three files and `org/large-b` in one, of 30 MB each."""
    for seed, (name, shards) in enumerate((("large-a", 3), ("large-b", 1))):
        folder = write_llama(tmp_path / name, layers=6, hidden=512, vocab=1024, seed=seed, shards=shards)
        write_tokenizer(folder, vocab=1024)
        server.store.add_folder(f"org/{name}", folder)
    server.asked.clear()
    return server


def recipe(a: str = "org/a", b: str = "org/b", **keys: Any) -> dict[str, Any]:
    return {"blockmerge": 1, "models": {"a": a, "b": b}, "weights": {"layers": 0.5}, **keys}


def planned(hub: Hub, value: Mapping[str, Any]) -> Plan:
    parsed = parse_recipe(yaml.safe_dump(dict(value), sort_keys=False))
    return make_plan(parsed, open_models(parsed.references, opener(hub)))


def straight(hub: Hub, plan: Plan, output: Path, **keys: Any) -> tuple[Pushed, Merged]:
    wish = Wish(TO, "mit", **{key: value for key, value in keys.items() if key != "is_paused"})
    paused = keys.get("is_paused", NEVER)
    return merge_to_hub(plan, hub, wish, part_target(output, TO), report=lambda _: None, is_paused=paused)


def in_folder(hub: Hub, plan: Plan, out: Path) -> str:
    """The digest of the same merge in the normal mode, which downloads the models."""
    whole = with_weights(plan.checkpoints, hub, report=lambda _: None, is_cancelled=NEVER)
    made = make_plan(plan.recipe, whole)
    return carry_out(made, Target(out), report=lambda _: None, is_cancelled=NEVER).digest


def read_by(plan: Plan) -> int:
    """The bytes of weights that a plan needs."""
    return sum(source.tensor.nbytes for step in plan.steps for source in step.inputs)


def published(server: HubServer) -> dict[str, bytes]:
    return {name: server.store.content(file) for name, file in server.store.repositories[TO].head.files.items()}


def uploads(server: HubServer) -> list[str]:
    return [asked for asked in server.requests("storage") if asked.startswith("PUT")]


@contextmanager
def watched(*folders: Path) -> Iterator[list[int]]:
    """The most bytes that the folders took on the disk together, looked at without a pause."""
    most, stop = [0], threading.Event()

    def look() -> None:
        while not stop.is_set():
            most[0] = max(most[0], sum(map(_taken, folders)))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        stop.set()
        thread.join()


def _taken(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(root, name).lstat().st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def test_the_result_is_that_of_the_normal_mode_and_takes_little_disk_and_few_bytes(
    large: HubServer, ann: Hub, tmp_path: Path
) -> None:
    value = recipe("org/large-a", "org/large-b", output={"shard_size": SHARD})
    plan = planned(ann, value)
    before = _taken(ann.kept)

    with watched(tmp_path / "output", ann.kept) as most:
        pushed, merged = straight(ann, plan, tmp_path / "output")

    assert len(plan.shards) >= 4
    assert large.weights_given <= 1.02 * read_by(plan)
    assert most[0] - before <= 2 * max(shard.nbytes for shard in plan.shards) + 10**6
    assert not (tmp_path / "output").exists()
    assert not ann.cache.exists()
    repository = large.store.repositories[TO]
    assert (pushed.is_new, pushed.is_private, repository.private) == (True, True, True)
    assert len(repository.commits) == 2  # the empty repository, and all of the result
    assert merged.digest == in_folder(ann, plan, tmp_path / "out")
    held = published(large)
    normal = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert {name: held[name] for name in normal} == normal


def test_of_blocks_that_come_whole_from_one_parent_only_that_one_is_read(
    server: HubServer, ann: Hub, tmp_path: Path
) -> None:
    plan = planned(ann, recipe(weights={"layers": [0, 1, 0, 1]}, output={"shard_size": 10**7}))
    server.asked.clear()

    straight(ann, plan, tmp_path / "output")

    assert read_by(plan) == plan.nbytes
    assert server.weights_given <= 1.02 * plan.nbytes


@pytest.mark.parametrize("method", ["slerp", "nuslerp", "model_stock"])
def test_methods_of_several_passes_give_the_same_result(
    server: HubServer, ann: Hub, tmp_path: Path, method: str
) -> None:
    base = {"base": "org/base"} if method == "model_stock" else {}
    write_tokenizer(write_llama(tmp_path / "base", seed=2))
    server.store.add_folder("org/base", tmp_path / "base")
    plan = planned(ann, {**recipe(), **base, "method": method})
    server.asked.clear()

    _, merged = straight(ann, plan, tmp_path / "output")

    assert server.weights_given <= 1.02 * read_by(plan)
    assert merged.digest == in_folder(ann, plan, tmp_path / "out")


def test_rows_that_are_matched_by_token_are_the_same(server: HubServer, ann: Hub, tmp_path: Path) -> None:
    for seed, (name, tokens) in enumerate((("a", A_TOKENS), ("b", B_TOKENS))):
        write_words(write_llama(tmp_path / "words" / name, vocab=len(tokens), seed=seed), tokens)
        server.store.add_folder(f"org/words-{name}", tmp_path / "words" / name)
    plan = planned(ann, recipe("org/words-a", "org/words-b"))
    server.asked.clear()

    _, merged = straight(ann, plan, tmp_path / "output")

    assert any(step.rows for step in plan.steps)
    assert server.weights_given <= 1.02 * read_by(plan)
    assert merged.digest == in_folder(ann, plan, tmp_path / "out")


def test_what_only_weights_can_tell_is_seen_before_the_merge(server: HubServer, ann: Hub, tmp_path: Path) -> None:
    """The configs say that the head is a copy of the embeddings, and the files hold another one."""
    for seed, name in enumerate("ab"):
        folder = write_llama(tmp_path / "untied" / name, seed=seed)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
        server.store.add_folder(f"org/untied-{name}", folder)
    plan = planned(ann, recipe("org/untied-a", "org/untied-b", weights={"layers": 0.5, "embeddings": 0.25}))

    _, merged = straight(ann, plan, tmp_path / "output")

    weights = {step.name: step.weight for step in plan.steps}
    assert weights["lm_head.weight"] == weights["model.embed_tokens.weight"]  # as far as headers tell
    assert merged.digest == in_folder(ann, plan, tmp_path / "out")


def test_a_token_that_expires_meanwhile_costs_nothing_of_what_is_finished(
    server: HubServer, ann: Hub, tmp_path: Path
) -> None:
    plan = planned(ann, recipe())
    with server.failing("POST .*/commit/", status=401), pytest.raises(SignInError) as caught:
        straight(ann, plan, tmp_path / "output")
    assert str(caught.value).startswith(
        "The Hub does not accept this token: it is wrong, or has expired. Sign in again"
    )
    server.asked.clear()

    straight(ann, plan, tmp_path / "output")

    assert (server.weights_given, uploads(server)) == (0, [])


def test_a_model_of_this_machine_and_one_that_is_downloaded_are_read_where_they_are(
    server: HubServer, ann: Hub, tmp_path: Path
) -> None:
    plan = planned(ann, recipe(a=str(tmp_path / "a")))
    expected = in_folder(ann, plan, tmp_path / "out")  # which downloads B
    server.asked.clear()

    _, merged = straight(ann, plan, tmp_path / "output")

    assert merged.digest == expected
    assert server.weights_given == 0
    assert (
        straight(hub_of(server, tmp_path / "other", user_of(server)), plan, tmp_path / "output")[1].digest == expected
    )
    assert 0 < server.weights_given <= 1.02 * plan.nbytes


def user_of(server: HubServer) -> Any:
    return next(user for user in server.store.users.values() if user.name == "ann")


def test_a_failure_in_the_middle_shows_nothing_and_the_next_call_goes_on(
    large: HubServer, ann: Hub, tmp_path: Path
) -> None:
    value = recipe("org/large-a", "org/large-b", output={"shard_size": SHARD})
    plan = planned(ann, value)
    with large.failing("PUT /_storage", status=403, after=2), pytest.raises(HubError) as caught:
        straight(ann, plan, tmp_path / "output")
    assert str(caught.value) == "The storage of the Hub refused a file (status 403). Try again; what was moved stays."
    part = tmp_path / "output" / PART
    assert list(published(large)) == [".gitattributes"]
    assert len(read_sent(part)) == 2
    assert [path.name for path in part.glob("*.safetensors")] == [plan.shards[2].name]
    first, sent = large.weights_given, uploads(large)
    large.asked.clear()

    _, merged = straight(ann, planned(ann, value), tmp_path / "output")

    assert first + large.weights_given <= 1.02 * read_by(plan)
    assert len(uploads(large)) == len(plan.shards) - 2
    assert not set(uploads(large)) & set(sent[:2])
    assert len(large.store.repositories[TO].commits) == 2
    assert not part.exists()
    assert merged.digest == in_folder(ann, plan, tmp_path / "out")


def test_a_killed_merge_goes_on_where_it_was(large: HubServer, tmp_path: Path) -> None:
    terminal = Terminal(large, tmp_path, large.store.add_user("ann").token)
    value = recipe("org/large-a", "org/large-b", output={"shard_size": SHARD})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(value, sort_keys=False))
    arguments = ("merge", "recipe.yaml", "--to", TO, "--license", "mit", "--json")
    with large.failing("PUT /_storage", seconds=0.5), terminal.start(*arguments) as process:
        while len(uploads(large)) < 2:
            assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
    sent = read_sent(tmp_path / "output" / PART)
    first = large.weights_given
    assert sent
    assert set(published(large)) == {".gitattributes"}
    large.asked.clear()

    told = json.loads(terminal.printed(*arguments))

    head = large.store.repositories[TO].head
    assert told["address"] == f"{large.endpoint}/{TO}/commit/{head.oid}"
    assert (told["commit"], told["repository"], told["is_private"]) == (head.oid, TO, True)
    assert told["digest"] == json.loads(published(large)[MANIFEST])["result_digest"]
    assert not [path for path in uploads(large) if sent[0].sha256 in path]
    assert first + large.weights_given <= 1.02 * 2 * told["bytes"] + 2 * SHARD  # at most one unit is fetched again
    assert list((tmp_path / "output").iterdir()) == []


def test_ctrl_c_stops_at_once_and_says_that_it_goes_on(large: HubServer, tmp_path: Path) -> None:
    user = large.store.add_user("ann")
    terminal = Terminal(large, tmp_path, user.token)
    value = recipe("org/large-a", "org/large-b", output={"shard_size": SHARD})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(value, sort_keys=False))
    with (
        large.failing("PUT /_storage", seconds=20, after=1),
        terminal.start("merge", "recipe.yaml", "--to", TO, "--license", "mit") as process,
    ):
        while len(uploads(large)) < 2:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=10)

    assert (process.returncode, told) == (
        1,
        "The merge was stopped. Started again, it goes on from what is finished.\n",
    )
    assert len(read_sent(tmp_path / "output" / PART)) == 1
    texts = [path.read_bytes() for path in tmp_path.glob("output/*/*") if path.is_file()]
    assert not any(user.token.encode() in text for text in texts)


def test_a_shard_that_the_hub_has_forgotten_is_merged_again(server: HubServer, ann: Hub, tmp_path: Path) -> None:
    plan = planned(ann, recipe())
    with server.failing("POST .*/commit", status=500), pytest.raises(HubError):
        straight(ann, plan, tmp_path / "output")
    [sent] = read_sent(tmp_path / "output" / PART)
    server.store.objects.forget(sent.sha256)  # type: ignore[attr-defined] - kept in memory here
    server.asked.clear()

    straight(ann, plan, tmp_path / "output")

    assert len(uploads(server)) == 1
    assert published(server)["model.safetensors"]


def test_somebody_elses_commit_meanwhile_changes_nothing_and_the_next_call_is_on_top_of_it(
    server: HubServer, ann: Hub, tmp_path: Path
) -> None:
    plan = planned(ann, recipe())
    repository = server.store.create(TO)
    reports: list[str] = []

    def report(progress: Any) -> None:
        if not reports and progress.stage == "upload":
            reports.append("")
            server.store.commit(repository, {"notes.txt": b"mine"})

    target = part_target(tmp_path / "output", TO)
    with pytest.raises(HubError, match=r"^Somebody changed ann/merged meanwhile, so nothing was changed\."):
        merge_to_hub(plan, ann, Wish(TO, "mit"), target, report=report, is_paused=NEVER)
    assert set(published(server)) == {".gitattributes", "notes.txt"}
    server.asked.clear()

    pushed, _ = straight(ann, plan, tmp_path / "output")

    assert not pushed.is_new
    assert server.weights_given == 0
    assert {"notes.txt", "model.safetensors"} <= set(published(server))


def test_a_commit_whose_answer_was_lost_is_not_made_twice(server: HubServer, ann: Hub, tmp_path: Path) -> None:
    plan = planned(ann, recipe())
    with (
        server.failing("POST .*/commit", cut_after=1),
        pytest.raises(HubError, match="The connection to the Hub was cut"),
    ):
        straight(ann, plan, tmp_path / "output")
    head = server.store.repositories[TO].head
    assert "model.safetensors" in head.files

    assert straight(ann, plan, tmp_path / "output")[0].commit == head.oid


def test_a_pull_request_changes_nothing_until_it_is_accepted(server: HubServer, ann: Hub, tmp_path: Path) -> None:
    server.store.create("team/model")
    wish = Wish("team/model", "mit", as_pull_request=True)

    pushed, _ = merge_to_hub(
        planned(ann, recipe()),
        ann,
        wish,
        part_target(tmp_path / "output", wish.repository),
        report=lambda _: None,
        is_paused=NEVER,
    )

    repository = server.store.repositories["team/model"]
    assert pushed.address == f"{server.endpoint}/team/model/discussions/1"
    assert set(repository.head.files) == {".gitattributes"}
    assert "model.safetensors" in repository.at("refs/pr/1").files


def test_over_xet_it_is_the_same_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    with running_hub(Store(XetObjects(tmp_path / "objects"))) as hub:
        for seed, name in enumerate("ab"):
            hub.store.add_folder(f"org/{name}", write_llama(tmp_path / name, seed=seed, shards=2))
        terminal = Terminal(hub, tmp_path, hub.store.add_user("ann").token, HF_HUB_DISABLE_XET="0")
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe(), sort_keys=False))
        arguments = ("merge", "recipe.yaml", "--to", TO, "--license", "mit", "--json")
        with hub.failing("POST .*/commit/", status=500):
            assert terminal.run(*arguments)[0] == 1
        assert any("xet-write-token" in asked for asked in hub.requests())
        hub.asked.clear()

        told = json.loads(terminal.printed(*arguments))

        assert not any("xet-write-token" in asked for asked in hub.requests())
        assert uploads(hub) == []
        expected = json.loads(terminal.printed("merge", "recipe.yaml", "--out", "out", "--json"))
        assert told["digest"] == expected["digest"]
        assert published(hub)["model.safetensors"] == (tmp_path / "out" / "model.safetensors").read_bytes()


def refusal(kind: type[BlockmergeError], hub: Hub, plan: Plan, output: Path, wish: Wish) -> str:
    with pytest.raises(kind) as caught:
        merge_to_hub(plan, hub, wish, part_target(output, wish.repository), report=lambda _: None, is_paused=NEVER)
    assert not output.exists()
    return str(caught.value)


def test_what_the_hub_would_refuse_is_refused_before_a_byte_of_weights(
    server: HubServer, ann: Hub, tmp_path: Path
) -> None:
    plan, output = planned(ann, recipe()), tmp_path / "output"
    server.store.create("team/model")
    server.store.commit(server.store.create("ann/other"), {"pytorch_model.bin": b"old"})

    assert refusal(SignInError, ann, plan, output, Wish("team/model", "mit")) == (
        "This token may not write to team/model: You don't have the required permissions to perform this action. Use "
        "a token with write access, another name, or, where the repository exists, a pull request."
    )
    assert refusal(HubRefusalError, ann, plan, output, Wish("ann/other", "mit")) == (
        "ann/other holds 'pytorch_model.bin', which this result would not replace. Push to a new repository, or delete "
        "them on the Hub."
    )
    assert refusal(HubRefusalError, ann, plan, output, Wish(TO)) == (
        "The licence of the result is yours to choose, by those of its models (org/a: unknown; org/b: unknown): add "
        "--license NAME."
    )
    nobody = hub_of(server, tmp_path)
    assert refusal(SignInError, nobody, plan, output, Wish(TO, "mit")).startswith("Only people who are signed in may ")
    assert server.weights_given == 0
    assert TO not in server.store.repositories


def test_a_repository_that_takes_no_large_files_gets_none(server: HubServer, ann: Hub, tmp_path: Path) -> None:
    server.store.commit(server.store.create(TO), {".gitignore": b"model.safetensors"})

    with pytest.raises(HubRefusalError) as caught:
        straight(ann, planned(ann, recipe()), tmp_path / "output")

    assert str(caught.value) == (
        "ann/merged does not take model.safetensors as a large file: its .gitattributes or .gitignore says so. Use a "
        "new repository, or merge into a folder with --out and push that."
    )


def test_another_recipe_does_not_go_on_from_what_is_left(server: HubServer, ann: Hub, tmp_path: Path) -> None:
    with server.failing("POST .*/commit", status=500), pytest.raises(HubError):
        straight(ann, planned(ann, recipe()), tmp_path / "output")

    with pytest.raises(BlockmergeError, match="is left from a merge that did not finish with other models, another"):
        straight(ann, planned(ann, recipe(weights={"layers": 0.25})), tmp_path / "output")


def test_a_disk_without_room_for_the_largest_shard_is_told(server: HubServer, ann: Hub, tmp_path: Path) -> None:
    plan = planned(ann, recipe())
    unit = type("Unit", (), {"number": 0})

    with pytest.raises(StorageError) as caught:
        check_room(plan, {"model.safetensors": [unit]}, {0: 10**18}, tmp_path / "output" / "x.partial")  # type: ignore[list-item]

    assert str(caught.value).startswith("The largest shard and what it is merged from need 1")
    assert str(caught.value).endswith(
        f"is free at {tmp_path}. Free some space, write a smaller shard_size under output, or set BLOCKMERGE_OUTPUT to "
        "a folder on another disk."
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "Say where to: --out DIR (with --overwrite to replace it), or --to ORG/NAME on the Hub.\n"),
        (
            ("--out", "x", "--to", TO),
            "Say where to: --out DIR (with --overwrite to replace it), or --to ORG/NAME on the Hub.\n",
        ),
        (
            ("--out", "x", "--public"),
            "--public, --pull-request, --license and --card are of a merge --to ORG/NAME, or of push.\n",
        ),
        (("--to", "nowhere"), "'nowhere' is no place on the Hub. Give one as ORG/NAME.\n"),
    ],
)
def test_options_that_do_not_go_together_are_told(
    server: HubServer, tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe()))

    assert Terminal(server, tmp_path).run("merge", "recipe.yaml", *options) == (2, "", sentence)


def test_a_pause_between_two_shards_keeps_what_is_finished(large: HubServer, ann: Hub, tmp_path: Path) -> None:
    plan = planned(ann, recipe("org/large-a", "org/large-b", output={"shard_size": SHARD}))
    part = tmp_path / "output" / PART

    with pytest.raises(MergePausedError):
        straight(ann, plan, tmp_path / "output", is_paused=lambda: bool(read_sent(part)))

    assert len(read_sent(part)) == 1
