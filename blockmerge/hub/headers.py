"""A model on the Hub as a Checkpoint, from a few kilobytes of it.

A folder is made that looks like the repository: config, index and tokenizer as they are, and weight files of their
true size that hold nothing but their headers, which takes no room on the disk. It is then opened like any other
folder, by the same code with the same sentences. A commit never changes, so the folder is kept.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from blockmerge.checkpoints.folder import CONFIG, open_checkpoint
from blockmerge.checkpoints.refusals import is_weight_file, refuse_folder
from blockmerge.checkpoints.safetensors import MAX_HEADER
from blockmerge.checkpoints.shards import BIN_INDEX, BIN_SINGLE, INDEX, SINGLE
from blockmerge.checkpoints.side_files import MAX_DEPTH
from blockmerge.checkpoints.strict_json import MAX_BYTES, read_object
from blockmerge.checkpoints.tokenizers import MAX_BYTES as MAX_VOCABULARY
from blockmerge.checkpoints.tokenizers import vocabulary_files
from blockmerge.core.tensors import HEADERS_ONLY, Checkpoint
from blockmerge.errors import CheckpointError, HubError, StorageError
from blockmerge.hub.client import Hub, Listing, check_access
from blockmerge.hub.failures import in_sentences
from blockmerge.hub.pickled_headers import read_pickled_header
from blockmerge.hub.places import find_places
from blockmerge.hub.ranges import RemoteFile

THREADS = 8
MAX_FILES = 2_000  # that are looked at; of a repository with more, those that a model needs

_LENGTH = 8  # bytes before a safetensors header that say how long it is
_PER_TENSOR = 96  # bytes of a header beside the tensor's name: about 80 for a matrix
_BESIDE = 4096  # bytes of a header that are no tensor's: what the file says of itself, in a result its recipe
_SHARE = 100  # of so many bytes at most one is read in hope that the header is so long
_CARRIED = (".json", ".jinja", ".txt", ".model", ".tiktoken")
_LEGAL = ("licen", "notice", "use_policy", "copying")
_INDEXES = (INDEX, BIN_INDEX)
_TEXTS = ".texts"  # the folder of files that may come with several models, by git's digest


def is_needed(name: str) -> bool:
    """Whether a file of a repository belongs to a model, by its name alone: what is downloaded, and carried along."""
    path = PurePosixPath(name)
    if len(path.parts) > MAX_DEPTH or any(part.startswith(".") for part in path.parts):
        return False
    return path.suffix in _CARRIED or is_legal(name) or (len(path.parts) == 1 and _is_weights(name))


def is_legal(name: str) -> bool:
    """Whether it is a licence, or what goes with one."""
    return PurePosixPath(name).name.lower().startswith(_LEGAL)


def _is_weights(name: str) -> bool:
    return is_weight_file(name) or name in _INDEXES


def open_headers(hub: Hub, listing: Listing) -> Checkpoint:
    """What the files of a repository say of themselves; no weights are kept.

    Raises CheckpointError as open_checkpoint does, HubRefusalError or HubError.
    """
    folder = hub.kept / listing.commit / listing.repository
    if not folder.is_dir():
        refusal = refuse_folder(listing.repository, [name for name in listing.files if "/" not in name])
        if refusal:
            raise CheckpointError(refusal)
        _make(hub, listing, folder)
    else:
        check_access(hub, listing)
    return replace(open_checkpoint(folder), origin=listing.reference, licence=listing.licence)


def _make(hub: Hub, listing: Listing, folder: Path) -> None:
    """Under another name first, so that a folder that is there is whole."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise StorageError(f"{folder.parent} cannot be made: {error.strerror}. Set BLOCKMERGE_HOME.") from error
    try:
        with in_sentences(hub.attempt(listing.reference)):
            texts = _Mirror(hub, listing, partial).fill()
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # another process may have been faster with the same
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for name in texts:
        if name in listing.blobs:
            with suppress(OSError):  # it is there, or this disk knows no links
                (hub.kept / _TEXTS).mkdir(exist_ok=True)
                (hub.kept / _TEXTS / listing.blobs[name]).hardlink_to(folder / name)


@dataclass(frozen=True, slots=True)
class _Mirror:
    hub: Hub
    listing: Listing
    folder: Path

    def fill(self) -> Collection[str]:
        """The names of the files that are here as a whole."""
        names = [name for name in self.listing.files if is_needed(name)]
        if len(names) > MAX_FILES:
            raise CheckpointError(
                f"{self.listing.repository} has {len(names):,} files that may belong to a model, at most {MAX_FILES:,} "
                "are looked at. Choose another repository."
            )
        (self.folder / HEADERS_ONLY).touch()
        for name in names:
            self._reserve(name)
        texts = [*self._texts(names)]
        asked = [name for name in texts if not self._is_kept(name)]
        places = find_places(self.hub, self.listing, [*asked, *self._maybe_weights(names)])
        self._each(self._fetch_whole, asked, places)
        sizes = self._weights(frozenset(names))
        self._each(lambda file: self._fetch_header(file, sizes[file.name]), sizes, places)
        return texts

    def _texts(self, names: Collection[str]) -> Iterable[str]:
        """The files that are read before a merge, where they are of a size that is read at all."""
        limits = {CONFIG: MAX_BYTES, INDEX: MAX_BYTES, BIN_INDEX: MAX_BYTES}
        limits |= dict.fromkeys(vocabulary_files(names), MAX_VOCABULARY)
        if self._is_safetensors(names):
            del limits[BIN_INDEX]
        return (name for name, most in limits.items() if 0 < self.listing.files.get(name, 0) <= most)

    def _is_kept(self, name: str) -> bool:
        """Whether the same file has come with another model, as a tokenizer's does with every copy that was tuned.

        The config always comes anew: the answer says whether this person may read what is here.
        """
        if name == CONFIG or name not in self.listing.blobs:
            return False
        path = self.folder / name
        kept = self.hub.kept / _TEXTS / self.listing.blobs[name]
        if not kept.is_file() or kept.stat().st_size != self.listing.files[name]:
            return False
        path.unlink()
        path.hardlink_to(kept)
        return True

    def _is_safetensors(self, names: Collection[str]) -> bool:
        return INDEX in names or any(name.endswith(".safetensors") for name in names)

    def _maybe_weights(self, names: Collection[str]) -> Iterable[str]:
        """Weight files of the format that is read; which of them, the index will say."""
        suffix = ".safetensors" if self._is_safetensors(names) else ".bin"
        return (name for name in names if _is_weights(name) and name.endswith(suffix))

    def _weights(self, names: frozenset[str]) -> Mapping[str, int]:
        """Which weight files make up the model, and how much of each to read at first; where it is unclear which they
        are, open_checkpoint says so."""
        for index, single in ((INDEX, SINGLE), (BIN_INDEX, BIN_SINGLE)):
            if index in names:
                sizes = _header_sizes(self.folder / index)
                return {name: sizes[name] for name in sorted(names & sizes.keys())}
            if single in names:
                return {single: _LENGTH}
            found = [name for name in names if name.endswith(".safetensors")]
            if found:
                return {min(found): _LENGTH}
        return {}

    def _reserve(self, name: str) -> None:
        """A file of its size that takes no room."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            try:
                os.truncate(file.fileno(), self.listing.files[name])
            except OSError as error:
                raise HubError(f"{name} cannot be as large as the Hub says. Choose another repository.") from error

    def _each(self, fetch: Callable[[RemoteFile], None], names: Iterable[str], places: Mapping[str, str]) -> None:
        files = [
            RemoteFile(self.hub, self.listing.reference, name, self.listing.files[name], places.get(name, ""))
            for name in names
        ]
        with ThreadPoolExecutor(THREADS, thread_name_prefix="headers") as pool:
            for _ in pool.map(fetch, files):
                pass

    def _fetch_whole(self, file: RemoteFile) -> None:
        self._put(file.name, {0: file.read(0, file.size)})

    def _fetch_header(self, file: RemoteFile, expected: int) -> None:
        """By one read where the header is no longer than expected, else by two."""
        if file.name.endswith(".bin"):
            self._put(file.name, read_pickled_header(file))
        elif file.size >= _LENGTH:
            start = file.read(0, max(_LENGTH, min(expected, file.size // _SHARE)))
            end = _LENGTH + int.from_bytes(start[:_LENGTH], "little")
            if not _LENGTH < end <= min(_LENGTH + MAX_HEADER, file.size):
                end = _LENGTH  # no header; open_checkpoint says so
            if end > len(start):
                start += file.read(len(start), end - len(start))
            self._put(file.name, {0: start[:end]})

    def _put(self, name: str, parts: Mapping[int, bytes]) -> None:
        with (self.folder / name).open("r+b") as file:
            for start, content in parts.items():
                file.seek(start)
                file.write(content)


def _header_sizes(index: Path) -> Mapping[str, int]:
    """The files that an index names, and how many bytes hold the header of each in all likelihood."""
    try:
        named = read_object(index).get("weight_map")
    except CheckpointError:
        return {}  # open_checkpoint reads it again and tells
    sizes: dict[str, int] = {}
    for tensor, file in named.items() if isinstance(named, dict) else ():
        if isinstance(file, str):
            sizes[file] = sizes.get(file, _BESIDE) + len(tensor) + _PER_TENSOR
    return sizes
