"""Jobs that keep nothing on this disk: straight from the Hub to the Hub, by real workers on both kinds of queue."""

import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockmerge.checkpoints.manifest import MANIFEST
from blockmerge.core.wish import Wish
from blockmerge.jobs.attempt import STOP_GRACE
from blockmerge.jobs.homes import homes_for
from blockmerge.jobs.own_jobs import OwnJobs
from blockmerge.jobs.states import JobState, NewJob, part_folder
from tests.hub.test_homes import dumped
from tests.hub.test_jobs import cancel, pinned
from tests.hub.test_straight import TO, large, published, uploads
from tests.hub.test_visitors_jobs import ANN, files_with, page, signed_in
from tests.hub_server import HubServer
from tests.hub_store import User
from tests.jobs.bench import Bench, running_bench, wait_until
from tests.jobs.conftest import postgres, queue

__all__ = ["large", "postgres", "queue"]  # fixtures of other folders, for the tests of this file


@pytest.fixture
def bench(server: HubServer, queue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Its workers talk to the Hub on loopback, where nobody of this machine is known."""
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with running_bench(tmp_path, queue) as made:
        made.settings.output.mkdir()
        yield made


@pytest.fixture
def ann(server: HubServer) -> User:
    return server.store.add_user("ann")


def add(bench: Bench, server: HubServer, name: str, wish: Wish | None = None) -> int:
    """Ann's merge of the large pair, in shards of 8 MB."""
    models = dict(zip("ab", pinned(server, "org/large-a", "org/large-b"), strict=True))
    recipe = {"blockmerge": 1, "models": models, "weights": {"layers": 0.5}, "output": {"shard_size": "8MB"}}
    new = NewJob(name, json.dumps(recipe), bench.settings.output / name, ("a", "b"), wish=wish)
    return OwnJobs(bench.store, bench.settings, ANN).add(new)


def published_digest(server: HubServer) -> str:
    return str(json.loads(published(server)[MANIFEST])["result_digest"])


def test_a_job_merges_straight_to_the_hub_and_gives_what_a_folder_gets(
    large: HubServer, bench: Bench, ann: User, tmp_path: Path
) -> None:
    straight = add(bench, large, "straight", Wish(TO, "mit"))
    with page(bench, signed_in(bench, ann=ann.token)):
        bench.start_worker()
        done = bench.wait_for(straight, JobState.DONE)
        assert bench.folders() == []
        assert not [*tmp_path.glob("hf/**/*.safetensors")]
        folder = bench.wait_for(add(bench, large, "folder"), JobState.DONE)

    assert done.digest == folder.digest
    assert done.warnings == ()
    assert done.published == f"{large.endpoint}/{TO}/commit/{large.store.repositories[TO].head.oid}"
    assert done.deleted is not None
    ours = {name: content for name, content in published(large).items() if name.endswith(".safetensors")}
    assert ours == {path.name: path.read_bytes() for path in folder.out.glob("*.safetensors")}
    assert len(ours) > 3
    states = re.findall("(Downloading|Merging|Verifying|Uploading): ", "\n".join(bench.store.read_log(straight)))
    assert states == ["Merging", "Verifying", "Uploading"]
    assert {asked.token for asked in large.asked if asked.host == "hub"} == {ann.token}
    assert {asked.token for asked in large.asked if asked.host == "storage"} == {None}
    assert files_with(tmp_path, "blockmerge_recipe")  # the search finds what is in a result
    assert files_with(tmp_path, ann.token) == []
    assert ann.token not in f"{done} {bench.store.read_log(straight)}"
    if bench.settings.is_shared:  # else it is one of the files
        assert TO in dumped(bench.settings.queue)
        assert ann.token not in dumped(bench.settings.queue)


def test_a_killed_worker_merges_no_shard_again_that_the_hub_has(large: HubServer, bench: Bench, ann: User) -> None:
    number = add(bench, large, "again", Wish(TO, "mit"))
    with page(bench, signed_in(bench, ann=ann.token)):
        with large.failing("PUT /_storage", seconds=30.0, after=2):
            worker = bench.start_worker()
            wait_until(lambda: len(uploads(large)) == 3, 60, lambda: bench.store.get(number))
            merging = bench.store.get(number)
            worker.kill()
            worker.wait()
            wait_until(lambda: not bench.left_over(), 5, bench.left_over)
        assert merging.state is JobState.MERGING
        assert merging.progress is not None
        assert 0 < merging.progress.done < merging.progress.total
        assert large.store.repositories[TO].head.message == "initial commit"  # nobody sees half a model
        fetched = large.weights_given

        bench.start_worker()
        done = bench.wait_for(number, JobState.DONE)

    assert (done.attempt, done.crashes) == (2, 0)
    assert not set(uploads(large)[:2]) & set(uploads(large)[3:])
    assert 0 < fetched < large.weights_given
    assert large.weights_given <= 1.02 * 2 * done.nbytes + 2 * 8e6  # at most one unit is fetched again
    assert bench.folders() == []
    assert published_digest(large) == done.digest


def test_a_worker_that_stops_lets_go_at_once_and_the_next_goes_on(large: HubServer, bench: Bench, ann: User) -> None:
    number = add(bench, large, "again", Wish(TO, "mit"))
    with page(bench, signed_in(bench, ann=ann.token)):
        with large.failing("PUT /_storage", seconds=30.0, after=1):
            worker = bench.start_worker()
            wait_until(lambda: len(uploads(large)) == 2, 60, lambda: bench.store.get(number))
            asked = time.monotonic()
            worker.send_signal(signal.SIGTERM)
            stopped = bench.wait_for(number, JobState.WAITING, seconds=10)
            took = time.monotonic() - asked
            worker.wait()
        assert took < STOP_GRACE  # it was not killed
        assert stopped.attempt == 2
        sent = uploads(large)[0]

        bench.start_worker()
        done = bench.wait_for(number, JobState.DONE)

    assert uploads(large).count(sent) == 1
    assert published_digest(large) == done.digest


@pytest.mark.parametrize(("where", "after"), [("GET /_storage", 12), ("PUT /_storage", 1)])
def test_a_cancel_ends_it_within_a_second_and_leaves_nothing(
    large: HubServer, bench: Bench, ann: User, where: str, after: int
) -> None:
    number = add(bench, large, "unwanted", Wish(TO, "mit"))
    with page(bench, signed_in(bench, ann=ann.token)), large.failing(where, seconds=30.0, after=after) as held:
        bench.start_worker()
        wait_until(lambda: held.times < 1_000_000, 60, lambda: bench.store.get(number))
        assert part_folder(bench.store.get(number).out).is_dir()

        assert cancel(bench, number) < 1
    assert bench.folders() == []
    assert large.store.repositories[TO].head.message == "initial commit"


def test_a_token_that_expires_meanwhile_costs_nothing_of_what_the_hub_has(
    large: HubServer, bench: Bench, ann: User
) -> None:
    number = add(bench, large, "mine", Wish(TO, "mit"))
    with page(bench, signed_in(bench, ann=ann.token)):
        with large.failing("POST .*ann/merged.*/info/lfs/objects/batch", status=401, after=2):
            bench.start_worker()
            stopped = bench.wait_for(number, JobState.NEEDS_SIGN_IN)
        assert stopped.error == (
            "The Hub does not accept this token: it is wrong, or has expired. Sign in again (on the Settings tab, then "
            "continue this job)."
        )
        assert stopped.kept > 0
        assert len(uploads(large)) == 2

        OwnJobs(bench.store, bench.settings, ANN).retry(number)
        done = bench.wait_for(number, JobState.DONE)

    assert len(set(uploads(large))) == len(uploads(large))
    assert published_digest(large) == done.digest


def test_a_place_that_is_not_theirs_is_refused_before_a_byte_of_weights(
    large: HubServer, bench: Bench, ann: User
) -> None:
    number = add(bench, large, "mine", Wish("org/large-a", "mit"))
    with page(bench, signed_in(bench, ann=ann.token)):
        bench.start_worker()
        stopped = bench.wait_for(number, JobState.NEEDS_SIGN_IN)

    assert stopped.error is not None
    assert stopped.error.startswith("This token may not write to org/large-a")
    sizes = [
        file.size for name in ("a", "b") for file in large.store.repositories[f"org/large-{name}"].head.files.values()
    ]
    assert large.weights_given < sum(sizes) / 100  # what came behind a header
    assert bench.folders() == []


def test_a_clone_goes_where_the_job_goes(bench: Bench, large: HubServer) -> None:
    own = OwnJobs(bench.store, bench.settings, ANN)
    number = add(bench, large, "mine", Wish(TO, "mit"))

    clone = own.get(own.clone(number))

    assert clone.wish == own.get(number).wish == Wish(TO, "mit")
    assert clone.stays_home
    assert homes_for(clone, ()) == (clone.home and (clone.home,))
