"""A model on the Hub is checked by a few kilobytes of it."""

import json
import time
from pathlib import Path

import pytest
import torch

from blockmerge.checkpoints.folder import check_whole, open_checkpoint
from blockmerge.core.hub_reference import HubReference
from blockmerge.core.tensors import Checkpoint
from blockmerge.errors import BlockmergeError, CheckpointError, HubError, SignInError
from blockmerge.hub.client import Hub, look_up
from blockmerge.hub.headers import open_headers
from tests.hub.conftest import hub_of
from tests.hub_server import HubServer
from tests.hub_store import weights_start
from tests.tiny_models import draw, write_llama, write_tokenizer


def opened(hub: Hub, reference: str) -> Checkpoint:
    found = hub.read_reference(reference)
    assert found is not None
    return open_headers(hub, look_up(hub, found))


def refusal(hub: Hub, reference: str, kind: type[BlockmergeError] = CheckpointError) -> str:
    with pytest.raises(kind) as caught:
        opened(hub, reference)
    return str(caught.value)


@pytest.mark.parametrize("name", ["a", "b"])
def test_the_headers_say_the_same_as_the_files_themselves(
    server: HubServer, hub: Hub, tmp_path: Path, name: str
) -> None:
    checkpoint, folder = opened(hub, f"org/{name}"), open_checkpoint(tmp_path / name)

    assert checkpoint.tensors == folder.tensors
    assert checkpoint.header_digest == folder.header_digest
    assert checkpoint.side_files == folder.side_files
    assert checkpoint.vocabulary == folder.vocabulary
    assert [(file.name, file.size) for file in checkpoint.shards] == [(file.name, file.size) for file in folder.shards]
    assert checkpoint.origin == HubReference(f"org/{name}", server.store.repositories[f"org/{name}"].head.oid)
    assert checkpoint.name == f"org/{name}"
    assert server.weights_given == 0


@pytest.fixture
def pair(server: HubServer, tmp_path: Path) -> tuple[str, str]:
    """Two models of thirty shards and 9 MB, of the layout of real ones: a header is a small part of its shard."""
    for seed, name in enumerate(("one", "two")):
        folder = write_llama(tmp_path / name, layers=30, hidden=128, shards=30, seed=seed)
        write_tokenizer(folder)
        server.store.add_folder(f"big/{name}", folder)
    server.asked.clear()
    return "big/one", "big/two"


@pytest.mark.parametrize("gated", [False, True])
def test_a_pair_of_thirty_shards_takes_sixty_eight_requests_wherever_they_go(
    server: HubServer, tmp_path: Path, pair: tuple[str, str], gated: bool
) -> None:
    for name in pair:
        server.store.repositories[name].gated = gated
    ann = hub_of(server, tmp_path, server.store.add_user("ann", "big"))

    for name in pair:
        assert len(opened(ann, name).shards) == 30

    assert len(server.asked) == 68  # index and tokenizer of the second are those of the first
    assert server.weights_given < sum(path.stat().st_size for path in tmp_path.glob("*/*.safetensors")) / 100


def test_a_pair_of_thirty_shards_is_checked_in_five_seconds_at_fifty_milliseconds_a_request(
    server: HubServer, hub: Hub, pair: tuple[str, str]
) -> None:
    server.wire.latency = 0.05

    start = time.monotonic()
    for name in pair:
        opened(hub, name)

    assert time.monotonic() - start < 5


def test_a_hub_that_does_not_tell_where_the_files_lie_is_asked_for_each(
    server: HubServer, hub: Hub, pair: tuple[str, str]
) -> None:
    with server.failing("POST .*/info/lfs/objects/batch", status=404) as asked:
        checkpoint = opened(hub, pair[0])

    assert asked.times < 1_000_000
    assert len(checkpoint.shards) == 30


def test_a_file_that_came_with_another_model_is_not_asked_for_again_and_access_is(
    server: HubServer, tmp_path: Path
) -> None:
    folder = server.store.add_folder("org/copy", tmp_path / "a", gated=True)
    folder.granted.add("ann")
    ann, bob = (hub_of(server, tmp_path, server.store.add_user(name)) for name in ("ann", "bob"))
    first = opened(ann, "org/a")
    server.asked.clear()

    second = opened(ann, "org/copy")

    assert second.vocabulary == first.vocabulary
    assert second.tensors == first.tensors
    assert [path for path in server.requests() if "/resolve/" in path] == [
        f"GET /org/copy/resolve/{folder.head.oid}/config.json"
    ]
    server.store.commit(folder, {"more.txt": b"x"})
    refusal(bob, "org/copy", SignInError)


def test_another_tokenizer_under_the_same_name_is_fetched(server: HubServer, hub: Hub, tmp_path: Path) -> None:
    copy = server.store.add_folder("org/copy", tmp_path / "a")
    changed = (tmp_path / "a" / "tokenizer.json").read_bytes() + b" "
    server.store.commit(copy, {"tokenizer.json": changed})

    checkpoints = [opened(hub, name) for name in ("org/a", "org/copy")]

    assert [len((one.folder / "tokenizer.json").read_bytes()) for one in checkpoints] == [
        len(changed) - 1,
        len(changed),
    ]


def test_a_header_that_is_longer_than_most_is_read_to_its_end(server: HubServer, hub: Hub, tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "long", layers=2, hidden=256, shards=2)
    for path in folder.glob("*.safetensors"):
        content = path.read_bytes()
        begin = weights_start(content)
        header = json.loads(content[8:begin]) | {"__metadata__": {"format": "pt", "notes": "x" * 20_000}}
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + content[begin:])
    server.store.add_folder("org/long", folder)

    assert opened(hub, "org/long").tensors == open_checkpoint(folder).tensors
    assert server.weights_given == 0


def test_a_second_look_asks_only_which_commit_it_is(server: HubServer, hub: Hub) -> None:
    first = opened(hub, "org/a")
    server.asked.clear()

    assert opened(hub, "org/a") == first
    assert server.requests() == ["GET /api/models/org/a?blobs=true"]


def test_a_new_commit_is_seen_and_an_old_one_stays_where_it_is_pinned(server: HubServer, hub: Hub) -> None:
    before = opened(hub, "org/b")
    server.store.commit(server.store.repositories["org/b"], {"generation_config.json": b"{}"})

    after = opened(hub, "org/b")

    assert after.origin != before.origin
    assert "generation_config.json" in [file.name for file in after.side_files]
    assert before.origin is not None
    assert opened(hub, str(before.origin)) == before


def test_only_the_headers_are_not_enough_for_a_merge(hub: Hub) -> None:
    checkpoint = opened(hub, "org/a")

    with pytest.raises(CheckpointError) as caught:
        check_whole(open_checkpoint(checkpoint.folder))
    assert str(caught.value) == (
        f"Of a only the headers are in {checkpoint.folder}. Name it as org/name, or download it."
    )


def test_weights_in_two_formats_are_looked_at_in_one(server: HubServer, hub: Hub) -> None:
    more = {"consolidated.safetensors": b"x" * 5000, "pytorch_model.bin": b"x" * 5000, "model.gguf": b"x" * 5000}
    server.store.commit(server.store.repositories["org/b"], more)

    checkpoint = opened(hub, "org/b")

    assert [shard.name for shard in checkpoint.shards] == ["model.safetensors"]
    assert not any(name in path for path in server.requests() for name in more)


def test_files_that_no_model_needs_are_not_looked_at(server: HubServer, hub: Hub) -> None:
    more = {f"checkpoints/step-{number}/state.json": b"{}" for number in range(300)}
    more |= {"a/b/c/d/deep.json": b"{}", "picture.png": b"x", "train.py": b"x", ".hidden.json": b"{}", "LICENSE": b"x"}
    server.store.commit(server.store.repositories["org/b"], more)

    names = [file.name for file in opened(hub, "org/b").side_files]

    assert "LICENSE" in names
    assert "checkpoints/step-7/state.json" in names
    assert not {"a/b/c/d/deep.json", "picture.png", "train.py", ".hidden.json"} & set(names)
    assert not any("state.json" in path for path in server.requests())


def test_bin_files_are_checked_by_their_ends(server: HubServer, hub: Hub, tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "bin", hidden=64)
    tensors = {name: torch.from_numpy(values) for name, values in draw_llama(folder).items()}
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    server.store.add_folder("old/bin", folder)
    server.asked.clear()

    checkpoint = opened(hub, "old/bin")

    size = (folder / "pytorch_model.bin").stat().st_size
    assert checkpoint.tensors == open_checkpoint(folder).tensors
    assert sum(asked.weights for asked in server.asked) < 2**16 + 20_000 < size


def draw_llama(folder: Path) -> dict[str, object]:
    return dict(draw({name: tensor.shape for name, tensor in open_checkpoint(folder).tensors.items()}, 3))


def test_bin_files_that_are_no_archive_are_named(server: HubServer, hub: Hub, tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "old")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02" + b"x" * 1000)
    server.store.add_folder("old/pickle", folder)

    assert refusal(hub, "old/pickle") == (
        "pytorch_model.bin is in PyTorch's format from before 2020, which cannot be checked before the download. "
        "Download the model with 'hf download', and choose the folder."
    )


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (
            {"README.md": b"x"},
            "org/odd has no config.json. Choose the folder that holds config.json and the weight files.",
        ),
        ({"model_index.json": b"{}"}, "org/odd is an image model (diffusers). Choose a language model."),
        ({"model.gguf": b"x"}, "org/odd has only GGUF files. Use the original weights, in safetensors files."),
        (
            {"config.json": b"{}", "consolidated.safetensors": b"x"},
            "odd has only consolidated.safetensors, which names its tensors in its publisher's own way. "
            "Use the model's files for transformers, model*.safetensors.",
        ),
        ({"config.json": b"{}", "model.safetensors": b""}, "model.safetensors is empty. Download it again."),
        (
            {"config.json": b"[]", "model.safetensors": b""},
            "config.json is not valid: an object in braces was expected, found a list.\n"
            "model.safetensors is empty. Download it again.",
        ),
        (
            {
                "config.json": b"{}",
                "model.safetensors.index.json": b'{"weight_map": {"x": "../../x.safetensors"}}',
                "model-1.safetensors": b"x",
            },
            "The index names a file outside the folder: '../../x.safetensors'. "
            "Use a copy from a source that you trust.",
        ),
        (
            {"config.json": b"{}", "model.safetensors": (2**40).to_bytes(8, "little") + b"{}"},
            "model.safetensors is not a safetensors file: its header would have 1,099,511,627,776 bytes, at most "
            "16,000,000 are read. Download it again.",
        ),
    ],
)
def test_a_repository_that_is_no_model_is_refused_by_the_same_sentences_as_a_folder(
    server: HubServer, hub: Hub, files: dict[str, bytes], sentence: str
) -> None:
    server.store.commit(server.store.create("org/odd"), files)

    assert refusal(hub, "org/odd") == sentence


def test_ten_thousand_files_are_no_trouble_and_too_many_parts_are_refused(server: HubServer, hub: Hub) -> None:
    repository = server.store.repositories["org/b"]
    server.store.commit(repository, {f"logs/{number}.out": b"x" for number in range(10_000)})
    assert len(opened(hub, "org/b").side_files) == 3

    server.store.commit(repository, {f"part-{number}.json": b"{}" for number in range(2000)})
    assert refusal(hub, "org/b") == (
        "org/b has 2,004 files that may belong to a model, at most 2,000 are looked at. Choose another repository."
    )


def test_what_is_kept_is_shown_to_nobody_without_access(server: HubServer, tmp_path: Path) -> None:
    ann, bob = server.store.add_user("ann"), server.store.add_user("bob")
    server.store.add_folder("ann/private", tmp_path / "a", private=True)
    server.store.add_folder("org/gated", tmp_path / "b", gated=True).granted.add("ann")
    for name in ("ann/private", "org/gated"):
        opened(hub_of(server, tmp_path, ann), name)

    nobody, other = hub_of(server, tmp_path), hub_of(server, tmp_path, bob)
    for person in (nobody, other):
        for name in ("ann/private", "org/gated"):
            refusal(person, name, SignInError)
    assert opened(hub_of(server, tmp_path, ann), "org/gated").name == "org/gated"


def test_a_token_of_the_environment_is_not_used_for_somebody_without_one(
    server: HubServer, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", server.store.add_user("ann").token)

    opened(hub, "org/a")

    assert {asked.token for asked in server.asked} == {None}


def test_a_token_goes_to_the_hub_and_not_to_its_storage(server: HubServer, tmp_path: Path) -> None:
    ann = server.store.add_user("ann")

    opened(hub_of(server, tmp_path, ann), "org/a")

    assert {asked.token for asked in server.asked if asked.host == "hub"} == {ann.token}
    assert {asked.token for asked in server.asked if asked.host == "storage"} == {None}
    assert ann.token not in repr(hub_of(server, tmp_path, ann))


def test_an_interrupted_look_leaves_nothing_behind(server: HubServer, hub: Hub) -> None:
    with server.failing("GET /_storage", status=403):
        refusal(hub, "org/a", HubError)

    assert [path for path in hub.kept.rglob("*") if path.is_file()] == []
    assert opened(hub, "org/a").name == "org/a"
