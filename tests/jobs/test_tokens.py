"""The way of a token from the page to the worker beside it."""

import json
import socket
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from pathlib import Path

import pytest

from blockmerge.jobs import tokens
from blockmerge.jobs.tokens import KEY_FILE, ask_token, telling_tokens


def token_of(job: int) -> str:
    return {7: "hf_seven"}.get(job, "")


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Path]:
    """The home of a page that holds a token for job 7."""
    with telling_tokens(tmp_path, token_of):
        yield tmp_path


def port_of(home: Path) -> int:
    return int(json.loads((home / KEY_FILE).read_text())["port"])


def test_a_worker_is_told_the_token_of_its_job_and_of_no_other(page: Path) -> None:
    assert ask_token(page, 7) == "hf_seven"
    assert ask_token(page, 8) is None


def test_without_a_page_there_is_none(tmp_path: Path) -> None:
    assert ask_token(tmp_path, 7) is None


def test_a_page_that_has_ended_leaves_nothing_behind(tmp_path: Path) -> None:
    with telling_tokens(tmp_path, token_of):
        port = port_of(tmp_path)

    assert [*tmp_path.iterdir()] == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_page_that_was_killed_is_not_waited_for(tmp_path: Path) -> None:
    with telling_tokens(tmp_path, token_of):
        left = (tmp_path / KEY_FILE).read_bytes()
    (tmp_path / KEY_FILE).write_bytes(left)

    assert ask_token(tmp_path, 7) is None


@pytest.mark.skipif(sys.platform == "win32", reason="its files have no modes")
def test_only_this_user_can_read_the_key_and_no_token_is_in_it(page: Path) -> None:
    path = page / KEY_FILE

    assert ask_token(page, 7) == "hf_seven"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"hf_seven" not in path.read_bytes()
    assert [*page.iterdir()] == [path]


def test_whoever_does_not_know_the_key_is_told_nothing(page: Path) -> None:
    with pytest.raises(AuthenticationError):
        Client(("127.0.0.1", port_of(page)), authkey=b"x" * 32)

    with socket.create_connection(("127.0.0.1", port_of(page)), timeout=10) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        said = b""
        with suppress(ConnectionResetError):
            while part := stranger.recv(1000):
                said += part
    assert b"hf_" not in said
    assert ask_token(page, 7) == "hf_seven"


def test_who_connects_and_says_nothing_keeps_nobody_waiting(page: Path) -> None:
    with socket.create_connection(("127.0.0.1", port_of(page))):
        start = time.monotonic()
        assert ask_token(page, 7) == "hf_seven"
        assert time.monotonic() - start < 2


def test_a_worker_tells_its_job_to_nobody_but_the_page(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = page / KEY_FILE
    path.write_text(json.dumps({"port": port_of(page), "key": "00" * 32}))  # as if another program had taken its port
    assert ask_token(page, 7) is None

    monkeypatch.setattr(tokens, "PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        path.write_text(json.dumps({"port": silent.getsockname()[1], "key": "00" * 32}))
        assert ask_token(page, 7) is None


def test_of_two_pages_with_one_home_the_last_is_asked_and_removes_only_its_own(tmp_path: Path) -> None:
    with telling_tokens(tmp_path, token_of):
        with telling_tokens(tmp_path, lambda _: "hf_other"):
            assert ask_token(tmp_path, 7) == "hf_other"
        assert ask_token(tmp_path, 7) is None

    with telling_tokens(tmp_path, token_of):
        later = telling_tokens(tmp_path, lambda _: "hf_other")
        later.__enter__()
    assert ask_token(tmp_path, 7) == "hf_other"
    later.__exit__(None, None, None)
