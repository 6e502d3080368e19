"""A PostgreSQL of Debian's package, on loopback, with nothing but the tests' databases, gone with them."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

PASSWORD = "never-to-be-shown"


@dataclass(frozen=True)
class Postgres:
    port: int

    def new_queue(self) -> str:
        """The address of a database of its own."""
        name = f"queue_{secrets.token_hex(4)}"
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        return self._address(name)

    def _address(self, database: str) -> str:
        return f"postgresql://tester:{PASSWORD}@127.0.0.1:{self.port}/{database}"


def _programs() -> Path:
    """The folder of the newest server programs."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = debian[-1] if debian else shutil.which("initdb")
    assert found is not None, "These tests need PostgreSQL: apt-get install postgresql, or brew install postgresql."
    return Path(found).resolve().parent


def _as_somebody() -> Sequence[str]:
    """The server refuses to run as root; Debian's package brings a user for it."""
    if os.geteuid() != 0:
        return ()
    return ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    programs, somebody, port = _programs(), _as_somebody(), _free_port()
    with tempfile.TemporaryDirectory(prefix="blockmerge-postgres-") as name:
        folder = Path(name)
        (folder / "password").write_text(PASSWORD)
        if somebody:
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres", "postgres")

        def run(*arguments: str) -> None:
            done = subprocess.run([*somebody, *arguments], cwd=folder, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr

        cluster = str(folder / "cluster")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        pg_ctl = (str(programs / "pg_ctl"), "-D", cluster, "-w")
        run(
            *(str(programs / "initdb"), "-D", cluster, "-U", "tester", "--auth=scram-sha-256"),
            *(f"--pwfile={folder / 'password'}", "--no-sync", "--locale=C", "--encoding=UTF8"),
        )
        run(*pg_ctl, "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield Postgres(port)
        finally:
            run(*pg_ctl, "-m", "immediate", "stop")
