"""The page's process: the web application in a thread, a worker beside it, and an orderly end."""

import asyncio
import logging
import os
import socket
import sys
import threading

import uvicorn

from blockmerge.errors import JobRequestError
from blockmerge.jobs.bucket import kept_in
from blockmerge.jobs.secrets import mask_log_records
from blockmerge.jobs.store import Store, open_store
from blockmerge.jobs.supervise import supervised_worker
from blockmerge.settings import Settings
from blockmerge.ui.web import LOOPBACK, build_app

OPEN_TO_ALL = (
    "Whoever can reach this address can use the page and fill this machine's disk. "
    "Set BLOCKMERGE_PASSWORD to ask for a password."
)
LOOK_EVERY = 0.5  # seconds between two looks whether the server still runs
LAST_ANSWERS = 1  # seconds that answers under way may take when the server stops


def serve(settings: Settings, listen: str | None, port: int, root_path: str = "") -> int:
    """Serve until a signal says stop; returns the exit code. `listen` None is this machine only, or all of a Space."""
    logging.basicConfig(format="%(message)s")
    host = listen or ("0.0.0.0" if "SPACE_ID" in os.environ else "127.0.0.1")
    try:
        listener = _listener(host, port)
    except (OSError, OverflowError) as error:
        print(f"The page cannot answer at {host}, port {port}: {error}. Choose another with --port.", file=sys.stderr)
        return 2
    mask_log_records()
    try:
        store = open_store(settings)
    except JobRequestError as error:
        listener.close()
        print(error, file=sys.stderr)
        return 2
    with listener, store, kept_in(settings.bucket, store), supervised_worker(settings):
        server = _Server(settings, store, listener, host, root_path)
        try:
            return server.run()
        finally:
            server.stop()


def _listener(host: str, port: int) -> socket.socket:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server((host, port), family=family)


class _Server:
    def __init__(self, settings: Settings, store: Store, listener: socket.socket, host: str, root_path: str) -> None:
        self._settings = settings
        self._store = store
        self._listener = listener
        self._host = host
        self._root_path = root_path
        self._uvicorn: uvicorn.Server | None = None
        # In a thread, as signals are the main thread's, and uvicorn would take them for itself there.
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="server", daemon=True)

    def run(self) -> int:
        """Return only if the server ends by itself, which is a failure."""
        self._thread.start()
        while self._thread.is_alive():
            self._thread.join(LOOK_EVERY)
        return 1

    def stop(self) -> None:
        if self._uvicorn is not None:
            # Open pages hold their connections as long as they can; that these are cut is no news to anybody.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            self._uvicorn.should_exit = True
        self._thread.join(2 * LAST_ANSWERS)

    async def _serve(self) -> None:
        # Built inside the loop: elsewhere Gradio makes a loop for every lock and leaves it open.
        app = build_app(self._settings, self._store, listen=self._host, root_path=self._root_path)
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=LAST_ANSWERS)
        )
        number = self._listener.getsockname()[1]
        shown = "127.0.0.1" if self._host in LOOPBACK else self._host
        print(f"blockmerge is at http://{shown}:{number}", flush=True)
        if self._host not in LOOPBACK and not self._settings.password:
            print(OPEN_TO_ALL, flush=True)
        await self._uvicorn.serve(sockets=[self._listener])
