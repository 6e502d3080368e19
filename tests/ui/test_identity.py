from pathlib import Path

import pytest

from blockmerge.jobs.states import LOCAL
from blockmerge.ui.identity import MOST, Identity, SignIn

ANN, BOB = "browser:ann", "browser:bob"


@pytest.fixture(autouse=True)
def token_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_ownersowntoken")


def test_the_token_of_the_environment_is_for_whoever_sits_at_this_machine(tmp_path: Path) -> None:
    assert Identity(tmp_path, is_private=True).hub_of(LOCAL).token == "hf_ownersowntoken"
    assert Identity(tmp_path, is_private=False).hub_of(ANN).token is None


def test_a_visitors_token_is_theirs_alone_until_they_sign_out(tmp_path: Path) -> None:
    identity = Identity(tmp_path, is_private=False)

    identity.sign_in(ANN, "hf_ann")
    assert (identity.hub_of(ANN).token, identity.hub_of(BOB).token) == ("hf_ann", None)
    assert (identity.is_signed_in_here(ANN), identity.is_signed_in_here(BOB)) == (True, False)

    identity.sign_out(BOB)
    assert identity.hub_of(ANN).token == "hf_ann"
    identity.sign_out(ANN)
    assert identity.hub_of(ANN).token is None
    assert not identity.is_signed_in_here(ANN)


def test_a_token_given_on_this_machine_comes_before_that_of_the_machine(tmp_path: Path) -> None:
    identity = Identity(tmp_path, is_private=True)

    identity.sign_in(LOCAL, "hf_other")
    assert identity.hub_of(LOCAL).token == "hf_other"
    identity.sign_out(LOCAL)
    assert identity.hub_of(LOCAL).token == "hf_ownersowntoken"


def test_a_token_is_in_no_text_about_the_identity_and_in_no_file(tmp_path: Path) -> None:
    identity = Identity(tmp_path, is_private=False)
    identity.sign_in(ANN, "hf_ann")

    assert "hf_ann" not in f"{identity!r} {identity.hub_of(ANN)!r}"
    assert [*tmp_path.rglob("*")] == []


def test_a_token_that_has_expired_is_forgotten(tmp_path: Path) -> None:
    clock = [1000.0]
    identity = Identity(tmp_path, is_private=False, now=lambda: clock[0])
    identity.sign_in(ANN, "hf_ann", "ann", until=1010.0)
    identity.sign_in(BOB, "hf_bob")

    clock[0] = 1009.9
    assert identity.sign_in_of(ANN) == SignIn("hf_ann", "ann", 1010.0)
    clock[0] = 1010.0

    assert identity.hub_of(ANN).token is None
    assert not identity.is_signed_in_here(ANN)
    assert identity.hub_of(BOB).token == "hf_bob"


def test_who_signed_in_first_is_forgotten_when_there_are_too_many(tmp_path: Path) -> None:
    identity = Identity(tmp_path, is_private=False)
    identity.sign_in(ANN, "hf_ann")
    identity.sign_in(BOB, "hf_bob")
    identity.sign_in(ANN, "hf_ann")  # again: now she is the later one

    for number in range(MOST - 1):
        identity.sign_in(f"browser:{number}", "hf_other")

    assert (identity.hub_of(ANN).token, identity.hub_of(BOB).token) == ("hf_ann", None)
