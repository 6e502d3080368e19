"""Whose token this is."""

from collections.abc import Mapping
from dataclasses import dataclass

from blockmerge.core.hub_reference import HubReference
from blockmerge.errors import HubRefusalError
from blockmerge.hub.client import Hub
from blockmerge.hub.failures import in_sentences

OFFLINE = "The Hub is not asked while HF_HUB_OFFLINE is set. Unset it, then try again."


@dataclass(frozen=True, slots=True)
class Account:
    """`may_write` is what the token's kind allows; a fine-grained one may still not write everywhere."""

    name: str
    organisations: tuple[str, ...]
    may_write: bool


def who_is(hub: Hub) -> Account | None:
    """None for nobody. Raises SignInError for a token that the Hub does not accept, HubRefusalError or HubError."""
    if hub.offline:
        raise HubRefusalError(OFFLINE)
    if hub.token is None:
        return None
    with in_sentences(hub.attempt(HubReference("account"))):
        return _read(hub.api.whoami())


def _read(told: Mapping[str, object]) -> Account:
    name, organisations, auth = told["name"], told.get("orgs"), told.get("auth")
    if not isinstance(name, str):
        raise ValueError("an account without a name")
    held = organisations if isinstance(organisations, list) else []
    names = tuple(str(one["name"]) for one in held if isinstance(one, dict) and "name" in one)
    token = auth.get("accessToken") if isinstance(auth, dict) else None
    role = token.get("role") if isinstance(token, dict) else None
    return Account(name, names, role != "read")
