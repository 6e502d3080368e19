"""Parts of weight files from the Hub into sparse files, by range requests: what a merge reads, and little more."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

from blockmerge.checkpoints.files import open_to_change, write_all
from blockmerge.core.hub_reference import HubReference
from blockmerge.core.parts import Parts, Span
from blockmerge.core.progress import IsCancelled, Report, Stage
from blockmerge.hub.child import Mover
from blockmerge.hub.client import Hub
from blockmerge.hub.failures import in_sentences
from blockmerge.hub.ranges import RemoteFile

REQUEST = 16 * 2**20  # bytes of one request
REQUESTS_AT_ONCE = 8
_TOLD_EVERY = 2**20  # bytes


def fetch_parts(child: Mover, wanted: Sequence[Parts], *, report: Report, is_cancelled: IsCancelled) -> None:
    """Have the child write the spans where they belong; the files must be there, of their size. Progress is told in
    bytes of these spans. Raises HubRefusalError, HubError, StorageError or MergeCancelledError."""
    parts = [
        {
            "repository": one.reference.repository,
            "commit": one.reference.revision,
            "name": one.name,
            "size": one.size,
            "path": str(one.path.absolute()),
            "spans": one.spans,
        }
        for one in wanted
        if one.spans
    ]
    if parts:
        child.ask("parts", Stage.DOWNLOAD, {"parts": parts}, report, is_cancelled)


def bring(hub: Hub, request: Mapping[str, Any], tell: Callable[[int, int, str], None]) -> Mapping[str, Any]:
    """In the child: what fetch_parts asks for."""
    parts = [_read(one) for one in request["parts"]]
    total, done, lock = sum(one.nbytes for one in parts), 0, Lock()

    def told(count: int, name: str) -> None:
        nonlocal done
        with lock:
            before, done = done, done + count
        if before // _TOLD_EVERY != done // _TOLD_EVERY or done == total:
            tell(done, total, name)

    with ThreadPoolExecutor(REQUESTS_AT_ONCE, thread_name_prefix="parts") as pool:
        work = [pool.submit(_fetch, hub, one, span, told) for one in parts for span in _requests(one.spans)]
        try:
            for future in work:
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)
    return {}


def _read(asked: Mapping[str, Any]) -> Parts:
    reference = HubReference(asked["repository"], asked["commit"])
    spans = tuple((start, end) for start, end in asked["spans"])
    return Parts(reference, asked["name"], asked["size"], Path(asked["path"]), spans)


def _requests(spans: Sequence[Span]) -> Iterator[Span]:
    for begin, end in spans:
        yield from ((start, min(start + REQUEST, end)) for start in range(begin, end, REQUEST))


def _fetch(hub: Hub, parts: Parts, span: Span, told: Callable[[int, str], None]) -> None:
    start, end = span
    handle = open_to_change(parts.path)
    try:
        with in_sentences(hub.attempt(parts.reference)):
            for content in _remote(hub, parts.reference, parts.name, parts.size).stream(start, end - start):
                write_all(handle, memoryview(content), start)
                start += len(content)
                told(len(content), parts.name)
    finally:
        os.close(handle)


@cache
def _remote(hub: Hub, reference: HubReference, name: str, size: int) -> RemoteFile:
    """One for each file of this process, as it remembers its address."""
    return RemoteFile(hub, reference, name, size)
