"""Whose request is this? A browser is known by a signed cookie; where only this machine asks, there is one owner."""

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

import gradio as gr
from fastapi import Request
from gradio.context import LocalContext
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blockmerge.jobs.homes import random_bytes_at
from blockmerge.jobs.states import LOCAL

COOKIE = "blockmerge_visitor"
KEY_BYTES = 32
MAX_AGE = 400 * 24 * 3600  # seconds; browsers keep no cookie longer

_VALUE = re.compile(r"([0-9a-f]{32})\.([0-9a-f]{64})")


def owner_of(request: gr.Request | Request) -> str:
    """The owner of the jobs that this request adds and sees: an id to compare, never to show."""
    # gr.Request passes on to the request it wraps what it does not know itself.
    owner: str = request.state.owner
    return owner


def asking_owner() -> str:
    """owner_of the request that this very call answers; empty outside of one, and then nobody's."""
    request = LocalContext.request.get(None)
    return owner_of(request) if request else ""


def read_key(home: Path) -> bytes:
    """The key that signs cookies, made on the first call; only this user of the machine can read it."""
    return random_bytes_at(home / "visitors.key", KEY_BYTES)


class Visitors:
    """ASGI middleware that says in `request.state.owner` whose request it is, and gives new browsers their cookie.

    `key` None: only this machine can ask, and all of its requests are those of one owner.
    """

    def __init__(self, app: ASGIApp, key: bytes | None, environ: Mapping[str, str] = os.environ) -> None:
        self._app = app
        self._key = key
        self._is_framed = "SPACE_ID" in environ

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        visitor, answer = "", send
        if self._key is not None:
            headers = Headers(scope=scope)
            visitor = _known(headers, self._key)
            if not visitor:
                visitor = secrets.token_hex(16)
                answer = _with_cookie(send, self._cookie(visitor, self._key, _is_https(scope, headers)))
        scope.setdefault("state", {})["owner"] = f"browser:{visitor}" if visitor else LOCAL
        await self._app(scope, receive, answer)

    def _cookie(self, visitor: str, key: bytes, https: bool) -> str:
        parts = [f"{COOKIE}={visitor}.{_signature(visitor, key)}", "Path=/", f"Max-Age={MAX_AGE}", "HttpOnly"]
        if self._is_framed and https:
            # A Space stands in a frame of another site, where a browser keeps only cookies of this kind.
            return "; ".join([*parts, "SameSite=None", "Secure", "Partitioned"])
        return "; ".join([*parts, "SameSite=Lax", *(["Secure"] if https else [])])


def _known(headers: Headers, key: bytes) -> str:
    """The visitor whose cookie this is; empty without a cookie that this page has signed."""
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    match = _VALUE.fullmatch(cookie.value) if cookie else None
    return match[1] if match and hmac.compare_digest(match[2], _signature(match[1], key)) else ""


def _signature(visitor: str, key: bytes) -> str:
    return hmac.new(key, visitor.encode(), hashlib.sha256).hexdigest()


def _is_https(scope: Scope, headers: Headers) -> bool:
    # Behind a proxy; a visitor who forges the header only keeps the cookie from himself.
    return scope.get("scheme") in ("https", "wss") or headers.get("x-forwarded-proto", "").split(",")[0] == "https"


def _with_cookie(send: Send, cookie: str) -> Send:
    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).append("set-cookie", cookie)
        await send(message)

    return answer
