"""Who asks the Hub: whoever sits at this machine with the machine's token, a visitor only with a token of their own.

A visitor's token lives in the memory of the page's process, under the owner of that browser's jobs, and while one of
these is at work in that of the processes that carry it out (jobs/tokens.py). It is never written, logged or shown
again, and no other owner's call can be made with it.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from blockmerge.errors import JobRequestError
from blockmerge.jobs.states import RUNNING
from blockmerge.jobs.store import Store
from blockmerge.ui.wording import say

if TYPE_CHECKING:
    from blockmerge.hub.client import Hub

_TOKEN = re.compile(r"[\x21-\x7e]{8,300}")
MOST = 10_000  # people whose tokens are held; the one who came first is forgotten first


@dataclass(frozen=True, slots=True)
class SignIn:
    """`name` is whose token it is, where that was asked; `until` when it expires (seconds since 1970), where the Hub
    said so."""

    token: str = field(repr=False)
    name: str = ""
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """`home` is the settings' own; `is_private` says that only this machine can reach the page; `address` is where
    people sign in at the Hub, empty where they cannot."""

    home: Path
    is_private: bool
    address: str = ""
    now: Callable[[], float] = time.time
    _held: dict[str, SignIn] = field(default_factory=dict, repr=False)

    def hub_of(self, owner: str) -> "Hub":
        """The Hub as this owner of jobs (visitors.owner_of) sees it."""
        from blockmerge.hub.client import own_hub  # the Hub's client takes most of a second to import

        own, held = own_hub(self.home / "hub"), self.sign_in_of(owner)
        token = own.token if self.is_private else None
        return replace(
            own,
            token=held.token if held is not None else token,
            is_visitor=not self.is_private,
            sign_in=say("publish.how_here" if self.is_private else "publish.how"),
        )

    def take(self, owner: str, text: str) -> str:
        """Hold a token that somebody typed, if the Hub accepts it; whose it is. What is none is neither sent nor
        repeated. Raises JobRequestError, SignInError or HubError."""
        from blockmerge.hub.account import who_is

        token = text.strip()
        if not _TOKEN.fullmatch(token):
            raise JobRequestError(say("publish.no_token"))
        account = who_is(replace(self.hub_of(owner), token=token))
        assert account is not None  # there is a token
        self.sign_in(owner, token, account.name)
        return account.name

    def sign_in(self, owner: str, token: str, name: str = "", until: float | None = None) -> None:
        self._held.pop(owner, None)
        while len(self._held) >= MOST:
            self.sign_out(next(iter(self._held)))
        self._held[owner] = SignIn(token, name, until)

    def sign_out(self, owner: str) -> None:
        """Forget a token that was given here; that of the machine stays."""
        self._held.pop(owner, None)

    def token_for(self, store: Store, job_id: int) -> str:
        """What the owner of a job that is at work gave here; empty where nothing, or where there is no such job."""
        try:
            job = store.get(job_id)
        except JobRequestError:
            return ""
        held = self.sign_in_of(job.owner) if job.state in RUNNING else None
        return "" if held is None else held.token

    def is_signed_in_here(self, owner: str) -> bool:
        return self.sign_in_of(owner) is not None

    def sign_in_of(self, owner: str) -> SignIn | None:
        """What this owner gave; None where nothing, or where it has expired."""
        held = self._held.get(owner)
        if held is not None and held.until is not None and held.until <= self.now():
            self.sign_out(owner)
            return None
        return held
