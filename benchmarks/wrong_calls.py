"""`python -m benchmarks.wrong_calls`: thousands of wrong calls of the API while an honest visitor uses the page.

The server is `python app.py` in a process of its own. What is asked: every wrong call is answered and none with a
traceback, the server lives, nothing is queued, and the honest visitor's clicks stay quick (the 99th percentile).
"""

import argparse
import http.client
import json
import random
import statistics
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.browser.conftest import running_app
from tests.threats.forged import payloads

SENDERS = 4  # at a time
PAUSE = 0.05  # seconds between two honest clicks
QUIET = 50  # honest clicks before the wrong calls begin, which say how busy the machine is with other things
# A click on the Merge tab opens two models, plans their merge and estimates what it needs; so does this.
HONEST = json.dumps(
    {"data": ["{blockmerge: 1, models: {a: example/lowercase, b: example/capitals}, weights: {layers: 0.5}}"]}
)


@dataclass
class Outcome:
    """Statuses of the wrong calls, those whose answer shows a traceback, and seconds of each honest click: beside
    the wrong calls, and before them."""

    statuses: Counter[int] = field(default_factory=Counter)
    tracebacks: list[str] = field(default_factory=list)
    clicks: list[float] = field(default_factory=list)
    quiet: list[float] = field(default_factory=list)


class Connection:
    """A kept connection to the page, made anew where the server has closed it."""

    def __init__(self, address: str) -> None:
        self._host = urlsplit(address).netloc
        self._http = http.client.HTTPConnection(self._host, timeout=60)

    def post(self, path: str, body: bytes) -> tuple[int, str]:
        try:
            return self._post(path, body)
        except (http.client.RemoteDisconnected, ConnectionError):
            self._http.close()
            return self._post(path, body)

    def _post(self, path: str, body: bytes) -> tuple[int, str]:
        self._http.request("POST", path, body, {"Content-Type": "application/json"})
        answer = self._http.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")

    def close(self) -> None:
        self._http.close()


def wrong_call(draw: random.Random, functions: int) -> tuple[str, bytes]:
    """A path of the API and a body that no page would send."""
    data = draw.choice(list(payloads(draw.randrange(8))))
    index = draw.choice((draw.randrange(functions), 999, -1))
    body = f'{{"data": {data}, "fn_index": {index}, "session_hash": "w{draw.randrange(50)}"}}'
    if draw.random() < 0.1:
        body = body[: draw.randrange(len(body))]
    path = draw.choice(("run/queue", "run/cancel", "run/nothing", "queue/join", "call/inspect", "call/v2/plan"))
    return f"/gradio_api/{path}", body.encode("utf-8", "surrogatepass")


def bombard(address: str, calls: int, functions: int, seed: int) -> Outcome:
    """Send so many wrong calls from SENDERS at once, and honest clicks beside them."""
    outcome, lock = Outcome(), threading.Lock()

    def send(number: int) -> None:
        draw, connection = random.Random(seed * SENDERS + number), Connection(address)
        for _ in range(calls // SENDERS):
            status, text = connection.post(*wrong_call(draw, functions))
            with lock:
                outcome.statuses[status] += 1
                if "Traceback" in text or "site-packages" in text:
                    outcome.tracebacks.append(text[:500])
        connection.close()

    honest = Connection(address)
    outcome.quiet = [_click(honest) for _ in range(QUIET)]
    senders = [threading.Thread(target=send, args=[number]) for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    while any(sender.is_alive() for sender in senders):
        outcome.clicks.append(_click(honest))
        time.sleep(PAUSE)
    honest.close()
    return outcome


def _click(honest: Connection) -> float:
    """Seconds."""
    began = time.perf_counter()
    status, text = honest.post("/gradio_api/run/plan", HONEST.encode())
    assert status == 200, text
    return time.perf_counter() - began


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.wrong_calls", description=__doc__)
    options.add_argument("--calls", type=int, default=10_000)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_app(Path(folder)) as app:
        outcome = bombard(app.address, given.calls, 40, given.seed)
        assert app.process.poll() is None
        jobs, log = app.store.recent(10), (Path(folder) / "app.log").stat().st_size
    print(f"{sum(outcome.statuses.values())} wrong calls: {dict(sorted(outcome.statuses.items()))}")
    print(f"tracebacks in answers: {len(outcome.tracebacks)}; jobs: {len(jobs)}; log: {log} bytes")
    for what, clicks in (("before", outcome.quiet), ("meanwhile", outcome.clicks)):
        ordered = sorted(clicks)
        print(
            f"{len(ordered)} honest clicks {what}: {1000 * statistics.median(ordered):.0f} ms in the middle, "
            f"{1000 * ordered[int(0.99 * len(ordered))]:.0f} ms at the 99th percentile"
        )


if __name__ == "__main__":
    main()
