"""One sentence for everything that goes wrong with the Hub, by what a real server answers."""

import errno
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import HFValidationError, IncompleteSnapshotError, LocalEntryNotFoundError

from blockmerge.core.hub_reference import HubReference
from blockmerge.errors import BlockmergeError, HubError, HubRefusalError, SignInError
from blockmerge.hub.client import Hub, look_up
from blockmerge.hub.failures import ROWS, Attempt, redact, sentence_for
from blockmerge.hub.headers import open_headers
from blockmerge.hub.push import send
from tests.hub.conftest import hub_of
from tests.hub_server import HubServer

LOOK, STORAGE = "GET /api/models/org/a", "GET /_storage"


@dataclass(frozen=True)
class Case:
    """A fault, or where `fault` is empty what the store itself answers, and what a person is told."""

    told: type[BlockmergeError]
    sentence: str
    fault: dict[str, Any]
    at: str = LOOK
    reference: str = "org/a"
    signed_in: bool = False
    writing: bool = False


HOW = "('hf auth login', or a token in HF_TOKEN)"
CASES = [
    Case(
        SignInError,
        "There is no folder org/none here, and on the Hub it does not exist or is private. Check the name, or sign in "
        f"{HOW}.",
        {},
        reference="org/none",
    ),
    Case(
        SignInError,
        "There is no folder org/none here, and on the Hub it does not exist or is private to others. Check the name, "
        "and whose token this is.",
        {},
        reference="org/none",
        signed_in=True,
    ),
    Case(
        SignInError,
        f"org/gated is open only to those who accept its terms. Sign in {HOW}, and accept them at ENDPOINT/org/gated.",
        {},
        reference="org/gated",
    ),
    Case(
        SignInError,
        "org/gated is open only to those who accept its terms. Accept them at ENDPOINT/org/gated as the owner of this "
        "token, then try again.",
        {},
        reference="org/gated",
        signed_in=True,
    ),
    Case(
        SignInError,
        f"The Hub does not accept this token: it is wrong, or has expired. Sign in again {HOW}.",
        {"status": 401, "headers": {"X-Error-Message": "Invalid credentials in Authorization header"}},
        signed_in=True,
    ),
    Case(HubRefusalError, "org/a has no revision 'v9'. Check the branch, tag or commit.", {}, reference="org/a@v9"),
    Case(
        HubRefusalError,
        "A file that org/a@COMMIT lists is not there any more. Check the repository, and try again.",
        {"status": 404, "headers": {"X-Error-Code": "EntryNotFound"}},
        at="GET /org/a/resolve",
    ),
    Case(
        HubRefusalError,
        "org/gone was disabled by the Hub. ENDPOINT/org/gone may say why; use another model.",
        {},
        reference="org/gone",
    ),
    Case(
        SignInError,
        "This token may not read org/a: no such scope. Use another token, or ask its owner for access.",
        {"status": 403, "headers": {"X-Error-Message": "no such scope."}},
        signed_in=True,
    ),
    Case(
        SignInError,
        "This token may not write to ann/new: no such scope. Use a token with write access, another name, or, where "
        "the repository exists, a pull request.",
        {"status": 403, "headers": {"X-Error-Message": "no such scope"}},
        at="POST /api/repos/create",
        signed_in=True,
        writing=True,
    ),
    Case(SignInError, f"Only people who are signed in may push. Sign in {HOW}.", {}, at="POST", writing=True),
    Case(
        HubError,
        "The Hub counts too many requests from here: 55 seconds are left. Wait, then try again; what was moved stays.",
        {"status": 429, "headers": {"RateLimit": '"api";r=0;t=55'}},
    ),
    Case(
        HubError,
        "The Hub counts too many requests from here. Wait, then try again; what was moved stays.",
        {"status": 429},
    ),
    Case(
        HubError,
        "Somebody changed ann/new meanwhile, so nothing was changed. Push again to put this on top.",
        {"status": 412},
        at="POST .*/commit/",
        signed_in=True,
        writing=True,
    ),
    Case(
        HubError,
        "The Hub takes no more from this account: private storage is full. Free some space there, then push again.",
        {"status": 413, "headers": {"X-Error-Message": "private storage is full"}},
        at="POST .*/commit/",
        signed_in=True,
        writing=True,
    ),
    Case(
        HubError,
        "The storage of the Hub refused a file (status 403). Try again; what was moved stays.",
        {"status": 403},
        at=STORAGE,
    ),
    Case(HubError, "The Hub gave another part of a file than was asked for. Try again.", {"status": 416}, at=STORAGE),
    Case(
        HubError,
        "The Hub has trouble of its own (status 503). Try again later; what was moved stays.",
        {"status": 503},
    ),
    Case(
        HubError,
        "The Hub refused this (status 418: tea). Try again later.",
        {"status": 418, "body": b'{"error": "tea"}'},
    ),
    Case(HubError, "The connection to the Hub was cut. Try again; what was moved stays.", {"cut_after": 10}),
    Case(
        HubError,
        "The Hub sends requests in a circle. Check HF_ENDPOINT, or try later.",
        {"status": 302, "headers": {"Location": "/api/models/org/a"}},
    ),
    Case(
        HubError,
        "The answer of ENDPOINT makes no sense. Check HF_ENDPOINT, or try later.",
        {
            "status": 200,
            "headers": {"Content-Type": "text/html"},
            "body": b"<html>Sign in to the hotel's network</html>",
        },
    ),
    Case(
        HubError,
        "The answer of ENDPOINT makes no sense. Check HF_ENDPOINT, or try later.",
        {"status": 200, "body": b'{"id": "org/a", "sha": "../../etc"}'},
    ),
]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client waits seconds between its tries."""
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)


def attempt(hub: Hub, case: Case) -> None:
    if case.writing:
        request = {"repository": "ann/new", "is_public": False, "as_pull_request": False, "message": "m"}
        request |= {"folder": "/", "files": [], "texts": {"x.txt": "x"}, "pictures": {}, "sent": [], "parent": None}
        send(hub, request, lambda *_: None)
    else:
        reference = hub.read_reference(case.reference)
        assert reference is not None
        open_headers(hub, look_up(hub, reference))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case.sentence)[:60])
def test_each_failure_has_its_sentence(server: HubServer, tmp_path: Path, case: Case) -> None:
    server.store.add_folder("org/gated", tmp_path / "a", gated=True)
    server.store.add_folder("org/gone", tmp_path / "a").disabled = True
    user = server.store.add_user("ann") if case.signed_in else None
    commit = server.store.repositories["org/a"].head.oid
    fault = {"status": None, **case.fault}

    with server.failing(case.at if case.fault else "no request", **fault), pytest.raises(case.told) as caught:
        attempt(hub_of(server, tmp_path, user), case)

    told = str(caught.value).replace(server.endpoint, "ENDPOINT").replace(commit, "COMMIT")
    assert told == case.sentence
    assert type(caught.value) is case.told


ATTEMPT = Attempt(HubReference("org/a"), "https://hub.example", is_signed_in=False)


OTHERS: list[tuple[Exception, str]] = [
    (
        IncompleteSnapshotError("x", "/cache"),
        "org/a is not on this machine as a whole, and the Hub is not asked (HF_HUB_OFFLINE): unset HF_HUB_OFFLINE "
        "and download it first.",
    ),
    (HFValidationError("x"), "'org/a' is not a valid Hub id. Give one such as org/name."),
    (
        LocalEntryNotFoundError("x"),
        "The Hub at https://hub.example cannot be reached. Check the connection and try again; HF_HUB_OFFLINE=1 "
        "uses only what is on this machine.",
    ),
    (
        OSError("Consistency check failed: file should be of size 5 but has size 4"),
        "A file came from the Hub with the wrong length. Try again; it is fetched anew.",
    ),
    (
        ValueError("Invalid metadata in README.md.\n- license: unknown"),
        "The Hub does not accept the card: Invalid metadata in README.md. - license: unknown. Mend the block between "
        "its lines of ---, or have it written anew.",
    ),
    (
        TimeoutError("x"),
        "The Hub at https://hub.example does not answer. Check the connection and try again; what was moved stays.",
    ),
    (
        RuntimeError("CAS error: token hf_abcdefghij was refused"),
        "Moving the files failed: CAS error: token (hidden) was refused. Try again; what was moved stays.",
    ),
    (
        OSError(errno.ENOSPC, "No space left on device"),
        "The disk is full. Free some space, then try again; files that are whole stay.",
    ),
]


@pytest.mark.parametrize(("error", "sentence"), OTHERS)
def test_what_no_server_can_say_has_its_sentence_too(error: Exception, sentence: str) -> None:
    assert str(sentence_for(error, ATTEMPT)) == sentence


def test_a_hub_that_is_not_there_is_named(server: HubServer, hub: Hub) -> None:
    server.stop()

    with pytest.raises(HubError) as caught:
        look_up(hub, HubReference("org/a"))

    assert str(caught.value) == (
        f"The Hub at {server.endpoint} cannot be reached. Check the connection and try again; HF_HUB_OFFLINE=1 uses "
        "only what is on this machine."
    )


def test_every_row_of_the_table_has_a_case() -> None:
    told = [*(case.sentence for case in CASES), *(sentence for _, sentence in OTHERS)]

    for row in ROWS:
        pattern = re.sub(r"\\{\w+\\}", ".*", re.escape(row.sentence))
        assert any(re.fullmatch(pattern, sentence) for sentence in told), row.sentence


def test_a_mistake_of_ours_is_no_trouble_of_the_hub() -> None:
    assert sentence_for(AssertionError("x"), ATTEMPT) is None
    assert sentence_for(AttributeError("x"), ATTEMPT) is None


@pytest.mark.parametrize(
    "text",
    [
        "hf_abcdefghijklmnop",
        "hf_oauth_abc.def-ghi.jkl",
        "Bearer abc.def",
        "authorization: bearer x",
        "https://s/x?X-Amz-Signature=abc&X-Amz-Date=1",
    ],
)
def test_secrets_are_hidden(text: str) -> None:
    hidden = redact(f"before {text} after")

    assert "abc" not in hidden
    assert hidden.startswith("before ")
    assert hidden.endswith(" after")
