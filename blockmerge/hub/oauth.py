"""Signing in at the Hub with what a Space is given for it: a visitor's browser goes there and comes back with a code.

https://huggingface.co/docs/hub/oauth, the code flow of RFC 6749 with PKCE (RFC 7636). The token comes straight to this
process: unlike Gradio's own sign-in, which keeps it in a cookie, it is in nobody's browser.
"""

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from huggingface_hub import get_session
from huggingface_hub.utils import httpx

from blockmerge.errors import HubError, SignInError
from blockmerge.hub.client import TIMEOUT

CALLBACK = "/sign-in/done"
REFUSED = "The Hub did not confirm who you are. Sign in again."


@dataclass(frozen=True, slots=True)
class Provider:
    """`address` is that of the Hub, `page` that of this page as visitors see it, without a slash at its end."""

    address: str
    page: str
    client: str
    secret: str = field(repr=False)
    scopes: str


@dataclass(frozen=True, slots=True)
class Granted:
    """A token, and for how many seconds it holds, where the Hub says so."""

    token: str = field(repr=False)
    seconds: float | None


def read_provider(environ: Mapping[str, str]) -> Provider | None:
    """None anywhere but on a Space whose card says `hf_oauth: true`."""
    names = ("OPENID_PROVIDER_URL", "SPACE_HOST", "OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OAUTH_SCOPES")
    address, host, client, secret, scopes = (environ.get(name, "").strip() for name in names)
    if not environ.get("SPACE_ID") or not all((address, host, client, secret)):
        return None
    first = host.split(",")[0].strip()  # with a domain of its own a Space has several
    return Provider(address.rstrip("/"), f"https://{first}", client, secret, scopes or "openid profile")


def asking_address(provider: Provider, state: str, verifier: str) -> str:
    """Where the browser is sent; `state` comes back with it, `verifier` stays here."""
    digest = hashlib.sha256(verifier.encode()).digest()
    asked = {
        "response_type": "code",
        "client_id": provider.client,
        "redirect_uri": f"{provider.page}{CALLBACK}",
        "scope": provider.scopes,
        "state": state,
        "code_challenge": urlsafe_b64encode(digest).decode().rstrip("="),
        "code_challenge_method": "S256",
    }
    return f"{provider.address}/oauth/authorize?{urlencode(asked)}"


def redeem(provider: Provider, code: str, verifier: str) -> Granted:
    """The token for a code that a browser came back with. Raises SignInError or HubError."""
    told = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": f"{provider.page}{CALLBACK}",
        "client_id": provider.client,
        "code_verifier": verifier,
    }
    try:
        answer = get_session().post(
            f"{provider.address}/oauth/token", data=told, auth=(provider.client, provider.secret), timeout=TIMEOUT
        )
        value = answer.json() if answer.status_code == 200 else None
    except (httpx.HTTPError, ValueError) as error:
        raise HubError(f"{provider.address} cannot be asked who you are. Try again.") from error
    match value:
        case {"access_token": str(token), **more} if token:
            seconds = more.get("expires_in")
            return Granted(token, float(seconds) if isinstance(seconds, int | float) else None)
    raise SignInError(REFUSED)
