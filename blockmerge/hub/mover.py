"""The process that child.py starts: it reads requests from stdin, carries them out, and answers in lines of JSON."""

import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars, logging

from blockmerge.core.progress import Stage
from blockmerge.errors import BlockmergeError
from blockmerge.hub.client import Hub
from blockmerge.hub.download import fetch
from blockmerge.hub.parts import bring
from blockmerge.hub.push import send
from blockmerge.hub.shards import look_at, store, which_are_known

CHUNK = 2**20  # bytes between two reports; with the client's own ten million a slow link would look dead

Tell = Callable[[int, int, str], None]
TASKS: Mapping[str, Callable[[Hub, Mapping[str, Any], Tell], Mapping[str, Any]]] = {
    Stage.DOWNLOAD.value: fetch,
    Stage.UPLOAD.value: send,
    "parts": bring,
    "destination": look_at,
    "shard": store,
    "known": which_are_known,
}


def main() -> None:
    requests = queue.Queue[Mapping[str, Any]]()
    threading.Thread(target=_listen, args=(requests,), name="parent", daemon=True).start()
    logging.set_verbosity(logging.ERROR)  # warnings of retries show signed addresses
    disable_progress_bars()
    constants.DOWNLOAD_CHUNK_SIZE = CHUNK
    while True:
        _say(_answer(requests.get()))


def _answer(request: Mapping[str, Any]) -> Mapping[str, Any]:
    person = request["hub"]
    folders = Path(person["cache"]), Path(person["kept"])
    hub = Hub(person["endpoint"], *folders, person["token"], sign_in=person["sign_in"])
    try:
        return {"result": dict(TASKS[request["task"]](hub, request, _tell))}
    except BlockmergeError as error:
        return {"refused": type(error).__name__, "problems": list(error.problems)}


def _tell(done: int, total: int, detail: str) -> None:
    _say({"done": done, "total": total, "detail": detail})


def _say(answer: Mapping[str, Any]) -> None:
    # One write, as several threads report.
    sys.stdout.write(f"{json.dumps(answer)}\n")
    sys.stdout.flush()


def _listen(requests: "queue.Queue[Mapping[str, Any]]") -> None:
    """Until the parent has gone; then everything ends at once."""
    try:
        with os.fdopen(0, "rb", buffering=0, closefd=False) as lines:
            for line in lines:
                requests.put(json.loads(line))
    finally:  # also in the middle of a line
        os._exit(1)
