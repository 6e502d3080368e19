"""`/sign-in`: a visitor of a Space goes to the Hub and comes back as somebody; there is none of it anywhere else.

It opens in a tab of its own, as the Hub does not let itself be framed; the page in the frame is another visitor's, to
the browser's cookies, so people go on in that tab.
"""

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from blockmerge.errors import HubError, InputError, SignInError
from blockmerge.hub.account import who_is
from blockmerge.hub.oauth import CALLBACK, REFUSED, Provider, asking_address, redeem
from blockmerge.ui.identity import Identity
from blockmerge.ui.visitors import owner_of
from blockmerge.ui.wording import say

ADDRESS = "/sign-in"
PATIENCE = 600.0  # seconds in which somebody comes back from the Hub
MOST = 10_000  # people who are on their way


@dataclass(frozen=True, slots=True)
class _Journey:
    state: str
    verifier: str
    begun: float


class Journeys:
    """Who has gone to the Hub, by owner. Coming back with another's state, or twice, is refused: else a link could
    sign somebody in as its sender."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._begun: dict[str, _Journey] = {}

    def begin(self, owner: str) -> tuple[str, str]:
        """A state and a verifier, both new."""
        self._begun.pop(owner, None)
        while len(self._begun) >= MOST:
            self._begun.pop(next(iter(self._begun)))
        journey = _Journey(secrets.token_urlsafe(32), secrets.token_urlsafe(48), self._now())
        self._begun[owner] = journey
        return journey.state, journey.verifier

    def end(self, owner: str, state: str) -> str:
        """The verifier. Raises SignInError."""
        journey = self._begun.pop(owner, None)
        if (
            journey is None
            or self._now() - journey.begun > PATIENCE
            or not hmac.compare_digest(journey.state.encode(), state.encode())
        ):
            raise SignInError(say("refused.sign_in"))
        return journey.verifier


def sign_in_router(provider: Provider, identity: Identity) -> APIRouter:
    router, journeys = APIRouter(), Journeys()

    @router.get(ADDRESS)
    def begin(request: Request) -> Response:
        return RedirectResponse(asking_address(provider, *journeys.begin(owner_of(request))), 303, _UNKEPT)

    @router.get(CALLBACK)
    def end(request: Request, code: str = "", state: str = "") -> Response:
        owner = owner_of(request)
        try:
            verifier = journeys.end(owner, state)
            if not code:  # they said no there
                raise SignInError(REFUSED)
            _take_in(provider, identity, owner, code, verifier)
        except (InputError, HubError) as error:
            return PlainTextResponse(f"{error}\n", 403, _UNKEPT)
        return RedirectResponse(f"{provider.page}/", 303, _UNKEPT)

    return router


_UNKEPT = {"Cache-Control": "no-store"}


def _take_in(provider: Provider, identity: Identity, owner: str, code: str, verifier: str) -> None:
    granted = redeem(provider, code, verifier)
    account = who_is(replace(identity.hub_of(owner), token=granted.token))
    assert account is not None  # there is a token
    until = None if granted.seconds is None else identity.now() + granted.seconds
    identity.sign_in(owner, granted.token, account.name, until)
