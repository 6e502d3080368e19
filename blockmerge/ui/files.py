"""`/files/{job}/`: what a finished job made, as a list, file by file, and as one tar archive, for its owner only."""

import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response, StreamingResponse

from blockmerge.checkpoints.manifest import MANIFEST, read_manifest
from blockmerge.core.describe import size_text
from blockmerge.errors import JobRequestError, StorageError, VerifyError
from blockmerge.jobs.own_jobs import NO_SUCH_JOB
from blockmerge.jobs.states import Job, JobState
from blockmerge.jobs.store import Store
from blockmerge.ui.visitors import owner_of
from blockmerge.ui.wording import say

ARCHIVE = "all.tar"
CHUNK = 1 << 20  # bytes
LARGEST_ID = 2**31 - 1  # of a table's numbers in PostgreSQL


@dataclass(frozen=True, slots=True)
class ResultFile:
    """`name` is relative to the result's folder, with forward slashes; `path` has no link in it."""

    name: str
    path: Path
    size: int
    mtime: int


def result_files(out: Path) -> tuple[ResultFile, ...]:
    """The files that the manifest names, and the manifest, as far as they are regular files in the folder itself.

    Raises VerifyError where `out` is no result.
    """
    names = [*read_manifest(out).files, MANIFEST]
    root = Path(os.path.realpath(out))
    return tuple(_result_file(root, name) for name in sorted(names) if _lies_in(root, name))


def _lies_in(root: Path, name: str) -> bool:
    path = root / name
    return path.is_relative_to(root) and Path(os.path.realpath(path)) == path and path.is_file()


def _result_file(root: Path, name: str) -> ResultFile:
    stat = (root / name).stat()
    return ResultFile(name, root / name, stat.st_size, int(stat.st_mtime))


@dataclass(frozen=True, slots=True)
class Archive:
    """A tar archive that is never held as a whole; its length is known before it is made."""

    folder: str
    files: Sequence[ResultFile]

    @property
    def length(self) -> int:
        return sum(len(self._header(file)) + file.size + _padding(file.size) for file in self.files) + len(_END)

    def stream(self) -> Iterator[bytes]:
        """Raises StorageError where a file has become shorter meanwhile."""
        for file in self.files:
            yield self._header(file)
            yield from _content(file)
            yield bytes(_padding(file.size))
        yield _END

    def _header(self, file: ResultFile) -> bytes:
        info = tarfile.TarInfo(f"{self.folder}/{file.name}")
        info.size, info.mtime = file.size, file.mtime
        return info.tobuf(tarfile.GNU_FORMAT)  # sizes over 8 GB and long names


_END = bytes(2 * tarfile.BLOCKSIZE)


def _padding(size: int) -> int:
    return -size % tarfile.BLOCKSIZE


def _content(file: ResultFile) -> Iterator[bytes]:
    left = file.size
    with file.path.open("rb") as opened:
        while left:
            chunk = opened.read(min(CHUNK, left))
            if not chunk:
                raise StorageError(say("refused.shorter", file=file.name))
            left -= len(chunk)
            yield chunk


def files_router(store: Store, root_path: str = "") -> APIRouter:
    router = APIRouter(prefix="/files/{number:int}")

    @router.get("/")
    def list_files(number: int, request: Request) -> Response:
        try:
            job = _done_job(store, number, request)
            page = _page(job, result_files(job.out), f"{_origin(request)}{root_path}/files/{job.id}/{ARCHIVE}")
        except (JobRequestError, VerifyError) as error:
            return _not_found(str(error))
        return HTMLResponse(page)

    @router.get(f"/{ARCHIVE}")
    def download_all(number: int, request: Request) -> Response:
        try:
            job = _done_job(store, number, request)
            archive = Archive(job.name, result_files(job.out))
        except (JobRequestError, VerifyError) as error:
            return _not_found(str(error))
        headers = {
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(job.name, safe='')}.tar",
            "Content-Length": str(archive.length),
        }
        return StreamingResponse(archive.stream(), media_type="application/x-tar", headers=headers)

    @router.get("/{name:path}")
    def download(number: int, name: str, request: Request) -> Response:
        try:
            files = {file.name: file for file in result_files(_done_job(store, number, request).out)}
        except (JobRequestError, VerifyError) as error:
            return _not_found(str(error))
        # Looked up, not joined: what the address says never becomes a path.
        file = files.get(name)
        if file is None:
            return _not_found(say("refused.no_file", job=number))
        return FileResponse(file.path, media_type="application/octet-stream", filename=file.path.name)

    return router


def _done_job(store: Store, number: int, request: Request) -> Job:
    job = store.get(number) if number <= LARGEST_ID else None
    if job is None or job.owner != owner_of(request):
        raise JobRequestError(NO_SUCH_JOB)
    if job.state is not JobState.DONE:
        raise JobRequestError(say("refused.no_files", job=job.id, state=job.state))
    return job


def _origin(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"


def _not_found(sentence: str) -> Response:
    return PlainTextResponse(sentence + "\n", 404)


_STYLE = """
:root{color-scheme:light dark}
body{max-width:720px;margin:32px auto;padding:0 16px;font:14px/20px ui-sans-serif,system-ui,sans-serif}
h1{font-size:16px}td{padding:4px 24px 4px 0}td+td{text-align:right}
code{display:block;padding:10px 12px;overflow-x:auto;white-space:nowrap;background:#8882;border-radius:8px}
"""


def _page(job: Job, files: Iterable[ResultFile], archive: str) -> str:
    files = tuple(files)
    rows = "".join(
        f'<tr><td><a href="{escape(quote(file.name))}">{escape(file.name)}</a></td><td>{size_text(file.size)}</td></tr>'
        for file in files
    )
    total = size_text(sum(file.size for file in files))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(job.name)}</title><style>{_STYLE}</style>"
        f"<h1>{escape(job.name)}</h1><p>Made by job {job.id}. Result digest {escape(job.digest or '')}.</p>"
        f'<table>{rows}</table><p><a href="{ARCHIVE}">Download all, {total}, as one tar archive</a></p>'
        "<p>Or on another machine, straight into a folder:</p>"
        f"<code>curl {escape(archive)} | tar -x</code></html>"
    )
