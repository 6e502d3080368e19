"""Every test runs with all calls of this system, with calls that do less than asked, and with the calls hidden that
not every system has."""

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blockmerge.checkpoints.files import (
    allocate,
    copy_new,
    open_for_reading,
    open_new,
    opened,
    prefetch,
    read_into,
    read_whole,
    sync_file,
    sync_folder,
    write_all,
    write_new,
)
from blockmerge.errors import CheckpointError, SourceChangedError, StorageError

NOT_EVERYWHERE = (
    "O_DIRECTORY",
    "O_NONBLOCK",
    "copy_file_range",
    "fstatvfs",
    "posix_fadvise",
    "posix_fallocate",
    "pread",
    "preadv",
    "pwrite",
    "pwritev",
    "sendfile",
)


SHORT = 100  # bytes; every system may read and write less than was asked for


@pytest.fixture(autouse=True, params=["all calls", "short calls", "plain calls"])
def calls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "plain calls":
        for name in NOT_EVERYWHERE:
            monkeypatch.delattr(os, name, raising=False)
    if request.param == "short calls":
        preadv, pwrite = os.preadv, os.pwrite
        monkeypatch.setattr(os, "preadv", lambda fd, views, *rest: preadv(fd, [views[0][:SHORT]], *rest))
        monkeypatch.setattr(os, "pwrite", lambda fd, view, offset: pwrite(fd, view[:SHORT], offset))
    return str(request.param)


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    number = open_new(tmp_path / "file")
    yield number
    os.close(number)


@given(data=st.binary(max_size=300), offset=st.integers(0, 300), start=st.integers(0, 300))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_at_an_offset_is_read_there(fd: int, data: bytes, offset: int, start: int) -> None:
    write_all(fd, memoryview(data), offset)

    view = memoryview(bytearray(max(len(data) - start, 0)))
    read_into(fd, view, offset + min(start, len(data)))

    assert view == data[start:]


def test_reading_beyond_the_end_says_that_the_file_became_shorter(fd: int) -> None:
    write_all(fd, memoryview(b"123"), 0)

    with pytest.raises(SourceChangedError) as caught:
        read_into(fd, memoryview(bytearray(4)), 0)

    assert str(caught.value) == (
        "A source file became shorter while it was read. Let nothing change the models during a merge, "
        "then start it again."
    )


def test_a_failing_read_becomes_a_sentence(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "x", os.O_WRONLY | os.O_CREAT)

    with pytest.raises(StorageError) as caught:
        read_into(fd, memoryview(bytearray(1)), 0)

    os.close(fd)
    assert str(caught.value) == (
        "A file could not be read: Bad file descriptor. Check the disk, or choose a folder on another one."
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the device that is always full is Linux's")
def test_a_full_disk_becomes_a_sentence() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)

    with pytest.raises(StorageError) as caught:
        write_all(fd, memoryview(b"x"), 0)

    os.close(fd)
    assert str(caught.value) == (
        "A file could not be written: the disk is full. Free some space, or choose a folder on another disk."
    )


def test_a_new_file_never_replaces_another(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_bytes(b"mine")

    with pytest.raises(StorageError) as caught:
        open_new(path)

    assert str(caught.value) == f"{path} exists already. Nothing was overwritten."
    assert path.read_bytes() == b"mine"


def test_a_new_file_does_not_follow_a_planted_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StorageError, match="exists already"):
        open_new(tmp_path / "link")

    assert not (tmp_path / "elsewhere").exists()


def test_a_file_in_a_folder_that_is_gone_cannot_be_created(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        open_new(tmp_path / "gone" / "x")

    assert str(caught.value) == (
        "x cannot be created: No such file or directory. Check the disk, or choose a folder on another one."
    )


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        open_for_reading(tmp_path / "config.json")

    assert str(caught.value) == (
        "config.json cannot be opened: No such file or directory. Check that it exists and may be read."
    )


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()

    with pytest.raises(CheckpointError) as caught:
        open_for_reading(tmp_path / "config.json")

    assert str(caught.value) == "config.json is not a regular file. Put the file itself there."


def test_a_fifo_is_refused_and_does_not_hang(tmp_path: Path, calls: str) -> None:
    if calls == "plain calls":
        pytest.skip("where O_NONBLOCK is missing there are no FIFOs")
    os.mkfifo(tmp_path / "config.json")

    with pytest.raises(CheckpointError, match=r"config\.json is not a regular file"):
        open_for_reading(tmp_path / "config.json")


def test_a_file_longer_than_allowed_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b"12345")

    with pytest.raises(CheckpointError) as caught:
        read_whole(path, 4)

    assert str(caught.value) == "config.json is 5 bytes long, at most 4 are read. Is this the right file?"
    assert read_whole(path, 5) == b"12345"


def test_allocated_files_have_their_size_and_hold_zeros(fd: int) -> None:
    allocate(fd, 100_000)

    assert os.fstat(fd).st_size == 100_000
    view = memoryview(bytearray(b"x" * 10))
    read_into(fd, view, 99_990)
    assert view == bytes(10)


def test_allocating_on_a_full_disk_says_how_much_is_missing(
    fd: int, calls: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "ftruncate" if calls == "plain calls" else "posix_fallocate", refuse)

    with pytest.raises(StorageError) as caught:
        allocate(fd, 10**18)

    if calls != "plain calls":
        disk = os.fstatvfs(fd)
        # Other programs write to this disk meanwhile, so the digits may differ.
        assert str(caught.value).startswith("The disk is full: ")
        assert f"{(10**18 - disk.f_bavail * disk.f_frsize) / 1e9:.0f}"[:6] in str(caught.value)
        assert str(caught.value).endswith(" GB more needed. Free some space, or choose a folder on another disk.")
    else:
        assert str(caught.value) == (
            "The disk is full: a file of 1000000000.00 GB does not fit. "
            "Free some space, or choose a folder on another disk."
        )


def test_a_file_system_that_cannot_reserve_gets_a_plain_size(
    fd: int, calls: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if calls == "plain calls":
        pytest.skip("there is no posix_fallocate to fail")

    def refuse(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse)

    allocate(fd, 1000)

    assert os.fstat(fd).st_size == 1000


def test_a_file_over_the_systems_limit_is_named_by_its_size(fd: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StorageError) as caught:
            allocate(fd, 20_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert str(caught.value) == (
        "A file of 0.02 GB could not be made: File too large. Check the disk, or choose a folder on another one."
    )


def test_a_copy_has_the_same_bytes_and_its_length_is_told(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000  # more than one buffer
    (tmp_path / "a").write_bytes(data)

    assert copy_new(tmp_path / "a", tmp_path / "b") == len(data)

    assert (tmp_path / "b").read_bytes() == data


def test_new_files_hold_what_was_given(tmp_path: Path) -> None:
    write_new(tmp_path / "x", b"\r\n\x1a")

    assert (tmp_path / "x").read_bytes() == b"\r\n\x1a"


def test_syncing_and_reading_ahead_leave_the_bytes_alone(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"123")

    with opened(tmp_path / "x") as fd:
        prefetch(fd, 0, 3)
        sync_file(fd)
    sync_folder(tmp_path)

    assert (tmp_path / "x").read_bytes() == b"123"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO])
def test_a_folder_that_cannot_be_synced_is_well_but_a_failing_disk_is_not(
    tmp_path: Path, calls: str, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)

    if number == errno.EINVAL or calls == "plain calls":
        sync_folder(tmp_path)
        return
    with pytest.raises(StorageError, match="could not be written: Input/output error"):
        sync_folder(tmp_path)
