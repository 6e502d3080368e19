"""Two people, one cache: what the first one downloaded is never given to the second one without the Hub's word."""

from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants

from blockmerge.checkpoints.models import open_models
from blockmerge.errors import HubRefusalError, InputError
from blockmerge.hub.client import Hub
from blockmerge.hub.sources import opener, with_weights
from blockmerge.jobs.states import LOCAL
from blockmerge.ui.identity import Identity
from blockmerge.ui.models import Models
from blockmerge.ui.tabs import Context
from tests.hub.conftest import hub_of
from tests.hub_server import HubServer

NOT_ASKED = (
    "org/a is not opened: HF_HUB_OFFLINE is set, so the Hub is not asked whether you may see it. Choose a model of the "
    "list, or ask whoever runs this page to unset HF_HUB_OFFLINE."
)


def fetch(hub: Hub) -> Path:
    """org/a as this person gets it, downloaded or from the cache."""
    opened = open_models({"a": "org/a"}, opener(hub))
    return with_weights(opened, hub, report=lambda _: None, is_cancelled=lambda: False)["a"].folder


@pytest.mark.parametrize("kind", ["private", "gated"])
def test_the_second_person_gets_nothing_of_the_first_ones_files(server: HubServer, tmp_path: Path, kind: str) -> None:
    setattr(server.store.repositories["org/a"], kind, True)
    ann = hub_of(server, tmp_path, server.store.add_user("ann", "org"))
    bob = hub_of(server, tmp_path, server.store.add_user("bob"))
    nobody = hub_of(server, tmp_path)
    folder = fetch(ann)
    assert (folder / "config.json").is_file()
    assert len({hub.cache for hub in (ann, bob, nobody)}) == 1
    server.asked.clear()

    for other in (bob, nobody):
        with pytest.raises(InputError, match=r"org/a"):
            fetch(other)
    assert fetch(ann) == folder
    assert server.weights_given == 0


def test_access_that_was_taken_back_counts_at_once(server: HubServer, tmp_path: Path) -> None:
    repository = server.store.repositories["org/a"]
    repository.gated = True
    repository.granted.add("bob")
    bob = hub_of(server, tmp_path, server.store.add_user("bob"))
    fetch(bob)

    repository.granted.remove("bob")

    with pytest.raises(InputError, match=r"open only to those who accept its terms"):
        fetch(bob)


def test_offline_only_whoever_sits_at_this_machine_gets_what_was_downloaded(
    server: HubServer, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(context.identity.hub_of(LOCAL))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_TOKEN", server.store.add_user("ann", "org").token)
    shared = replace(context, identity=Identity(context.settings.home, is_private=False))
    shared.identity.sign_in("browser:bob", server.store.add_user("bob").token)
    server.asked.clear()

    for owner in ("browser:bob", "browser:carol", ""):
        with pytest.raises(HubRefusalError) as caught:
            Models(shared, owner).open("org/a")
        assert str(caught.value) == NOT_ASKED
    assert not Models(context, LOCAL).open("org/a").is_headers_only
    assert server.asked == []
