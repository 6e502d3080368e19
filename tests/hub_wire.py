"""Between the Hub on loopback and its clients: what was asked, how slow the link is, and faults on demand."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(slots=True)
class Asked:
    """One request: `host` is "hub" or "storage", `weights` counts the bytes of weights that it was given."""

    method: str
    path: str
    host: str
    token: str | None
    byte_range: str | None
    status: int = 0
    weights: int = 0

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(slots=True)
class Fault:
    """What goes wrong with requests whose "METHOD /path" matches `pattern`, `times` of them behind the first `after`.

    With a `status` they get this answer; `cut_after` ends the connection after so many bytes of the true answer;
    `drop_bytes` leaves out the end of the true answer but says that it is whole; `seconds` lets them wait first.
    """

    pattern: str
    times: int = 1_000_000
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int | None = None
    drop_bytes: int = 0
    seconds: float = 0.0
    after: int = 0

    def takes(self, asked: Asked) -> bool:
        if self.times <= 0 or not re.search(self.pattern, str(asked)):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.times -= 1
        return True


class CutError(Exception):
    """Ends the connection; uvicorn closes it when an application fails in the middle of an answer."""


class Wire:
    """An ASGI application around another: `latency` in seconds for each request, `bandwidth` in bytes per second."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.asked: list[Asked] = []
        self.faults: list[Fault] = []
        self.latency = 0.0
        self.bandwidth = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = _read(scope)
        self.asked.append(asked)
        scope["asked"] = asked
        fault = next((fault for fault in self.faults if fault.takes(asked)), None)
        await asyncio.sleep(self.latency + (fault.seconds if fault else 0.0))
        if fault is not None and fault.status is not None:
            await _drain(receive)
            await self._answer(fault, asked, send)
        elif fault is not None and fault.cut_after == 0:
            await self._cut(send)
        else:
            await self._app(scope, receive, self._watched(send, asked, fault))

    async def _answer(self, fault: Fault, asked: Asked, send: Send) -> None:
        asked.status = fault.status or 0
        headers = [(name.lower().encode(), text.encode()) for name, text in fault.headers.items()]
        length = [] if any(name == b"content-length" for name, _ in headers) else [_length(len(fault.body))]
        await send({"type": "http.response.start", "status": asked.status, "headers": [*headers, *length]})
        await send({"type": "http.response.body", "body": fault.body})

    async def _cut(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [_length(1000)]})
        raise CutError

    def _watched(self, send: Send, asked: Asked, fault: Fault | None) -> Send:
        left = fault.cut_after if fault is not None else None
        total, sent = 0, 0

        async def watched(message: Message) -> None:
            nonlocal left, total, sent
            if message["type"] == "http.response.start":
                asked.status = message["status"]
                total = _shorten(message, fault.drop_bytes if fault else 0)
                await send(message)
                return
            body = message.get("body", b"")
            if fault is not None and fault.drop_bytes:
                body = body[: max(total - sent, 0)]
            if left is not None and len(body) >= left:
                await send({"type": "http.response.body", "body": body[:left], "more_body": True})
                raise CutError
            left = None if left is None else left - len(body)
            sent += len(body)
            if self.bandwidth and len(body) > 2**14:
                await asyncio.sleep(len(body) / self.bandwidth)
            await send({**message, "body": body})

        return watched


def _read(scope: Scope) -> Asked:
    headers = {name.decode().lower(): text.decode("latin-1") for name, text in scope["headers"]}
    host = "storage" if headers.get("host", "").startswith("localhost") else "hub"
    query = f"?{scope['query_string'].decode()}" if scope["query_string"] else ""
    token = headers["authorization"].removeprefix("Bearer ") if "authorization" in headers else None
    return Asked(scope["method"], scope["path"] + query, host, token, headers.get("range"))


async def _drain(receive: Receive) -> None:
    """Read the request to its end: a client that is still sending would see a cut connection, not the answer."""
    message: dict[str, Any] = {"more_body": True}
    while message.get("more_body"):
        message = dict(await receive())


def _length(nbytes: int) -> tuple[bytes, bytes]:
    return b"content-length", str(nbytes).encode()


def _shorten(message: Message, drop: int) -> int:
    """Take `drop` from the length that the head of an answer promises; the bytes that are left."""
    headers = dict(message["headers"])
    left = max(int(headers.get(b"content-length", b"0")) - drop, 0)
    if drop:
        message["headers"] = [*((n, t) for n, t in message["headers"] if n != b"content-length"), _length(left)]
    return left
