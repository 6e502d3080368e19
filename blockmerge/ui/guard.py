"""The outermost layer of the page: who may ask (Host), on whose behalf (Origin), and how much (body).

Gradio alone answers to any Host, which lets another site's name be rebound to this machine, and to calls that another
site's page makes in the visitor's browser.
"""

import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blockmerge.ui.wording import say

BODY_LIMIT = 2 * 10**6  # bytes; the largest honest request, a page's whole state, is a few kilobytes
DRAIN_LIMIT = 16 * 10**6  # bytes read and thrown away of a body that is too large, so that the refusal is seen

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    # A Space is shown in a frame of huggingface.co. Scripts are not limited: Gradio's are inline and made from texts.
    "Content-Security-Policy": (
        "frame-ancestors 'self' https://huggingface.co; base-uri 'self'; form-action 'self'; object-src 'none'"
    ),
    # A sign-in opens a window of another site.
    "Cross-Origin-Opener-Policy": "same-origin-allow-popups",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/@\s]+)(?::\d{1,5})?", re.IGNORECASE)
_ORIGIN = re.compile(r"https?://([^/\s]+)", re.IGNORECASE)
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
_ANY_ADDRESS = frozenset({"0.0.0.0", "::", ""})


@dataclass(frozen=True, slots=True)
class Hosts:
    """The names the page answers to, without ports, in lower case.

    `public` are those that a proxy before the page may use. `any_address`: plain IP addresses are fine too, as a page
    that listens everywhere is asked by addresses it cannot know. No site can rebind those: rebinding needs a name.
    """

    own: frozenset[str]
    public: frozenset[str] = frozenset()
    any_address: bool = False

    def accept(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        name = match[1].lower() if match else ""
        return name in self.own or name in self.public or (self.any_address and _is_address(name))


def answered_hosts(listen: str, hosts: Collection[str], environ: Mapping[str, str]) -> Hosts:
    """This machine's own names, the address it listens on, those of the settings, and on a Space its public name."""
    public = {host.lower() for host in hosts}
    if "SPACE_ID" in environ:
        public.add(environ["SPACE_HOST"].lower())
    if listen in _ANY_ADDRESS:
        return Hosts(_LOOPBACK, frozenset(public), any_address=True)
    own = f"[{listen}]" if ":" in listen else listen
    return Hosts(_LOOPBACK | {own.lower()}, frozenset(public))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, hosts: Hosts) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if scope["type"] == "websocket":
            if refusal is None:
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008})
            return
        body = _Body(receive)
        if refusal is None and not await body.read(_content_length(headers)):
            refusal = _refuse(413, say("refused.too_large", most=BODY_LIMIT // 10**6))
        answer = _with_headers(send)
        if refusal is not None:
            await refusal(scope, receive, answer)
        elif not body.is_cut_off:
            await self._app(scope, body.receive, answer)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.getlist("host")
        if len(host) != 1 or not self._hosts.accept(host[0]):
            return _refuse(400, say("refused.host"))
        if self._is_from_another_site(headers, host[0]) and not _is_navigation(scope, headers):
            return _refuse(403, say("refused.site"))
        return None

    def _is_from_another_site(self, headers: Headers, host: str) -> bool:
        """Browsers always say so; curl and gradio_client send neither header, and are nobody's victim."""
        origins = headers.getlist("origin")
        if any(not self._is_own(origin, host) for origin in origins):
            return True
        # "same-site" may be another port or another name of the same domain: not this page.
        return headers.get("sec-fetch-site") in ("cross-site", "same-site")

    def _is_own(self, origin: str, host: str) -> bool:
        match = _ORIGIN.fullmatch(origin)
        if match is None:
            return False  # "null" among them: a sandboxed frame, or a local file
        return match[1].lower() == host.lower() or match[1].lower() in self._hosts.public


def _is_navigation(scope: Scope, headers: Headers) -> bool:
    """Somebody follows a link or types an address: that only shows a page."""
    return (
        scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and headers.get("sec-fetch-mode") == "navigate"
    )


def _refuse(status: int, sentence: str) -> Response:
    return PlainTextResponse(sentence + "\n", status, {"Connection": "close"})


def _content_length(headers: Headers) -> int:
    text = headers.get("content-length", "")
    return int(text) if text.isdecimal() else 0


class _Body:
    """A request's body, read in full before the application sees the request.

    Where it is too large nothing has begun then, and what is held is never more than the limit.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._bytes = bytearray()
        self._is_given = False
        self.is_cut_off = False

    async def read(self, declared: int) -> bool:
        """False if the body is, or is declared to be, larger than the limit."""
        size, fits, more = 0, declared <= BODY_LIMIT, True
        while more and size <= DRAIN_LIMIT:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.is_cut_off = True
                return True
            size += len(message.get("body", b""))
            fits = fits and size <= BODY_LIMIT
            if fits:
                self._bytes += message.get("body", b"")
            more = message.get("more_body", False)
        return fits

    async def receive(self) -> Message:
        if self._is_given:
            return await self._receive()
        self._is_given = True
        return {"type": "http.request", "body": bytes(self._bytes), "more_body": False}


def _with_headers(send: Send) -> Send:
    """The same `send`, but no answer may be read by other sites, guessed at, or framed by them."""

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name in [name for name in headers if name.startswith("access-control-")]:
                del headers[name]
            headers.update(HEADERS)
        await send(message)

    return answer
