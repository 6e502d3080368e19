"""Who this person is on the Hub: signing in, with a token or on a Space at the Hub itself, and out again."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from blockmerge.errors import HubError, InputError, JobRequestError
from blockmerge.ui.identity import Identity
from blockmerge.ui.parts import SHARED, OwnComponent
from blockmerge.ui.visitors import owner_of
from blockmerge.ui.wording import say


class Account(OwnComponent):
    """Fires `ask` with {"do": "sign_in", "token": text} or {"do": "sign_out"}; no value of it ever holds a token."""

    FRAME = '<div class="account"></div>'
    SCRIPTS = (SHARED, "account")
    STYLES = (SHARED, "account")
    TEXTS = ("account",)

    def connect(self, identity: Identity, tab: gr.Tab) -> None:
        handlers = Handlers(identity)
        quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        tab.select(handlers.refresh, None, self, **quick)
        self.ask(handlers.ask, None, self, trigger_mode="multiple", **quick)


@dataclass(frozen=True, slots=True)
class Handlers:
    identity: Identity

    def refresh(self, request: gr.Request) -> dict[str, object]:
        return view(self.identity, owner_of(request))

    def ask(self, request: gr.Request, event: gr.EventData) -> dict[str, object]:
        owner = owner_of(request)
        try:
            told = carry_out(self.identity, owner, event._data)
            return view(self.identity, owner) | {"told": told}
        except (InputError, HubError) as error:
            return view(self.identity, owner) | {"wrong": str(error)}


def view(identity: Identity, owner: str) -> dict[str, object]:
    """As far as it is known without asking the Hub; the token itself is never told."""
    held = identity.sign_in_of(owner)
    if held is not None:
        help_ = say("account.signed_in", name=held.name) if held.name else say("account.signed_in_unnamed")
    else:
        help_ = say("account.machine" if identity.hub_of(owner).token is not None else "account.nobody")
    return {"is_in": held is not None, "help": help_, "address": identity.address, "told": "", "wrong": ""}


def carry_out(identity: Identity, owner: str, told: object) -> str:
    """Carry out an `ask`; a sentence. Raises InputError, or HubError where the Hub cannot be asked."""
    match told:
        case {"do": "sign_in", "token": str(text), **rest} if not rest:
            return say("account.signed_in", name=identity.take(owner, text))
        case {"do": "sign_out", **rest} if not rest:
            identity.sign_out(owner)
            return say("account.forgotten")
    raise JobRequestError(say("settings.wrong_request"))
