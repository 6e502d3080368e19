"""The Hub on loopback, as the real client sees it: only what holds there says anything about the product's tests."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import get_session

from tests.demo_hub import demo_store
from tests.hub_server import HubServer, running_hub
from tests.hub_store import weights_start
from tests.tiny_models import write_llama


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    with running_hub() as server:
        server.store.add_folder("org/a", write_llama(tmp_path / "a", shards=2))
        yield server


def api_of(hub: HubServer, user: str | None = None, role: str = "write") -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=hub.store.add_user(user, role=role).token if user else False)


def test_a_model_is_downloaded_byte_for_byte(hub: HubServer, tmp_path: Path) -> None:
    found = api_of(hub).snapshot_download("org/a", cache_dir=tmp_path / "cache")

    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert [(Path(found) / name).read_bytes() for name in names] == [
        (tmp_path / "a" / name).read_bytes() for name in names
    ]
    assert hub.weights_given == sum(
        len(content) - weights_start(content)
        for content in (path.read_bytes() for path in (tmp_path / "a").glob("*.safetensors"))
    )


def test_headers_are_read_without_a_byte_of_weights(hub: HubServer) -> None:
    shard = "model-00001-of-00002.safetensors"
    info = api_of(hub).model_info("org/a", files_metadata=True)
    size = next(file.size for file in info.siblings or [] if file.rfilename == shard)
    header = weights_start(hub.store.content(hub.store.repositories["org/a"].head.files[shard]))
    assert size is not None
    assert size > header

    url = f"{hub.endpoint}/org/a/resolve/{info.sha}/{shard}"
    answer = get_session().get(url, headers={"Range": f"bytes=0-{header - 1}"})

    assert (answer.status_code, len(answer.content)) == (206, header)
    assert hub.weights_given == 0


def test_a_commit_shows_its_files_only_when_it_is_whole(hub: HubServer) -> None:
    api, content = api_of(hub, "ann"), b"x" * 1000
    api.create_repo("ann/new", private=True)
    large = CommitOperationAdd("model.safetensors", content)
    api.preupload_lfs_files("ann/new", [large])
    assert set(hub.store.repositories["ann/new"].head.files) == {".gitattributes"}

    api.create_commit("ann/new", [large, CommitOperationAdd("config.json", b"{}")], commit_message="merge")

    files = hub.store.repositories["ann/new"].head.files
    assert set(files) == {".gitattributes", "model.safetensors", "config.json"}
    assert files["model.safetensors"].sha256 == hashlib.sha256(content).hexdigest()
    assert hub.store.repositories["ann/new"].private


def test_a_pull_request_leaves_the_main_branch_as_it_is(hub: HubServer) -> None:
    before = hub.store.repositories["org/a"].head

    commit = api_of(hub, "ann").create_commit(
        "org/a", [CommitOperationAdd("x.txt", b"x")], commit_message="more", create_pr=True
    )

    assert commit.pr_revision == "refs/pr/1"
    assert hub.store.repositories["org/a"].head == before
    assert "x.txt" in hub.store.repositories["org/a"].at("refs/pr/1").files


def test_a_commit_after_another_one_is_refused(hub: HubServer) -> None:
    api = api_of(hub, "ann")
    api.create_repo("ann/new")
    parent = hub.store.repositories["ann/new"].head.oid
    api.create_commit("ann/new", [CommitOperationAdd("x.txt", b"x")], commit_message="first")

    with pytest.raises(HfHubHTTPError, match="412"):
        api.create_commit("ann/new", [CommitOperationAdd("y.txt", b"y")], commit_message="second", parent_commit=parent)


def test_whoever_may_not_see_a_repository_is_told_that_there_is_none(hub: HubServer, tmp_path: Path) -> None:
    hub.store.add_folder("ann/private", tmp_path / "a", private=True)
    hub.store.add_folder("org/gated", tmp_path / "a", gated=True)

    for name in ("ann/private", "org/none"):
        with pytest.raises(RepositoryNotFoundError):
            api_of(hub, "bob").model_info(name)
    with pytest.raises(GatedRepoError):
        api_of(hub, "bob").auth_check("org/gated")
    with pytest.raises(RevisionNotFoundError):
        api_of(hub).model_info("org/a", revision="v2")
    assert api_of(hub, "ann").model_info("ann/private").private
    assert api_of(hub, "bob").model_info("org/gated").gated == "manual"


def test_a_token_that_only_reads_does_not_write(hub: HubServer) -> None:
    with pytest.raises(HfHubHTTPError, match="403"):
        api_of(hub, "ann", role="read").create_repo("ann/new")


def test_no_token_arrives_at_the_storage(hub: HubServer, tmp_path: Path) -> None:
    api_of(hub, "ann").snapshot_download("org/a", cache_dir=tmp_path / "cache")

    assert {asked.token for asked in hub.asked if asked.host == "storage"} == {None}
    assert None not in {asked.token for asked in hub.asked if asked.host == "hub"}


def test_a_cut_connection_is_asked_again(hub: HubServer, tmp_path: Path) -> None:
    with hub.failing("GET /_storage", times=1, cut_after=5000):
        found = api_of(hub).snapshot_download("org/a", cache_dir=tmp_path / "cache")

    for path in (tmp_path / "a").iterdir():
        assert (Path(found) / path.name).read_bytes() == path.read_bytes()
    assert len([asked for asked in hub.asked if asked.method == "GET" and asked.host == "storage"]) == 3


def test_a_fault_answers_for_as_long_as_it_is_there(hub: HubServer) -> None:
    with hub.failing("GET /api/models/org/a", status=403, body=b"no"), pytest.raises(HfHubHTTPError, match="403"):
        api_of(hub).model_info("org/a")

    assert api_of(hub).model_info("org/a").id == "org/a"


def test_the_demo_offers_the_example_pair(tmp_path: Path) -> None:
    with running_hub(demo_store()) as hub:
        [user] = hub.store.users.values()
        api = HfApi(endpoint=hub.endpoint, token=user.token)

        assert [model.id for model in api.list_models(search="demo/")] == ["demo/lowercase", "demo/capitals"]
        assert api.model_info("demo/capitals").card_data["license"] == "apache-2.0"  # type: ignore[index]
        assert api.whoami()["name"] == "demo"
