"""Jobs whose models are on the Hub: real workers, and the real client."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from blockmerge.checkpoints.models import open_models
from blockmerge.hub.client import Hub
from blockmerge.hub.sources import opener, with_weights
from blockmerge.jobs.own_jobs import OwnJobs
from blockmerge.jobs.states import LOCAL, JobState, NewJob
from tests.hub.test_commands import commit_of
from tests.hub_server import HubServer
from tests.hub_store import weights_start
from tests.jobs.bench import Bench, running_bench, wait_until


@pytest.fixture
def bench(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Its workers talk to the Hub on loopback, and have a cache of their own."""
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with running_bench(tmp_path) as made:
        yield made


def add(bench: Bench, name: str, a: object, b: object, owner: str = LOCAL) -> int:
    recipe = json.dumps({"blockmerge": 1, "models": {"a": str(a), "b": str(b)}, "weights": {"layers": [0, 0.3, 1, 1]}})
    return bench.store.add(NewJob(name, recipe, bench.settings.output / name, ("a", "b"), owner=owner))


def pinned(server: HubServer, *names: str) -> list[str]:
    return [f"{name}@{commit_of(server, name)}" for name in names]


def unfinished(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "hf").rglob("*.incomplete"))


def test_a_job_with_models_of_the_hub_downloads_them_and_gives_what_their_folders_give(
    server: HubServer, bench: Bench, tmp_path: Path
) -> None:
    server.wire.bandwidth = 40_000  # bytes per second, so that the download can be watched
    from_hub = add(bench, "hub", *pinned(server, "org/a", "org/b"))
    from_folders = add(bench, "folders", tmp_path / "a", tmp_path / "b")
    bench.start_worker()

    moving = bench.wait_for(from_hub, JobState.DOWNLOADING)
    wait_until(lambda: (bench.store.get(from_hub).progress or moving.progress) is not None, 10, lambda: moving)
    done, local = (bench.wait_for(number, JobState.DONE) for number in (from_hub, from_folders))

    assert done.digest == local.digest
    assert done.warnings == local.warnings
    states = [line for line in bench.store.read_log(from_hub) if "Downloading: " in line or "Merging: " in line]
    assert ["Downloading" in line for line in states] == [True, False]


def test_a_cancel_ends_a_download_within_a_second_and_leaves_nothing_half(
    server: HubServer, bench: Bench, tmp_path: Path
) -> None:
    server.wire.bandwidth = 5_000
    number = add(bench, "unwanted", *pinned(server, "org/a", "org/b"))
    bench.start_worker()
    bench.wait_for(number, JobState.DOWNLOADING)
    wait_until(lambda: bool(unfinished(tmp_path)), 30, lambda: server.requests("storage"))

    assert cancel(bench, number) < 1
    wait_until(lambda: not unfinished(tmp_path), 1, lambda: unfinished(tmp_path))
    assert bench.folders() == []


def cancel(bench: Bench, number: int) -> float:
    """Seconds from the call until nothing is moved any more."""
    asked = time.monotonic()
    bench.store.ask_cancel(number)
    wait_until(lambda: not bench.processes("blockmerge.hub.mover"), 1, lambda: bench.store.get(number))
    took = time.monotonic() - asked
    bench.wait_for(number, JobState.CANCELLED, seconds=1)
    return took


def test_a_killed_worker_leaves_nothing_running_and_the_next_attempt_fetches_only_what_is_missing(
    server: HubServer, bench: Bench, tmp_path: Path
) -> None:
    files = server.store.repositories["org/a"].head.files
    first, second = (files[f"model-0000{n}-of-00002.safetensors"].sha256 or "" for n in (1, 2))
    # As the page has checked them, so that the first that is asked of the storage are whole files.
    page = Hub(server.endpoint, tmp_path / "hf" / "hub", bench.settings.home / "hub")
    open_models({"a": "org/a", "b": "org/b"}, opener(page))
    number = add(bench, "again", *pinned(server, "org/a", "org/b"))
    with server.failing(f"GET /_storage/{second}", seconds=6.0, times=1) as held:
        worker = bench.start_worker()
        bench.wait_for(number, JobState.DOWNLOADING)
        wait_until(lambda: held.times == 0 and _given(server, first) > 0, 30, lambda: server.requests("storage"))
        time.sleep(0.5)  # the first is moved to its name
        worker.kill()
        worker.wait()
        wait_until(lambda: not bench.left_over(), 5, bench.left_over)
    once = _given(server, first)

    bench.start_worker()
    done = bench.wait_for(number, JobState.DONE)

    assert done.attempt == 2
    assert _given(server, first) == once
    content = server.store.objects.get(second)
    assert _given(server, second) >= len(content) - weights_start(content)


def _given(server: HubServer, sha256: str) -> int:
    """Bytes of weights that were given of one file."""
    return sum(asked.weights for asked in server.asked if sha256 in asked.path)


def test_two_jobs_at_once_download_each_file_once(server: HubServer, bench: Bench) -> None:
    bench.settings = replace(bench.settings, jobs_at_once=2)
    server.wire.bandwidth = 10_000  # bytes per second: the first is still at it when the second begins
    numbers = [add(bench, name, *pinned(server, "org/a", "org/b")) for name in ("one", "two")]
    bench.start_worker()
    wait_until(lambda: all(_downloads(bench, number) for number in numbers), 60, lambda: bench.store.live())
    server.wire.bandwidth = 0

    done = [bench.wait_for(number, JobState.DONE) for number in numbers]

    assert done[0].digest == done[1].digest
    held = [file for name in "ab" for file in server.store.repositories[f"org/{name}"].head.files.values()]
    sizes = {file.sha256: file.size - weights_start(server.store.content(file)) for file in held if file.sha256}
    assert {sha256: _given(server, sha256) for sha256 in sizes} == sizes


def _downloads(bench: Bench, number: int) -> bool:
    return bench.store.get(number).state is JobState.DOWNLOADING


def test_a_job_of_a_visitor_never_reads_with_the_token_of_this_machine(
    server: HubServer, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = server.store.add_user("ann").token
    monkeypatch.setenv("HF_TOKEN", token)
    server.store.add_folder("ann/private", tmp_path / "a", private=True)
    models = pinned(server, "ann/private", "org/b")
    visitors = add(bench, "visitors", *models, owner="somebody")
    bench.start_worker()

    refused = bench.wait_for(visitors, JobState.NEEDS_SIGN_IN)

    assert {asked.token for asked in server.asked} == {None}
    assert refused.error is not None
    assert refused.error.startswith("models.a: There is no folder ann/private here, and on the Hub it does not exist")
    assert bench.wait_for(add(bench, "own", *models), JobState.DONE).error is None
    assert token in {asked.token for asked in server.asked}
    assert not any(token in line for line in bench.store.read_log(visitors))


def test_offline_a_job_of_a_visitor_gets_nothing_of_what_was_downloaded(
    server: HubServer, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Hub(server.endpoint, tmp_path / "hf" / "hub", bench.settings.home / "hub")
    known = open_models({"a": "org/a", "b": "org/b"}, opener(page))
    with_weights(known, page, report=lambda _: None, is_cancelled=lambda: False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    models = pinned(server, "org/a", "org/b")
    visitors, own = add(bench, "visitors", *models, owner="somebody"), add(bench, "own", *models)
    bench.start_worker()

    refused = bench.wait_for(visitors, JobState.FAILED)

    assert refused.error == "\n".join(
        f"models.{key}: {model} is not opened: HF_HUB_OFFLINE is set, so the Hub is not asked whether you may see it. "
        "Choose a model of the list, or ask whoever runs this page to unset HF_HUB_OFFLINE."
        for key, model in zip("ab", models, strict=True)
    )
    assert bench.wait_for(own, JobState.DONE).error is None


def test_what_the_hub_refuses_fails_the_job_with_the_same_sentence_as_everywhere(
    server: HubServer, bench: Bench
) -> None:
    number = add(bench, "lost", "org/a@nowhere", "org/b")
    bench.start_worker()

    failed = bench.wait_for(number, JobState.FAILED)

    assert failed.error == "models.a: org/a has no revision 'nowhere'. Check the branch, tag or commit."


def test_a_job_goes_on_after_the_sign_in(server: HubServer, bench: Bench, tmp_path: Path) -> None:
    repository = server.store.add_folder("org/gated", tmp_path / "a", private=True)
    number = add(bench, "later", *pinned(server, "org/gated", "org/b"))
    bench.start_worker()
    bench.wait_for(number, JobState.NEEDS_SIGN_IN)

    repository.private = False
    OwnJobs(bench.store, bench.settings, LOCAL).retry(number)

    assert bench.wait_for(number, JobState.DONE).error is None
