"""Parts of files come into sparse files, whatever the line does meanwhile."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockmerge.core.hub_reference import HubReference
from blockmerge.core.parts import Parts, Span
from blockmerge.errors import HubError, MergeCancelledError
from blockmerge.hub.child import Mover, mover
from blockmerge.hub.client import Hub
from blockmerge.hub.parts import fetch_parts
from tests.hub_server import HubServer

SIZE = 8_000_000
CONTENT = os.urandom(SIZE)
SPANS: tuple[Span, ...] = ((100, 200), (1_000_000, 3_000_000), (SIZE - 5, SIZE))


@pytest.fixture
def parts(server: HubServer, tmp_path: Path) -> Parts:
    server.store.commit(server.store.create("org/large"), {"model.safetensors": CONTENT})
    path = tmp_path / "model.safetensors"
    path.touch()
    os.truncate(path, SIZE)
    commit = server.store.repositories["org/large"].head.oid
    return Parts(HubReference("org/large", commit), "model.safetensors", SIZE, path, SPANS)


@pytest.fixture
def child(hub: Hub) -> Iterator[Mover]:
    with mover(hub) as running:
        yield running


def fetch(child: Mover, parts: Parts) -> list[int]:
    """The progress that was told."""
    told: list[int] = []
    fetch_parts(child, [parts], report=lambda progress: told.append(progress.done), is_cancelled=lambda: False)
    return told


def assert_only_these(parts: Parts) -> None:
    expected = bytearray(SIZE)
    for start, end in parts.spans:
        expected[start:end] = CONTENT[start:end]
    assert parts.path.read_bytes() == expected
    assert parts.path.stat().st_blocks * 512 < parts.nbytes + 50_000


def test_they_lie_where_they_belong_and_the_rest_takes_no_room(server: HubServer, child: Mover, parts: Parts) -> None:
    told = fetch(child, parts)

    assert told[-1] == parts.nbytes
    assert_only_these(parts)
    assert len(server.requests("storage")) == len(SPANS)


def test_the_address_of_a_file_is_asked_for_once(server: HubServer, child: Mover, parts: Parts) -> None:
    fetch(child, parts)
    server.asked.clear()

    fetch(child, parts)

    assert server.requests() == []


def test_a_cut_connection_costs_only_what_is_left(server: HubServer, child: Mover, parts: Parts) -> None:
    with server.failing("GET /_storage", cut_after=1_500_000, times=2):
        fetch(child, parts)

    assert_only_these(parts)


def test_an_address_that_ran_out_is_asked_for_again(server: HubServer, child: Mover, parts: Parts) -> None:
    fetch(child, parts)

    with server.failing("GET /_storage", status=403, times=1):
        fetch(child, parts)

    assert_only_these(parts)


def test_what_fails_for_good_is_told_in_a_sentence_and_the_child_takes_the_next_task(
    server: HubServer, child: Mover, parts: Parts
) -> None:
    with server.failing("GET /_storage", status=403), pytest.raises(HubError) as caught:
        fetch(child, parts)

    assert str(caught.value) == "The storage of the Hub refused a file (status 403). Try again; what was moved stays."
    fetch(child, parts)
    assert_only_these(parts)


def test_a_cancel_ends_the_child(server: HubServer, child: Mover, parts: Parts) -> None:
    with server.failing("GET /_storage", seconds=5), pytest.raises(MergeCancelledError):
        fetch_parts(child, [parts], report=lambda _: None, is_cancelled=lambda: bool(server.requests("storage")))

    assert child.process.wait(timeout=5) != 0
