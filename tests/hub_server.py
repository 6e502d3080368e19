"""A Hub on loopback that the real huggingface_hub client talks to: models only, kept in memory.

Large files are answered with a redirect to `localhost`, while the Hub itself is `127.0.0.1`: another origin, as the
real storage is, so that no token may arrive there. Run it with scripts/demo-hub.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from tests.hub_api import make_api
from tests.hub_store import Store
from tests.hub_wire import Asked, Fault, Wire


class HubServer:
    """A running Hub: `endpoint` is its address, `store` what it keeps, `asked` every request that came."""

    def __init__(self, store: Store, port: int = 0) -> None:
        self.store = store
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port = self._socket.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.wire = Wire(make_api(store, self.port))
        config = uvicorn.Config(self.wire, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    def start(self) -> None:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def join(self) -> None:
        self._thread.join()

    @property
    def asked(self) -> list[Asked]:
        return self.wire.asked

    @property
    def weights_given(self) -> int:
        """Bytes of weights that went out, headers apart."""
        return sum(asked.weights for asked in self.asked)

    def requests(self, host: str = "hub") -> list[str]:
        return [str(asked) for asked in self.asked if asked.host == host]

    @contextmanager
    def failing(self, pattern: str, **fault: Any) -> Iterator[Fault]:
        """Within, requests whose "METHOD /path" matches go wrong as Fault says."""
        added = Fault(pattern, **fault)
        self.wire.faults.append(added)
        try:
            yield added
        finally:
            self.wire.faults.remove(added)


@contextmanager
def running_hub(store: Store | None = None) -> Iterator[HubServer]:
    server = HubServer(store or Store())
    server.start()
    try:
        yield server
    finally:
        server.stop()
