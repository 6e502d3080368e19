"""Files by position: reading, writing, reserving and syncing, the same on every system.

Beside jobs/process.py the only place that makes calls which not every system has; each has a plain fallback, chosen
when it is called. Errors of the disk become StorageError with a sentence.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from blockmerge.errors import CheckpointError, SourceChangedError, StorageError

BUFFER = 1 << 20  # bytes

_BINARY = getattr(os, "O_BINARY", 0)  # Windows would translate line ends
_SEEKING = Lock()  # without pread, a position belongs to the file and not to the call
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP)
_CANNOT_RESERVE = (errno.EINVAL, errno.EOPNOTSUPP)


def open_for_reading(path: Path) -> int:
    """A file descriptor. Raises CheckpointError for what is not there, may not be read, or is no regular file."""
    # A FIFO that nobody writes to would block here for ever.
    nonblocking = getattr(os, "O_NONBLOCK", 0)
    try:
        fd = os.open(path, os.O_RDONLY | _BINARY | nonblocking)
    except OSError as error:
        raise CheckpointError(
            f"{path.name} cannot be opened: {error.strerror}. Check that it exists and may be read."
        ) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise CheckpointError(f"{path.name} is not a regular file. Put the file itself there.")
    return fd


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """open_for_reading, closed at the end."""
    fd = open_for_reading(path)
    try:
        yield fd
    finally:
        os.close(fd)


def open_new(path: Path) -> int:
    """Create a file for reading and writing; never follows a link or touches a file that is there."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, 0o644)
    except FileExistsError as error:
        raise StorageError(f"{path} exists already. Nothing was overwritten.") from error
    except OSError as error:
        raise disk_failure(f"{path.name} cannot be created", error) from error


def open_to_change(path: Path) -> int:
    """A file that is there, for reading and writing; never follows a link."""
    try:
        return os.open(path, os.O_RDWR | _BINARY | getattr(os, "O_NOFOLLOW", 0))
    except OSError as error:
        raise disk_failure(f"{path.name} cannot be opened", error) from error


def read_into(fd: int, view: memoryview, offset: int) -> None:
    """Fill `view`, a view of bytes. Raises SourceChangedError when the file ends before."""
    while view:
        try:
            count = _read_some(fd, view, offset)
        except OSError as error:
            raise disk_failure("A file could not be read", error) from error
        if count == 0:
            raise SourceChangedError(
                "A source file became shorter while it was read. Let nothing change the models during a merge, "
                "then start it again."
            )
        view, offset = view[count:], offset + count


def _read_some(fd: int, view: memoryview, offset: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(fd, [view], offset)
    with _SEEKING:
        os.lseek(fd, offset, os.SEEK_SET)
        data = os.read(fd, len(view))
    view[: len(data)] = data
    return len(data)


def read_whole(path: Path, most: int) -> bytes:
    """All bytes of a small file. Raises CheckpointError when it has more than `most`."""
    with opened(path) as fd:
        size = os.fstat(fd).st_size
        if size > most:
            raise CheckpointError(
                f"{path.name} is {size:,} bytes long, at most {most:,} are read. Is this the right file?"
            )
        data = bytearray(size)
        read_into(fd, memoryview(data), 0)
    return bytes(data)


def write_all(fd: int, view: memoryview, offset: int) -> None:
    """Write all of `view`, a view of bytes, at `offset`."""
    while view:
        try:
            count = _write_some(fd, view, offset)
        except OSError as error:
            raise disk_failure("A file could not be written", error) from error
        view, offset = view[count:], offset + count


def _write_some(fd: int, view: memoryview, offset: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(fd, view, offset)
    with _SEEKING:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, view)


def write_new(path: Path, data: bytes) -> None:
    """Create a file with these bytes, on the disk when this returns."""
    fd = open_new(path)
    try:
        write_all(fd, memoryview(data), 0)
        sync_file(fd)
    finally:
        os.close(fd)


def copy_new(source: Path, target: Path) -> int:
    """Create `target` with the bytes of `source`, on the disk when this returns; how many bytes that were."""
    buffer = memoryview(bytearray(BUFFER))
    with opened(source) as source_fd:
        size = os.fstat(source_fd).st_size
        fd = open_new(target)
        try:
            for start in range(0, size, BUFFER):
                part = buffer[: min(BUFFER, size - start)]
                read_into(source_fd, part, start)
                write_all(fd, part, start)
            sync_file(fd)
        finally:
            os.close(fd)
    return size


def allocate(fd: int, size: int) -> None:
    """Give an empty file its size, more than 0, and where the system can, its place on the disk.

    Raises StorageError that says how much is missing.
    """
    try:
        if not _reserve(fd, size):
            os.ftruncate(fd, size)
    except OSError as error:
        if error.errno in _FULL:
            raise StorageError(
                f"The disk is full: {_missing(fd, size)}. Free some space, or choose a folder on another disk."
            ) from error
        raise disk_failure(f"A file of {size / 1e9:.2f} GB could not be made", error) from error


def _reserve(fd: int, size: int) -> bool:
    """False where the system or the file system cannot."""
    if not hasattr(os, "posix_fallocate"):
        return False
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno in _CANNOT_RESERVE:
            return False
        raise
    return True


def _missing(fd: int, size: int) -> str:
    if not hasattr(os, "fstatvfs"):
        return f"a file of {size / 1e9:.2f} GB does not fit"
    disk = os.fstatvfs(fd)
    had = disk.f_bavail * disk.f_frsize + os.fstat(fd).st_blocks * 512
    return f"{max(size - had, 0) / 1e9:.2f} GB more needed"


def prefetch(fd: int, offset: int, length: int) -> None:
    """Ask the system to read ahead; where it cannot, nothing happens."""
    if hasattr(os, "posix_fadvise") and not _is_in_memory(fd, offset + length - 1):
        os.posix_fadvise(fd, offset, length, os.POSIX_FADV_WILLNEED)


def _is_in_memory(fd: int, offset: int) -> bool:
    """Whether this byte can be read without the disk, by a look that costs a tenth of asking to read ahead."""
    if not hasattr(os, "RWF_NOWAIT"):
        return False
    try:
        return os.preadv(fd, [bytearray(1)], offset, os.RWF_NOWAIT) == 1
    except OSError:  # it would have to wait, or the file system does not say
        return False


def sync_file(fd: int) -> None:
    """Return when the file's bytes are on the disk."""
    try:
        os.fsync(fd)
    except OSError as error:
        raise disk_failure("A file could not be written", error) from error


def sync_folder(path: Path) -> None:
    """Return when the names in the folder are on the disk; Windows and some network file systems cannot tell."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise disk_failure(f"{path} could not be written", error) from error


def disk_failure(what: str, error: OSError) -> StorageError:
    """The sentence for an error of the system: what could not be done, why, and what to do."""
    if error.errno in _FULL:
        return StorageError(f"{what}: the disk is full. Free some space, or choose a folder on another disk.")
    return StorageError(f"{what}: {error.strerror}. Check the disk, or choose a folder on another one.")
