"""Twenty faults in each of five phases: one right sentence, no token in it or anywhere, nothing half on the Hub, and
the same call again is enough."""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from blockmerge.errors import BlockmergeError
from blockmerge.hub.client import Hub, look_up
from blockmerge.hub.download import fetch, plan_download
from blockmerge.hub.headers import open_headers
from blockmerge.hub.push import send
from tests.hub.conftest import hub_of
from tests.hub_server import HubServer, running_hub
from tests.tiny_models import write_llama

STORAGE = "The storage of the Hub refused a file (status {status}). Try again; what was moved stays."
REFUSED = "The Hub refused this (status {status}"
TROUBLE = "The Hub has trouble of its own (status {status}). Try again later; what was moved stays."
FULL = "The Hub takes no more from this account. Free some space there, then push again."
CHANGED = "Somebody changed ann/merged meanwhile, so nothing was changed."
EXPIRED = "The Hub does not accept this token: it is wrong, or has expired. Sign in again "
PART = "The Hub gave another part of a file than was asked for. Try again."
BUSY = "The Hub counts too many requests from here. Wait, then try again; what was moved stays."
NONSENSE = "The answer of {endpoint} makes no sense. Check HF_ENDPOINT, or try later."
LISTED = "model.safetensors did not come from the Hub as it is listed: "
LENGTH = "A file came from the Hub with the wrong length. Try again; it is fetched anew."
CUT = "The connection to the Hub was cut. Try again; what was moved stays."
CIRCLE = "The Hub sends requests in a circle. Check HF_ENDPOINT, or try later."
SILENT = "The Hub at {endpoint} does not answer. Check the connection and try again; what was moved stays."
MAY_NOT_READ = "This token may not read org/a. Use another token, or ask its owner for access."
MAY_NOT_WRITE = "This token may not write to ann/merged. Use a token with write access, another name, or, where "


@dataclass(frozen=True)
class Phase:
    """A step of the road and the requests that go wrong in it; `said` has its sentences where they are not REFUSED."""

    requests: str
    said: Mapping[int, str]
    other: str = REFUSED


_ALWAYS = {416: PART, 429: BUSY}
_WRITING = {507: FULL}
PHASES = {
    "look": Phase("GET /api/models/org/a", {401: EXPIRED, 403: MAY_NOT_READ}),
    "headers": Phase("GET /_storage", {}, STORAGE),
    "download": Phase("GET /_storage", {}, STORAGE),
    "upload": Phase("PUT /_storage", _WRITING, STORAGE),
    "commit": Phase(
        "POST .*/commit/", {401: EXPIRED, 403: MAY_NOT_WRITE, 409: CHANGED, 412: CHANGED, 413: FULL, **_WRITING}
    ),
}
STATUSES = (400, 401, 403, 404, 409, 412, 413, 416, 418, 429, 500, 502, 503, 504, 507)
ODD: dict[str, dict[str, Any]] = {
    "html": {"status": 200, "headers": {"Content-Type": "text/html"}, "body": b"<html>Sign in to this hotel</html>"},
    "short": {"drop_bytes": 7},
    "cut": {"cut_after": 0},
    "circle": {"status": 307},
    "slow": {"seconds": 1.0},
}
SAID_OF_ODD = {
    "html": {"headers": LISTED, "download": LENGTH},
    "short": {"headers": LISTED, "download": LENGTH},
    "cut": {},
    "circle": {},
    "slow": {},
}
USUAL = {"html": NONSENSE, "short": NONSENSE, "cut": CUT, "circle": CIRCLE, "slow": SILENT}
_BATCH = "POST .*/info/lfs/objects/batch"
# A PUT has no answer that could be wrong, and a commit whose answer is lost is made: there it is a request before.
ELSEWHERE = {
    ("upload", "html"): _BATCH,
    ("upload", "short"): _BATCH,
    ("upload", "circle"): _BATCH,
    ("commit", "short"): "POST .*/preupload/",
    ("commit", "slow"): "POST /api/validate-yaml",
}
CIRCLES = {
    "look": "/api/models/org/a",
    "headers": "/_storage/x",
    "download": "/_storage/x",
    "upload": "/x.git/info/lfs/objects/batch",
    "commit": "/api/models/x/commit/main",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    with running_hub() as running:
        running.store.add_folder("org/a", write_llama(tmp_path_factory.mktemp("models") / "a", layers=1, hidden=8))
        running.store.add_user("ann")
        yield running


@pytest.fixture
def ann(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Who neither waits between two tries nor long for an answer; `ann/merged` is there and holds one file."""
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    server.asked.clear()
    server.store.commit(server.store.create("ann/merged"), {"note.txt": b"mine"})
    return hub_of(server, tmp_path, next(iter(server.store.users.values())))


def run(phase: str, hub: Hub, folder: Path) -> None:
    reference = hub.read_reference("org/a")
    assert reference is not None
    if phase == "look":
        look_up(hub, reference)
    elif phase == "headers":
        open_headers(hub, look_up(hub, reference))
    elif phase == "download":
        planned = plan_download(hub, open_headers(hub, look_up(hub, reference)))
        wanted = {"repository": "org/a", "commit": planned.reference.revision, "missing": dict(planned.missing)}
        fetch(hub, {"wanted": [wanted]}, lambda *_: None)
        assert not plan_download(hub, planned.checkpoint).missing
    else:
        to = {"repository": "ann/merged", "is_public": False, "as_pull_request": False, "message": "merge"}
        files = {
            "folder": str(folder),
            "files": ["model.safetensors"],
            "texts": {"README.md": "# merged\n"},
            "pictures": {},
            "sent": [],
            "parent": None,
        }
        send(hub, {**to, **files}, lambda *_: None)


def faults() -> Iterator[tuple[str, str, dict[str, Any], str, str]]:
    """Phase, name, the fault, the requests that it befalls, and how the sentence begins."""
    for phase, held in PHASES.items():
        for status in STATUSES:
            usual = TROUBLE if status >= 500 else held.other
            said = held.said.get(status, _ALWAYS.get(status, usual)).format(status=status, endpoint="{endpoint}")
            yield phase, str(status), {"status": status}, held.requests, said
        for name, fault in ODD.items():
            where: dict[str, Any] = {"headers": {"Location": CIRCLES[phase]}} if name == "circle" else {}
            if (phase, name) == ("headers", "cut"):
                where = {"cut_after": 3}  # in the middle: a head without the range that was asked for is another fault
            requests = ELSEWHERE.get((phase, name), held.requests)
            yield phase, name, fault | where, requests, SAID_OF_ODD[name].get(phase, USUAL[name])


@pytest.mark.parametrize(
    ("phase", "name", "fault", "requests", "said"), [pytest.param(*row, id=f"{row[0]}-{row[1]}") for row in faults()]
)
def test_a_fault_is_told_leaves_no_trace_and_is_over_with_the_next_try(  # noqa: PLR0913 - fixtures
    server: HubServer,
    ann: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    phase: str,
    name: str,
    fault: dict[str, Any],
    requests: str,
    said: str,
) -> None:
    result = write_llama(tmp_path / "out", layers=1, hidden=8, seed=zlib.crc32(f"{phase} {name}".encode()))
    content = (result / "model.safetensors").read_bytes()
    if phase == "download":
        run("headers", ann, result)
    before = server.store.repositories["ann/merged"].head
    if name == "slow":
        for module in ("client", "ranges"):
            monkeypatch.setattr(f"blockmerge.hub.{module}.TIMEOUT", 0.2)

    with server.failing(requests, **fault), pytest.raises(BlockmergeError) as caught:
        run(phase, ann, result)
    monkeypatch.undo()

    assert str(caught.value).startswith(said.format(endpoint=server.endpoint))
    assert len(caught.value.problems) == 1
    assert server.store.repositories["ann/merged"].head == before
    assert not [path for path in server.requests() if path.startswith("DELETE") or "/settings" in path]

    run(phase, ann, result)

    assert (result / "model.safetensors").read_bytes() == content
    heard = f"{caught.value} {capfd.readouterr()} {caplog.text}"
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert ann.token is not None
    assert ann.token not in heard
    assert ann.token.encode() not in written


@pytest.mark.parametrize("phase", ["headers", "download"])
def test_a_full_disk_is_told(
    server: HubServer, ann: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    if phase == "download":
        run("headers", ann, tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("blockmerge.hub.headers._Mirror._put", full)
        patch.setattr("huggingface_hub.file_download.http_get", full)
        with pytest.raises(BlockmergeError) as caught:
            run(phase, ann, tmp_path)

    assert str(caught.value) == "The disk is full. Free some space, then try again; files that are whole stay."
    run(phase, ann, tmp_path)
