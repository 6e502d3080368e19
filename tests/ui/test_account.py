"""Who a person is on the Hub, as the Settings tab says and changes it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from playwright.sync_api import Page, expect

from blockmerge.errors import JobRequestError, SignInError
from blockmerge.jobs.states import LOCAL
from blockmerge.ui.account.account import carry_out, view
from blockmerge.ui.identity import Identity
from tests.hub_server import HubServer, running_hub
from tests.ui.conftest import Bench

OpenPage = Callable[[], Page]
ANN, BOB = "browser:1", "browser:2"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "nobody"))
    with running_hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.endpoint)
        yield running


def sign_in(identity: Identity, owner: str, token: str) -> str:
    return carry_out(identity, owner, {"do": "sign_in", "token": token})


def told(identity: Identity, owner: str) -> object:
    return view(identity, owner)["help"]


def test_a_visitor_signs_in_and_out_and_nobody_else_does(hub: HubServer, tmp_path: Path) -> None:
    identity, token = Identity(tmp_path, is_private=False), hub.store.add_user("ann").token

    assert sign_in(identity, ANN, f" {token}\n") == "You are signed in as ann."
    assert told(identity, ANN) == "You are signed in as ann."
    assert str(told(identity, BOB)).startswith("You are not signed in.")
    assert (identity.hub_of(ANN).token, identity.hub_of(BOB).token) == (token, None)
    assert token not in repr(view(identity, ANN))
    assert carry_out(identity, ANN, {"do": "sign_out"}) == "The token is forgotten."
    assert identity.hub_of(ANN).token is None


def test_the_token_of_this_machine_is_named_without_asking_the_hub(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_ownersowntoken")

    shown = str(told(Identity(tmp_path, is_private=True), LOCAL))

    assert shown.startswith("This page uses the token of this machine")
    assert hub.asked == []


@pytest.mark.parametrize("text", ["", "  ", "hf_a b", "hf_a\r\nCookie: x", "hf_ö", "hf_" + "a" * 9000])
def test_what_is_no_token_is_neither_sent_nor_repeated(hub: HubServer, tmp_path: Path, text: str) -> None:
    with pytest.raises(JobRequestError) as refused:
        sign_in(Identity(tmp_path, is_private=False), ANN, text)

    assert str(refused.value) == (
        "This is no access token. Copy one from the settings of your account on Hugging Face."
    )
    assert hub.asked == []


def test_a_token_that_the_hub_does_not_take_is_not_held(hub: HubServer, tmp_path: Path) -> None:
    identity = Identity(tmp_path, is_private=False)

    with pytest.raises(SignInError, match=r"^The Hub does not accept this token"):
        sign_in(identity, ANN, "hf_wrongtoken")

    assert not identity.is_signed_in_here(ANN)


@pytest.mark.parametrize(
    "forged",
    [None, "sign_out", {}, {"do": "sign_in"}, {"do": "sign_in", "token": 7}, {"do": "sign_out", "owner": "browser:2"}],
)
def test_a_forged_wish_changes_nothing(hub: HubServer, tmp_path: Path, forged: object) -> None:
    identity, token = Identity(tmp_path, is_private=False), hub.store.add_user("ann").token
    sign_in(identity, ANN, token)

    with pytest.raises(JobRequestError, match=r"^This was not understood\. Reload the page\.$"):
        carry_out(identity, ANN, forged)

    assert identity.hub_of(ANN).token == token


@pytest.mark.browser
def test_a_token_is_given_never_shown_again_and_forgotten(hub: HubServer, bench: Bench, open_page: OpenPage) -> None:
    token = hub.store.add_user("ann").token
    page = open_page()
    page.get_by_role("tab", name="Settings").click()
    account = page.locator(".account")

    account.get_by_label("Token").fill("hf_wrongtoken")
    account.get_by_role("button", name="Sign in").click()
    expect(account.get_by_role("alert")).to_contain_text("The Hub does not accept this token")
    account.get_by_label("Token").fill(token)
    account.get_by_role("button", name="Sign in").click()
    expect(account).to_contain_text("You are signed in as ann.")
    assert token not in page.content()
    page.reload()
    page.wait_for_selector("#status .disk:not(:empty)", state="attached")
    page.get_by_role("tab", name="Settings").click()
    expect(account).to_contain_text("You are signed in as ann.")
    account.get_by_role("button", name="Sign out").click()

    expect(account).to_contain_text("The token is forgotten.")
    assert token not in page.content()
    held = [path for path in bench.settings.home.rglob("*") if path.is_file()]
    assert bench.settings.queue_file in held
    assert [path for path in held if token.encode() in path.read_bytes()] == []
