"""A visitor's token on its way from the page, which holds it in memory, to the worker beside it.

The page answers on loopback whoever proves that they know a key, which lies in BLOCKMERGE_HOME for this user of the
machine alone and is new with each start. So a token is in no file, table, argument or environment, and none leaves the
machine: a worker elsewhere reads without one.
"""

import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener, answer_challenge, deliver_challenge
from pathlib import Path

KEY_FILE = "tokens.key"
KEY_BYTES = 32
PATIENCE = 5.0  # seconds for each answer of the page

_LOOPBACK = "127.0.0.1"
_JOB_BYTES = 8
# The last is the library's own, for what somebody says who is no page.
_NO_PAGE = (OSError, EOFError, AuthenticationError, AssertionError)

TokenOf = Callable[[int], str]


@contextmanager
def telling_tokens(home: Path, token_of: TokenOf) -> Iterator[None]:
    """Within, this process tells the workers beside it the token for a job, by its number; empty where it has none.

    Of several pages with one home the last to start is asked.
    """
    key, ended = secrets.token_bytes(KEY_BYTES), threading.Event()
    with Listener((_LOOPBACK, 0), backlog=16) as listener:
        port: int = listener.address[1]
        path = _write(home, port, key)
        thread = threading.Thread(target=_listen, args=[listener, key, token_of, ended], name="tokens", daemon=True)
        thread.start()
        try:
            yield
        finally:
            if _read(home) == (port, key):
                path.unlink()
            ended.set()
            Client((_LOOPBACK, port)).close()  # nothing else ends a wait for the next one
            thread.join()


def _write(home: Path, port: int, key: bytes) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    path = home / KEY_FILE
    fresh = path.with_name(f"{KEY_FILE}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        json.dump({"port": port, "key": key.hex()}, file)
    fresh.replace(path)
    return path


def _read(home: Path) -> tuple[int, bytes] | None:
    try:
        value = json.loads((home / KEY_FILE).read_text(encoding="ascii"))
    except FileNotFoundError:
        return None
    return value["port"], bytes.fromhex(value["key"])


def _listen(listener: Listener, key: bytes, token_of: TokenOf, ended: threading.Event) -> None:
    while True:
        asking = listener.accept()
        if ended.is_set():
            asking.close()
            return
        # In a thread of its own: whoever connects and says nothing keeps nobody waiting.
        threading.Thread(target=_answer, args=[asking, key, token_of], name="tokens", daemon=True).start()


def _answer(asking: Connection, key: bytes, token_of: TokenOf) -> None:
    with asking, suppress(*_NO_PAGE):
        deliver_challenge(asking, key)
        answer_challenge(asking, key)
        job = int.from_bytes(asking.recv_bytes(_JOB_BYTES), "big")
        asking.send_bytes(token_of(job).encode())


def ask_token(home: Path, job: int) -> str | None:
    """The token of whoever a job is for; None where no page beside this worker holds one."""
    place = _read(home)
    if place is None:
        return None
    port, key = place
    with suppress(*_NO_PAGE), Client((_LOOPBACK, port)) as page:
        _wait(page)
        answer_challenge(page, key)
        deliver_challenge(page, key)
        page.send_bytes(job.to_bytes(_JOB_BYTES, "big"))
        _wait(page)
        return page.recv_bytes().decode() or None
    return None


def _wait(page: Connection) -> None:
    if not page.poll(PATIENCE):
        raise TimeoutError
