"""Whose token it is, as the Hub tells it."""

from dataclasses import replace
from pathlib import Path

import pytest

from blockmerge.errors import HubError, HubRefusalError, SignInError
from blockmerge.hub.account import Account, who_is
from blockmerge.hub.client import Hub
from tests.hub.conftest import hub_of
from tests.hub_server import HubServer


def test_a_token_has_a_name_organisations_and_may_write_or_not(server: HubServer, tmp_path: Path) -> None:
    ann = server.store.add_user("ann", "team", "lab")
    eve = server.store.add_user("eve", role="read")

    assert who_is(hub_of(server, tmp_path, ann)) == Account("ann", ("team", "lab"), True)
    assert who_is(hub_of(server, tmp_path, eve)) == Account("eve", (), False)


def test_nobody_is_nobody_and_the_hub_is_not_asked(server: HubServer, hub: Hub) -> None:
    assert who_is(hub) is None
    assert server.asked == []


def test_a_wrong_token_and_an_answer_without_a_name_are_told(server: HubServer, hub: Hub) -> None:
    with pytest.raises(SignInError, match=r"^The Hub does not accept this token: it is wrong, or has expired\."):
        who_is(replace(hub, token="hf_wrong"))
    told = server.failing("GET /api/whoami-v2", status=200, body=b'{"name": 1}')
    with told, pytest.raises(HubError, match=r"^The answer of http://.* makes no sense\."):
        who_is(replace(hub, token=server.store.add_user("ann").token))


def test_offline_nobody_is_asked_for(hub: Hub) -> None:
    with pytest.raises(HubRefusalError, match=r"^The Hub is not asked while HF_HUB_OFFLINE is set\."):
        who_is(replace(hub, offline=True, token="hf_any"))
