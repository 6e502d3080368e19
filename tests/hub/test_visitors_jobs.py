"""Jobs of people who have signed in at a page that others can reach: real workers, and the page's way to a token."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from blockmerge.jobs.own_jobs import OwnJobs
from blockmerge.jobs.states import LOCAL, JobState
from blockmerge.jobs.tokens import ask_token, telling_tokens
from blockmerge.ui.identity import Identity
from blockmerge.ui.web import build_app
from tests.hub.test_jobs import add, pinned
from tests.hub_server import HubServer
from tests.hub_store import User
from tests.jobs.bench import Bench, running_bench
from tests.ui.conftest import serving

ANN, BOB = "browser:ann", "browser:bob"


@pytest.fixture
def bench(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Its workers talk to the Hub on loopback, and this machine has a token that reads everything."""
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_TOKEN", server.store.add_user("machine", "ann").token)
    with running_bench(tmp_path) as made:
        yield made


@pytest.fixture
def ann(server: HubServer, tmp_path: Path) -> User:
    """She has a private model, and was let in to a gated one."""
    server.store.add_folder("ann/private", tmp_path / "a", private=True)
    server.store.add_folder("org/gated", tmp_path / "a", gated=True).granted.add("ann")
    return server.store.add_user("ann")


def page(bench: Bench, identity: Identity) -> AbstractContextManager[None]:
    """What the page's process does beside its pages."""
    return telling_tokens(bench.settings.home, lambda job: identity.token_for(bench.store, job))


def signed_in(bench: Bench, **tokens: str) -> Identity:
    identity = Identity(bench.settings.home, is_private=False)
    for name, token in tokens.items():
        identity.sign_in(f"browser:{name}", token, name)
    return identity


def files_with(folder: Path, token: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]


@pytest.mark.parametrize("name", ["ann/private", "org/gated"])
def test_a_visitor_merges_a_model_that_only_they_may_read(
    server: HubServer, bench: Bench, tmp_path: Path, ann: User, name: str
) -> None:
    number = add(bench, "mine", *pinned(server, name, "org/b"), owner=ANN)
    server.asked.clear()
    with page(bench, signed_in(bench, ann=ann.token)):
        bench.start_worker()
        done = bench.wait_for(number, JobState.DONE)

    assert {asked.token for asked in server.asked if asked.host == "hub"} == {ann.token}
    assert {asked.token for asked in server.asked if asked.host == "storage"} == {None}
    assert done.out.is_dir()
    assert files_with(tmp_path, "blockmerge_recipe")  # the search finds what is in a result
    assert files_with(tmp_path, ann.token) == []
    assert ann.token not in f"{done} {bench.store.read_log(number)}"


def test_while_a_job_is_at_work_its_token_is_in_no_argument_and_no_environment(
    server: HubServer, bench: Bench, tmp_path: Path, ann: User
) -> None:
    server.wire.bandwidth = 10_000  # bytes per second
    number = add(bench, "mine", *pinned(server, "ann/private", "org/b"), owner=ANN)
    with page(bench, signed_in(bench, ann=ann.token)):
        bench.start_worker()
        bench.wait_for(number, JobState.DOWNLOADING)

        processes = bench.left_over()
        told = [f"{process.cmdline()} {process.environ()}" for process in processes]

        assert {"blockmerge.jobs.worker", "blockmerge.jobs.run"} <= {process.cmdline()[-1] for process in processes}
        assert not any(ann.token in text for text in told)
        assert files_with(tmp_path, ann.token) == []


@pytest.mark.parametrize("name", ["ann/private", "org/gated"])
def test_another_visitors_job_with_the_same_model_is_refused(
    server: HubServer, bench: Bench, ann: User, name: str
) -> None:
    bob = server.store.add_user("bob")
    models = pinned(server, name, "org/b")
    with page(bench, signed_in(bench, ann=ann.token, bob=bob.token)):
        bench.start_worker()
        assert bench.wait_for(add(bench, "hers", *models, owner=ANN), JobState.DONE).error is None

        refused = bench.wait_for(add(bench, "his", *models, owner=BOB), JobState.NEEDS_SIGN_IN)
        nobodys = bench.wait_for(add(bench, "nobodys", *models, owner="browser:carol"), JobState.NEEDS_SIGN_IN)

    why = {
        "ann/private": "models.a: There is no folder ann/private here, and on the Hub it does not exist or is private "
        "to others. Check the name, and whose token this is.",
        "org/gated": "models.a: org/gated is open only to those who accept its terms. Accept them at "
        f"{server.endpoint}/org/gated as the owner of this token, then try again.",
    }
    assert refused.error == why[name]
    assert nobodys.error is not None
    assert "(on the Settings tab, then continue this job)" in nobodys.error
    assert bench.folders() == ["hers"]


def test_after_a_restart_of_the_page_a_job_needs_a_sign_in_and_goes_on_after_it(
    server: HubServer, bench: Bench, ann: User
) -> None:
    number = add(bench, "mine", *pinned(server, "ann/private", "org/b"), owner=ANN)
    with page(bench, signed_in(bench)):
        bench.start_worker()
        stopped = bench.wait_for(number, JobState.NEEDS_SIGN_IN)
    assert stopped.error == (
        "models.a: There is no folder ann/private here, and on the Hub it does not exist or is private. Check the "
        "name, or sign in (on the Settings tab, then continue this job)."
    )

    with page(bench, signed_in(bench, ann=ann.token)):
        OwnJobs(bench.store, bench.settings, ANN).retry(number)
        assert bench.wait_for(number, JobState.DONE).error is None


def test_a_token_given_on_this_machine_comes_before_that_of_the_machine_in_its_jobs_too(
    server: HubServer, bench: Bench, ann: User
) -> None:
    number = add(bench, "mine", *pinned(server, "ann/private", "org/b"))
    identity = Identity(bench.settings.home, is_private=True)
    identity.sign_in(LOCAL, ann.token, "ann")
    with page(bench, identity):
        bench.start_worker()
        assert bench.wait_for(number, JobState.DONE).error is None

    assert {asked.token for asked in server.asked if asked.host == "hub"} == {ann.token}


def test_a_token_is_told_only_while_its_job_is_at_work(server: HubServer, bench: Bench, ann: User) -> None:
    number = add(bench, "mine", *pinned(server, "ann/private", "org/b"), owner=ANN)
    identity = signed_in(bench, ann=ann.token)

    assert identity.token_for(bench.store, number) == ""
    assert identity.token_for(bench.store, number + 1) == ""
    bench.store.move(bench.store.get(number).ticket, {JobState.WAITING}, JobState.CHECKING)
    assert identity.token_for(bench.store, number) == ann.token
    identity.sign_out(ANN)
    assert identity.token_for(bench.store, number) == ""


def test_the_page_answers_its_worker_as_long_as_it_runs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[int] = []

    def token_for(_: Identity, __: object, job: int) -> str:
        told.append(job)
        return "hf_of_a_visitor"

    monkeypatch.setattr(Identity, "token_for", token_for)
    with serving(lambda: build_app(bench.settings, bench.store, listen="0.0.0.0")):
        assert ask_token(bench.settings.home, 3) == "hf_of_a_visitor"
    assert told == [3]
    assert ask_token(bench.settings.home, 3) is None
