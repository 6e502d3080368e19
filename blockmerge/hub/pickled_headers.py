"""The parts of a `.bin` file on the Hub that tell its tensors: the ends of a zip archive, not what is between them.

torch.save writes data.pkl first, then each storage as a record under data/, then a few small records and the
directory. The first part, with the beginning of the first storage, and the last part are enough to compute where every
tensor lies.
"""

import io
import zipfile
from collections.abc import Mapping

from blockmerge.errors import CheckpointError
from blockmerge.hub.ranges import RemoteFile

BLOCK = 2**16  # bytes that are fetched at a time from the end
MAX_PICKLE = 16 * 10**6  # bytes
_BEYOND = 128  # bytes into the first storage, which hold its own header


def read_pickled_header(file: RemoteFile) -> Mapping[int, bytes]:
    """The two parts, by where they start. Raises CheckpointError for a file that is no such archive."""
    if file.size < _BEYOND or file.read(0, 2) != b"PK":
        raise CheckpointError(
            f"{file.name} is in PyTorch's format from before 2020, which cannot be checked before the download. "
            "Download the model with 'hf download', and choose the folder."
        )
    try:
        records = sorted(zipfile.ZipFile(_Window(file)).infolist(), key=lambda record: record.header_offset)
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise CheckpointError(f"{file.name} cannot be read as a PyTorch file: its directory is broken.") from error
    storages = [number for number, record in enumerate(records) if "/data/" in record.filename]
    if not storages:
        raise CheckpointError(f"{file.name} holds no tensors. Is this the right file?")
    begin = min(records[storages[0]].header_offset + _BEYOND, file.size)
    behind = records[storages[-1] + 1 :]
    end = behind[0].header_offset if behind else file.size
    if begin + file.size - end > MAX_PICKLE or end < begin:
        raise CheckpointError(f"{file.name} cannot be checked before the download: it is laid out in an unusual way.")
    return {0: file.read(0, begin), end: file.read(end, file.size - end)}


class _Window(io.RawIOBase):
    """A file on the Hub as one that can be read anywhere, for zipfile, which reads the directory at the end."""

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._at = 0
        self._start = file.size  # of what is here, which reaches to the end of the file
        self._held = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._file.size if size < 0 else min(self._at + size, self._file.size)
        if self._at >= end:
            return b""
        if self._at < self._start:
            start = max(min(self._at, self._start - BLOCK), 0)
            if self._file.size - start > MAX_PICKLE:
                raise EOFError("the directory is too large")
            self._held = self._file.read(start, self._start - start) + self._held
            self._start = start
        part = self._held[self._at - self._start : end - self._start]
        self._at += len(part)
        return part
