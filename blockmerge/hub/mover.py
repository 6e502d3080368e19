"""The process that child.py starts: it reads one request from stdin, carries it out, and answers in lines of JSON."""

import json
import os
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
from blockmerge.hub.push import send

CHUNK = 2**20  # bytes between two reports; with the client's own ten million a slow link would look dead

Tell = Callable[[int, int, str], None]
TASKS: Mapping[Stage, Callable[[Hub, Mapping[str, Any], Tell], Mapping[str, Any]]] = {
    Stage.DOWNLOAD: fetch,
    Stage.UPLOAD: send,
}


def main() -> None:
    request = json.loads(os.fdopen(0, "rb", buffering=0, closefd=False).readline())
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    logging.set_verbosity(logging.ERROR)  # warnings of retries show signed addresses
    disable_progress_bars()
    constants.DOWNLOAD_CHUNK_SIZE = CHUNK
    person = request["hub"]
    folders = Path(person["cache"]), Path(person["kept"])
    hub = Hub(person["endpoint"], *folders, person["token"], sign_in=person["sign_in"])
    try:
        answer: Mapping[str, Any] = {"result": dict(TASKS[Stage(request["stage"])](hub, request, _tell))}
    except BlockmergeError as error:
        answer = {"refused": type(error).__name__, "problems": list(error.problems)}
    _say(answer)


def _tell(done: int, total: int, detail: str) -> None:
    _say({"done": done, "total": total, "detail": detail})


def _say(answer: Mapping[str, Any]) -> None:
    # One write, as several threads report.
    sys.stdout.write(f"{json.dumps(answer)}\n")
    sys.stdout.flush()


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)
