"""Weights come once, whole, and only for those who may have them."""

import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from blockmerge.checkpoints.folder import open_checkpoint
from blockmerge.checkpoints.models import open_models
from blockmerge.core.progress import Progress, Stage
from blockmerge.core.tensors import Checkpoint
from blockmerge.errors import HubError, HubRefusalError, MergeCancelledError, SignInError, StorageError
from blockmerge.hub.client import Hub
from blockmerge.hub.download import check_space, plan_download, repository_folder
from blockmerge.hub.sources import opener, with_weights
from tests.engine.test_token_rows import A_TOKENS, B_TOKENS, write_words
from tests.hub.conftest import hub_of
from tests.hub.test_xet import child_environment
from tests.hub_server import HubServer, running_hub
from tests.hub_store import Store, weights_start
from tests.hub_xet import XetObjects
from tests.tiny_models import write_llama


def look(hub: Hub, *names: str) -> Mapping[str, Checkpoint]:
    return open_models({name: name for name in names or ("org/a", "org/b")}, opener(hub))


def fetch(hub: Hub, *names: str) -> Mapping[str, Checkpoint]:
    return with_weights(look(hub, *names), hub, report=lambda _: None, is_cancelled=lambda: False)


def test_a_pair_is_downloaded_byte_for_byte_with_progress_in_bytes(server: HubServer, hub: Hub, tmp_path: Path) -> None:
    reports: list[Progress] = []
    known = look(hub)

    fetched = with_weights(known, hub, report=reports.append, is_cancelled=lambda: False)

    for name in ("a", "b"):
        checkpoint = fetched[f"org/{name}"]
        assert not checkpoint.is_headers_only
        assert checkpoint.tensors == known[f"org/{name}"].tensors
        assert checkpoint.origin == known[f"org/{name}"].origin
        assert checkpoint.side_files == known[f"org/{name}"].side_files
        for file in (tmp_path / name).iterdir():
            assert (checkpoint.folder / file.name).read_bytes() == file.read_bytes()
    total = sum(file.stat().st_size for name in "ab" for file in (tmp_path / name).iterdir())
    assert {(report.stage, report.total) for report in reports} == {(Stage.DOWNLOAD, total)}
    done = [report.done for report in reports]
    assert done == sorted(done)
    assert done[-1] == total


def test_progress_moves_within_one_file(server: HubServer, hub: Hub, tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "large", layers=1, hidden=512)
    server.store.add_folder("org/large", folder)
    known = look(hub, "org/large")
    server.wire.bandwidth = 10_000_000  # bytes per second; the file has five million
    reports: list[Progress] = []

    with_weights(known, hub, report=reports.append, is_cancelled=lambda: False)

    total = sum(file.stat().st_size for file in folder.iterdir())
    others = total - (folder / "model.safetensors").stat().st_size
    within = {report.done for report in reports if others < report.done < total}
    assert len(within) >= 4, within


def test_a_download_does_not_change_which_rows_belong_together(server: HubServer, hub: Hub, tmp_path: Path) -> None:
    for name, tokens in (("a", A_TOKENS), ("b", B_TOKENS)):
        write_words(write_llama(tmp_path / "words" / name, vocab=len(tokens)), tokens)
        server.store.add_folder(f"words/{name}", tmp_path / "words" / name)
    known = look(hub, "words/a", "words/b")

    fetched = with_weights(known, hub, report=lambda _: None, is_cancelled=lambda: False)

    assert len(known["words/b"].vocabulary.tokens) == len(B_TOKENS)
    for name, held in known.items():
        assert fetched[name].vocabulary == held.vocabulary


def test_what_is_here_is_not_fetched_again(server: HubServer, hub: Hub) -> None:
    first = fetch(hub, "org/a")
    given = server.weights_given

    again = fetch(hub, "org/a")

    assert again == first
    assert server.weights_given == given


def test_after_a_failure_only_the_files_that_are_missing_are_fetched(server: HubServer, hub: Hub) -> None:
    files = server.store.repositories["org/a"].head.files
    second = files["model-00002-of-00002.safetensors"].sha256
    look(hub, "org/a")
    with server.failing(f"GET /_storage/{second}", status=403, seconds=1.5), pytest.raises(HubError):
        fetch(hub, "org/a")
    server.asked.clear()

    fetch(hub, "org/a")

    content = server.store.objects.get(second or "")
    assert server.weights_given == len(content) - weights_start(content)


def test_only_files_that_the_model_needs_are_fetched(server: HubServer, hub: Hub) -> None:
    more = {"consolidated.safetensors": b"x" * 5000, "pytorch_model.bin": b"x" * 5000, "x.gguf": b"x", "run.py": b"x"}
    server.store.commit(server.store.repositories["org/b"], more)

    folder = fetch(hub, "org/b")["org/b"].folder

    names = {path.name for path in folder.iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


def test_a_cancel_ends_the_download_within_a_second_and_leaves_no_half_file(server: HubServer, hub: Hub) -> None:
    known = look(hub, "org/a")
    server.wire.bandwidth = 10_000  # bytes per second: the whole would take four seconds
    begun: list[float] = []

    def is_cancelled() -> bool:
        if any("/_storage" in path for path in server.requests("storage")) and not begun:
            begun.append(time.monotonic())
        return bool(begun)

    server.asked.clear()
    with pytest.raises(MergeCancelledError) as caught:
        with_weights(known, hub, report=lambda _: None, is_cancelled=is_cancelled)

    assert time.monotonic() - begun[0] < 1
    assert str(caught.value) == "The download was cancelled. Files that are whole stay."
    assert known["org/a"].origin is not None
    assert list(repository_folder(hub, known["org/a"].origin).rglob("*.incomplete")) == []


def test_a_download_that_does_not_fit_is_refused_before_it_begins(server: HubServer, hub: Hub, tmp_path: Path) -> None:
    wanted = [plan_download(hub, held) for held in look(hub).values()]
    huge = [replace(one, missing={"model.safetensors": 10**15}) for one in wanted]

    with pytest.raises(StorageError) as caught:
        check_space(hub, huge)
    assert str(caught.value).startswith("The download needs 2000 TB, and 64.0 MB should stay free; ")
    assert str(caught.value).endswith("Free some space, or set HF_HOME to a folder on another disk.")
    with pytest.raises(StorageError) as caught:
        check_space(hub, wanted, 10**15, tmp_path / "out")
    assert str(caught.value).startswith("The download needs 1000 TB with the result, and ")
    check_space(hub, [], 10**15, tmp_path / "out")


def test_the_second_of_two_people_does_not_get_what_the_first_downloaded(server: HubServer, tmp_path: Path) -> None:
    ann, bob = (hub_of(server, tmp_path, server.store.add_user(name)) for name in ("ann", "bob"))
    server.store.add_folder("ann/private", tmp_path / "a", private=True)
    server.store.add_folder("org/gated", tmp_path / "b", gated=True).granted.add("ann")
    names = ("ann/private", "org/gated")
    assert fetch(ann, *names).keys() == set(names)

    for name in names:
        with pytest.raises(SignInError):
            fetch(bob, name)
        with pytest.raises(SignInError):
            fetch(hub_of(server, tmp_path), name)


def test_no_token_of_the_environment_goes_along(server: HubServer, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", server.store.add_user("ann").token)

    fetch(hub, "org/a")

    assert {asked.token for asked in server.asked} == {None}


def test_offline_a_model_is_opened_as_it_was_downloaded(server: HubServer, hub: Hub, tmp_path: Path) -> None:
    online = fetch(hub, "org/a")["org/a"]
    offline = replace(hub, offline=True)
    server.asked.clear()

    assert look(offline, str(online.origin)) == {str(online.origin): online}
    assert look(offline, "org/a") == {"org/a": online}
    assert server.asked == []
    with pytest.raises(HubRefusalError) as caught:
        look(offline, "org/b")
    assert str(caught.value) == (
        "models.org/b: org/b is not on this machine as a whole, and the Hub is not asked (HF_HUB_OFFLINE): unset "
        "HF_HUB_OFFLINE and download it first."
    )


def test_a_folder_wins_over_a_repository_of_its_name(
    server: HubServer, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_llama(tmp_path / "here" / "org" / "a")
    monkeypatch.chdir(tmp_path / "here")
    server.asked.clear()

    assert look(hub, "org/a")["org/a"].origin is None
    assert server.asked == []


_FETCH_BY_XET = """
import sys
from pathlib import Path
from blockmerge.checkpoints.models import open_models
from blockmerge.hub.client import Hub
from blockmerge.hub.sources import opener, with_weights
if __name__ == "__main__":
    hub = Hub(sys.argv[1], Path(sys.argv[2]) / "cache", Path(sys.argv[2]) / "kept")
    known = open_models({"a": "org/a"}, opener(hub))
    print(with_weights(known, hub, report=lambda _: None, is_cancelled=lambda: False)["a"].folder)
"""


def test_weights_come_by_xet_too(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "a", shards=2)
    (tmp_path / "objects").mkdir()
    with running_hub(Store(XetObjects(tmp_path / "objects"))) as server:
        server.store.add_folder("org/a", folder)

        done = subprocess.run(
            [sys.executable, "-c", _FETCH_BY_XET, server.endpoint, str(tmp_path)],
            env=child_environment(tmp_path / "home"),
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )

        found = open_checkpoint(Path(done.stdout.strip()))
        assert [(found.folder / path.name).read_bytes() for path in sorted(folder.iterdir())] == [
            path.read_bytes() for path in sorted(folder.iterdir())
        ]
        assert any("xet-read-token" in path for path in server.requests())
