"""One password for the whole page, where whoever runs it sets BLOCKMERGE_PASSWORD.

HTTP Basic: browsers ask for it by themselves, curl and gradio_client can send it, and there is nothing to store.
"""

import asyncio
import base64
import binascii
import hmac

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from blockmerge.ui.wording import say

DELAY = 1.0  # seconds that a wrong password waits for its answer
MOST_WAITING = 8  # wrong passwords that wait at a time, so at most this many guesses in DELAY

OPEN = "/healthz"  # a container's health check knows no password

_ASK = {"WWW-Authenticate": 'Basic realm="blockmerge", charset="UTF-8"'}


class Password:
    """ASGI middleware that lets through who knows the password; the user name may be anything.

    Behind a proxy all guesses come from one address, so they are slowed down together. While many wrong ones wait, a
    right one waits outside, too: it could be found at full speed otherwise.
    """

    def __init__(self, app: ASGIApp, password: str, delay: float = DELAY) -> None:
        self._app = app
        self._password = password.encode()
        self._delay = delay
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] == OPEN:
            await self._app(scope, receive, send)
            return
        given = _given(Headers(scope=scope).get("authorization", ""))
        if given is not None and self._waiting >= MOST_WAITING:
            await _refuse(429, say("refused.passwords"))(scope, receive, send)
        elif given is not None and hmac.compare_digest(given, self._password):
            await self._app(scope, receive, send)
        else:
            await self._ask(given is not None, scope, receive, send)

    async def _ask(self, is_wrong: bool, scope: Scope, receive: Receive, send: Send) -> None:
        if is_wrong:
            self._waiting += 1
            try:
                await asyncio.sleep(self._delay)
            finally:
                self._waiting -= 1
        sentence = say("refused.password" if is_wrong else "refused.no_password")
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await _refuse(401, sentence)(scope, receive, send)


def _refuse(status: int, sentence: str) -> PlainTextResponse:
    return PlainTextResponse(sentence + "\n", status, _ASK if status == 401 else {"Retry-After": "5"})


def _given(header: str) -> bytes | None:
    """The password that an Authorization header holds; None where there is none, as in a browser's first request."""
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(text.strip(), validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""
