"""Publishing from the Jobs tab, against the Hub on loopback: what is asked, sent, shown and kept."""

import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import constants

from blockmerge.checkpoints.library import Library
from blockmerge.checkpoints.manifest import read_manifest
from blockmerge.errors import HubRefusalError, InputError, JobRequestError, SignInError
from blockmerge.hub.client import Hub
from blockmerge.jobs.own_jobs import OwnJobs
from blockmerge.jobs.publications import own_address
from blockmerge.jobs.states import LOCAL, JobState, NewJob, Ticket
from blockmerge.ui.identity import Identity
from blockmerge.ui.tabs import Context
from blockmerge.ui.tabs.jobs import Asked, Desk, Wanted, read_asked
from tests.hub.conftest import server
from tests.hub.results import merge_result
from tests.hub_server import HubServer
from tests.hub_store import User
from tests.ui.conftest import Bench, wait_until

__all__ = ["server"]  # the fixture of tests/hub, for the tests of this file

CARD = b"---\nlicense: mit\n---\n"
NO_PLACE = "Give the repository as ORG/NAME."
NO_LICENCE = "Choose a licence by its name on the Hub, such as apache-2.0. The card is written with it."
WRONG = (
    ("", "mit", NO_PLACE),
    ("x" * 201, "mit", NO_PLACE),
    ("mine", "mit", "'mine' is no place on the Hub. Give one as ORG/NAME."),
    ("ann/mine", "", NO_LICENCE),
    ("ann/mine", "mit\nevil: true", NO_LICENCE),
)
ANN, BOB = "browser:ann", "browser:bob"


@dataclass
class Person:
    """Somebody at the Jobs tab of a page that others can reach."""

    desk: Desk
    wanted: Wanted = field(default_factory=Wanted)

    def do(self, what: str, job: int = 0, **more: Any) -> str:
        self.wanted, told = self.desk.carry_out(Asked(what, job, **more), self.wanted)
        return told

    def view(self) -> dict[str, Any]:
        return self.desk.view(self.wanted)

    def offer(self, job: int) -> dict[str, Any]:
        """Open the dialog, and what it shows when the Hub has answered."""
        self.do("offer", job)
        wait_until(lambda: not self.view()["offer"]["asking"], 30)
        offer: dict[str, Any] = self.view()["offer"]
        return offer

    def card(self, job: int) -> dict[str, Any]:
        return next(card for card in self.view()["cards"] if card["id"] == job)

    def wait_for(self, job: int, act: str) -> dict[str, Any]:
        """Until this act is offered for the job."""
        wait_until(lambda: act in dict(self.card(job)["acts"]), 60)
        return self.card(job)


@dataclass
class Office:
    bench: Bench
    context: Context
    job: int

    def person(self, owner: str) -> Person:
        return Person(Desk(self.context, OwnJobs(self.bench.store, self.bench.settings, owner)))


@pytest.fixture
def office(bench: Bench, server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Office:
    """A shared page on which Ann has a result of two models of the Hub, `org/a` and `org/b`."""
    for name in ("org/a", "org/b"):
        server.store.commit(server.store.repositories[name], {"README.md": CARD})
    monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    bench.settings.output.mkdir(parents=True)
    result = merge_result(server, tmp_path, f"{bench.settings.output.name}/mine")
    recipe = read_manifest(result).recipe
    job = bench.store.add(NewJob("mine", recipe, result, ("a", "b"), (0.5,), "Flat", ANN))
    bench.advance(job, JobState.DONE)
    identity = Identity(bench.settings.home, is_private=False)
    return Office(bench, Context(bench.settings, bench.store, Library((), any_path=False), identity), job)


@pytest.fixture
def ann(office: Office) -> Person:
    return office.person(ANN)


@pytest.fixture
def user(server: HubServer) -> User:
    return server.store.add_user("ann", "team")


def test_a_visitor_signs_in_publishes_and_gets_the_address_of_the_commit(
    office: Office, ann: Person, user: User, server: HubServer
) -> None:
    assert ann.offer(office.job)["account"] == ""
    assert ann.do("sign_in", office.job, token=f" {user.token}\n") == "Signed in as ann."

    offer = ann.offer(office.job)
    assert (offer["account"], offer["own_token"], offer["repository"]) == ("ann", True, "ann/mine")
    assert offer["places"] == ["ann/mine", "team/mine"]
    assert (offer["licence"], offer["parents"]) == ("mit", [["org/a", "mit"], ["org/b", "mit"]])
    ann.do("publish", office.job, repository="ann/mine", licence="mit")
    shown = ann.wait_for(office.job, "publish")

    repository = server.store.repositories["ann/mine"]
    address = f"{server.endpoint}/ann/mine/commit/{repository.head.oid}"
    assert repository.private
    assert office.bench.store.get(office.job).published == address
    assert shown["line"][-2:] == (", published as ", {"address": address, "text": "ann/mine"})
    assert shown["notes"] == []


def test_a_public_repository_or_a_pull_request_is_what_a_person_asked_for(
    office: Office, ann: Person, user: User, server: HubServer
) -> None:
    server.store.create("team/theirs")
    ann.do("sign_in", office.job, token=user.token)

    ann.do("publish", office.job, repository="ann/open", licence="mit", public=True)
    ann.wait_for(office.job, "publish")
    assert not server.store.repositories["ann/open"].private
    ann.do("publish", office.job, repository="team/theirs", licence="mit", pull_request=True)
    ann.wait_for(office.job, "publish")

    assert office.bench.store.get(office.job).published == f"{server.endpoint}/team/theirs/discussions/1"
    assert len(server.store.repositories["team/theirs"].commits) == 2


def test_the_card_is_shown_for_the_place_and_licence_and_may_be_changed(
    office: Office, ann: Person, user: User, server: HubServer
) -> None:
    ann.do("sign_in", office.job, token=user.token)
    ann.offer(office.job)

    ann.do("card", office.job, repository="ann/other", licence="apache-2.0")
    card = ann.view()["offer"]["card"]
    assert card["problem"] == ""
    assert yaml.safe_load(card["text"].split("---\n")[1])["license"] == "apache-2.0"
    assert "# other\n" in card["text"]

    ann.do("publish", office.job, repository="ann/other", card=card["text"].replace("# other", "# Mine"))
    ann.wait_for(office.job, "publish")
    sent = server.store.content(server.store.repositories["ann/other"].head.files["README.md"]).decode()
    assert sent == card["text"].replace("# other", "# Mine")


def test_what_is_wrong_is_told_before_anything_is_sent(
    office: Office, ann: Person, user: User, server: HubServer
) -> None:
    ann.do("sign_in", office.job, token=user.token)
    ann.offer(office.job)

    for repository, licence, problem in WRONG:
        ann.do("card", office.job, repository=repository, licence=licence)
        assert ann.view()["offer"]["card"]["problem"] == problem
        with pytest.raises(HubRefusalError, match=f"^{re.escape(problem)}$"):
            ann.do("publish", office.job, repository=repository, licence=licence)
    assert [path for path in server.requests() if path.startswith("POST")] == []


def test_another_persons_result_is_none(office: Office, user: User) -> None:
    for what in ("offer", "card", "publish", "stop_publish", "sign_in", "sign_out"):
        with pytest.raises(InputError, match=r"^No such job\.$"):
            office.person(BOB).do(what, office.job, repository="bob/mine", licence="mit", token=user.token)

    assert office.context.identity.hub_of(BOB).token is None


def test_only_a_result_that_is_here_is_published(office: Office, ann: Person) -> None:
    waiting = office.bench.store.add(NewJob("later", "", office.bench.settings.output / "later", ("a",), owner=ANN))
    with pytest.raises(JobRequestError, match=rf"^Job {waiting} has no result that could be published\.$"):
        ann.do("offer", waiting)

    (office.bench.settings.output / "mine").rename(office.bench.settings.output / "gone")
    with pytest.raises(JobRequestError, match=r"^The files of this result are not on this machine\."):
        ann.do("publish", office.job, repository="ann/mine", licence="mit")


def test_a_token_is_one_persons_until_they_sign_out_and_is_never_shown(office: Office, ann: Person, user: User) -> None:
    bobs = office.bench.store.add(NewJob("bobs", "", office.bench.settings.output / "mine", ("a",), owner=BOB))
    office.bench.store.move(Ticket(bobs, 1), {JobState.WAITING}, JobState.CHECKING)
    ann.do("sign_in", office.job, token=user.token)

    assert office.context.identity.hub_of(BOB).token is None
    assert user.token not in repr(ann.view())
    assert user.token not in repr(read_asked({"do": "sign_in", "job": 1, "token": user.token}))
    assert ann.do("sign_out", office.job) == "Signed out. The token is forgotten."
    assert ann.offer(office.job)["account"] == ""
    with pytest.raises(SignInError, match=r"^Only .* may push\. Sign in \(on the Settings tab\)\.$"):
        ann.do("publish", office.job, repository="ann/mine", licence="mit")


def test_what_is_no_token_is_not_sent_anywhere(office: Office, ann: Person, server: HubServer) -> None:
    server.asked.clear()

    for token in ("", "short", "x" * 301, "hf_with a space", "hf_ümlautümlaut"):
        with pytest.raises(JobRequestError, match=r"^This is no access token\."):
            ann.do("sign_in", office.job, token=token)

    assert server.asked == []


def test_a_token_that_the_hub_does_not_know_is_not_kept(office: Office, ann: Person) -> None:
    with pytest.raises(SignInError, match=r"^The Hub does not accept this token: it is wrong, or has expired\."):
        ann.do("sign_in", office.job, token="hf_wrongwrongwrong")

    assert office.context.identity.hub_of(ANN).token is None


def test_a_token_that_may_only_read_is_told_before_a_try(office: Office, ann: Person, server: HubServer) -> None:
    ann.do("sign_in", office.job, token=server.store.add_user("eve", role="read").token)

    assert ann.offer(office.job)["reads_only"]


def test_progress_is_in_bytes_and_stopping_takes_less_than_a_second(
    office: Office, ann: Person, user: User, server: HubServer
) -> None:
    ann.do("sign_in", office.job, token=user.token)
    with server.failing("PUT /_storage", seconds=20):
        ann.do("publish", office.job, repository="ann/mine", licence="mit")
        wait_until(lambda: any(path.startswith("PUT") for path in server.requests("storage")), 60)
        shown = ann.card(office.job)
        assert (shown["state"], shown["line"]) == ("Publishing", ("to ann/mine",))
        assert [segment["title"] for segment in shown["segments"]] == ["Verified", "Uploading"]
        [(_, sent), (_, file)] = shown["facts"]
        assert re.fullmatch(r"[\d.]+ of [\d.]+ kB", sent[0])
        assert file[0].endswith(".safetensors")
        assert not {"delete_files", "forget"} & set(dict(shown["more"]))
        assert ann.view()["busy"]

        ann.do("stop_publish", office.job)
        begun = time.monotonic()
        shown = ann.wait_for(office.job, "publish")
    assert time.monotonic() - begun < 1
    assert shown["notes"] == ["Publishing was stopped. Publish again to go on from what the Hub has already."]
    assert set(server.store.repositories["ann/mine"].head.files) == {".gitattributes"}


def test_after_a_failure_the_result_is_kept_and_publishing_goes_on_without_merging_again(
    office: Office, ann: Person, user: User, server: HubServer
) -> None:
    ann.do("sign_in", office.job, token=user.token)
    with server.failing("POST .*/commit", status=401):
        ann.do("publish", office.job, repository="ann/mine", licence="mit", public=True)
        shown = ann.wait_for(office.job, "publish")
    assert shown["notes"] == [
        "The Hub does not accept this token: it is wrong, or has expired. Sign in again (on the Settings tab)."
    ]
    assert dict(shown["acts"])["publish"] == "Sign in and publish"
    assert office.bench.store.get(office.job).state is JobState.DONE
    offer = ann.offer(office.job)
    assert (offer["repository"], offer["licence"], offer["public"]) == ("ann/mine", "mit", True)
    server.asked.clear()

    ann.do("publish", office.job, repository="ann/mine", licence="mit")
    ann.wait_for(office.job, "publish")

    assert [path for path in server.requests("storage") if path.startswith("PUT")] == []
    assert ann.card(office.job)["notes"] == []
    assert "model.safetensors" in server.store.repositories["ann/mine"].head.files


def test_a_person_publishes_one_result_at_a_time(office: Office, ann: Person, user: User, server: HubServer) -> None:
    ann.do("sign_in", office.job, token=user.token)
    with server.failing("GET /api/models/ann", seconds=20):
        ann.do("publish", office.job, repository="ann/mine", licence="mit")
        with pytest.raises(
            JobRequestError, match=r"^A result of yours is being published\. Wait until it is there, or"
        ):
            ann.do("publish", office.job, repository="ann/other", licence="mit")
        ann.do("stop_publish", office.job)
        ann.wait_for(office.job, "publish")
    with pytest.raises(JobRequestError, match=rf"^Job {office.job} is not being published\.$"):
        ann.do("stop_publish", office.job)


def test_a_result_that_was_damaged_is_not_sent(office: Office, ann: Person, user: User, server: HubServer) -> None:
    with (office.bench.settings.output / "mine" / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    ann.do("sign_in", office.job, token=user.token)

    ann.do("publish", office.job, repository="ann/mine", licence="mit")
    shown = ann.wait_for(office.job, "publish")

    assert "does not hold the bytes that were written." in shown["notes"][0]
    assert "ann/mine" not in server.store.repositories


@pytest.mark.parametrize("told", ["javascript:alert(1)", "https://evil.example/ann/mine", "ENDPOINT.evil.example/x"])
def test_an_address_that_is_not_the_hubs_becomes_no_link(tmp_path: Path, told: str) -> None:
    hub = Hub("https://hub.example", tmp_path, tmp_path)

    assert own_address(hub, told.replace("ENDPOINT", hub.endpoint), "ann/mine") == "https://hub.example/ann/mine"
    assert own_address(hub, "https://hub.example/ann/mine/commit/1", "ann/mine").endswith("/commit/1")


def test_the_hub_that_cannot_be_reached_is_told_in_the_dialog(office: Office, ann: Person, server: HubServer) -> None:
    with server.failing("GET /api/models", status=503):
        assert "The Hub has trouble of its own (status 503)." in ann.offer(office.job)["problem"]


def test_whoever_sits_at_this_machine_publishes_with_its_token(
    office: Office, user: User, server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", user.token)
    bench = office.bench
    context = Context(bench.settings, bench.store, Library((), any_path=False), bench.identity)
    job = bench.store.add(NewJob("own", "", bench.settings.output / "mine", ("a",), owner=LOCAL))
    bench.advance(job, JobState.DONE)
    person = Person(Desk(context, OwnJobs(bench.store, bench.settings, LOCAL)))

    offer = person.offer(job)
    assert (offer["account"], offer["own_token"], offer["repository"]) == ("ann", False, "ann/own")
    person.do("publish", job, repository="ann/own", licence="mit")
    person.wait_for(job, "publish")

    assert server.store.repositories["ann/own"].private


def test_an_answer_that_comes_after_a_person_has_signed_out_is_not_shown(
    office: Office, ann: Person, user: User, server: HubServer
) -> None:
    ann.offer(office.job)
    with server.failing("GET /api/models/org/a", seconds=2, times=1) as slow:
        ann.do("sign_in", office.job, token=user.token)
        wait_until(lambda: slow.times == 0, 30)
        ann.do("sign_out", office.job)
        wait_until(lambda: not ann.view()["offer"]["asking"], 30)
        wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "offer"], 30)

    assert ann.view()["offer"]["account"] == ""
