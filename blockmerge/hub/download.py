"""Weights from the Hub into the client's own cache, which other programs share: each file once, whole or not at all."""

import glob
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

from filelock import FileLock, Timeout
from huggingface_hub import snapshot_download
from tqdm.auto import tqdm

from blockmerge.checkpoints.folder import open_checkpoint
from blockmerge.checkpoints.shards import BIN_INDEX, INDEX
from blockmerge.core.describe import size_text
from blockmerge.core.hub_reference import HubReference
from blockmerge.core.progress import IsCancelled, Report, Stage
from blockmerge.core.tensors import Checkpoint
from blockmerge.errors import HubError, StorageError
from blockmerge.hub.child import move
from blockmerge.hub.client import Hub
from blockmerge.hub.failures import in_sentences

FILES_AT_ONCE = 4  # more would lose more when somebody cancels, as a file is taken up from its start
HEADROOM = 64 * 10**6  # bytes that should stay free


@dataclass(frozen=True, slots=True)
class Download:
    """What a checkpoint that is known by its headers needs from the Hub, and which of it is not here yet."""

    checkpoint: Checkpoint
    folder: Path
    missing: Mapping[str, int]

    @property
    def nbytes(self) -> int:
        return sum(self.missing.values())

    @property
    def total(self) -> int:
        """Bytes of all that it needs, here or not."""
        return sum(size for _, size in _files_of(self.checkpoint))

    @property
    def reference(self) -> HubReference:
        assert self.checkpoint.origin is not None
        return self.checkpoint.origin


def plan_download(hub: Hub, checkpoint: Checkpoint) -> Download:
    assert checkpoint.origin is not None
    folder = repository_folder(hub, checkpoint.origin) / "snapshots" / str(checkpoint.origin.revision)
    return Download(
        checkpoint, folder, {name: size for name, size in _files_of(checkpoint) if not _is_here(folder / name, size)}
    )


def repository_folder(hub: Hub, reference: HubReference) -> Path:
    """Where the client's cache has a repository."""
    return hub.cache / f"models--{reference.repository.replace('/', '--')}"


def _files_of(checkpoint: Checkpoint) -> Iterator[tuple[str, int]]:
    yield from ((file.name, file.size) for file in checkpoint.shards)
    yield from ((file.name, file.size) for file in checkpoint.side_files)
    index = INDEX if checkpoint.shards[0].name.endswith(".safetensors") else BIN_INDEX
    if (checkpoint.folder / index).is_file():
        yield index, (checkpoint.folder / index).stat().st_size


def _is_here(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def check_space(hub: Hub, downloads: Iterable[Download], result: int = 0, out: Path | None = None) -> None:
    """Raises StorageError where the downloads, and a result of so many bytes at `out`, do not fit on their disk."""
    needed = sum(download.nbytes for download in downloads)
    if not needed:
        return
    cache = _nearest(hub.cache)
    free = shutil.disk_usage(cache).free
    with_result = ""
    if out is not None and _nearest(out).stat().st_dev == cache.stat().st_dev:
        needed += result
        with_result = " with the result"
    if needed + HEADROOM > free:
        raise StorageError(
            f"The download needs {size_text(needed)}{with_result}, and {size_text(HEADROOM)} should stay free; "
            f"{size_text(free)} is free at {hub.cache}. Free some space, or set HF_HOME to a folder on another disk."
        )


def _nearest(path: Path) -> Path:
    """The folder itself, or the first above it that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def download(
    hub: Hub, downloads: Sequence[Download], *, report: Report, is_cancelled: IsCancelled
) -> Sequence[Checkpoint]:
    """The same checkpoints with their weights, from the cache. Raises HubRefusalError, HubError, StorageError, or
    MergeCancelledError; files that are whole stay in any case, and are not fetched again."""
    wanted = [
        {"repository": one.reference.repository, "commit": one.reference.revision, "missing": dict(one.missing)}
        for one in downloads
        if one.missing
    ]
    if wanted:
        try:
            move(Stage.DOWNLOAD, {"wanted": wanted}, hub, report, is_cancelled)
        finally:
            for one in downloads:
                _remove_unfinished(hub, one.reference)
    return [_open(one) for one in downloads]


def _open(download: Download) -> Checkpoint:
    """The folder in the cache, without what other programs may have put beside the files that belong to the model."""
    expected = download.checkpoint
    absent = [name for name, size in _files_of(expected) if not _is_here(download.folder / name, size)]
    if absent:
        raise HubError(f"{absent[0]} of {expected.name} did not come whole from the Hub. Try again.")
    found = open_checkpoint(download.folder)
    if found.header_digest != expected.header_digest:
        raise HubError(f"The weights of {expected.name} are not those whose headers were checked. Try again.")
    skipped = tuple(entry for entry in found.skipped if entry in expected.skipped)
    return replace(
        found,
        origin=expected.origin,
        side_files=expected.side_files,
        skipped=skipped,
        vocabulary=expected.vocabulary,  # with its tokens, which were read where the models' differ
    )


def find_downloaded(hub: Hub, checkpoint: Checkpoint) -> Checkpoint | None:
    """The same checkpoint with its weights, where all of it is in the cache."""
    planned = plan_download(hub, checkpoint)
    return None if planned.missing else _open(planned)


def fetch(hub: Hub, request: Mapping[str, Any], tell: Callable[[int, int, str], None]) -> Mapping[str, Any]:
    """In the child: bring every missing file into the cache."""
    total = sum(sum(one["missing"].values()) for one in request["wanted"])
    before = 0
    for one in request["wanted"]:
        reference = HubReference(one["repository"], one["commit"])
        tell(
            before, total, one["repository"]
        )  # another process may be fetching the same: then nothing comes for a while
        with in_sentences(hub.attempt(reference)), _told(before, total, one["repository"], tell) as bar:
            snapshot_download(
                reference.repository,
                revision=reference.revision,
                endpoint=hub.endpoint,
                token=hub.token or False,
                cache_dir=hub.cache,
                allow_patterns=[glob.escape(name) for name in one["missing"]],
                max_workers=FILES_AT_ONCE,
                tqdm_class=bar,
            )
        before += sum(one["missing"].values())
        tell(before, total, one["repository"])
    return {}


@contextmanager
def _told(before: int, total: int, detail: str, tell: Callable[[int, int, str], None]) -> Iterator[type[Any]]:
    """A progress bar for the client that draws nothing and tells bytes. It has several: over the network, and over
    Xet also for what is put together on the disk; the one that is further counts."""
    bars: list[tqdm] = []
    lock = Lock()

    class Bar(tqdm):  # type: ignore[misc]  # tqdm is untyped
        def __init__(self, *arguments: Any, **named: Any) -> None:
            named.pop("name", None)
            super().__init__(*arguments, **{**named, "disable": True})
            self.bytes = 0
            if named.get("unit") == "B":
                bars.append(self)

        def update(self, n: float | None = 1) -> bool | None:
            with lock:
                self.bytes += int(n or 0)
                if self in bars:
                    done = max(bar.bytes for bar in bars)
                    tell(min(before + done, total), total, detail)
            return None

    yield Bar


def _remove_unfinished(hub: Hub, reference: HubReference) -> None:
    """What a killed download has left: files whose lock nobody holds, as another program may fetch the same model."""
    folder = repository_folder(hub, reference)
    for path in folder.glob("blobs/*.incomplete"):
        digest = path.name.partition(".")[0]
        lock = FileLock(hub.cache / ".locks" / folder.name / f"{digest}.lock")
        with suppress(Timeout, OSError), lock.acquire(timeout=0):
            path.unlink(missing_ok=True)
