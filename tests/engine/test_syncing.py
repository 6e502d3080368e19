import os
from pathlib import Path

import pytest

from blockmerge.engine.syncing import Syncer
from blockmerge.errors import MergeCancelledError, StorageError


def test_an_early_sync_that_failed_is_told_at_the_end(tmp_path: Path) -> None:
    handle = os.open(tmp_path, os.O_RDONLY)
    os.close(handle)

    with Syncer() as syncer:
        syncer.begin(handle)

        with pytest.raises(StorageError) as caught:
            syncer.finish([], lambda: None)

    assert str(caught.value) == (
        "A file could not be written: Bad file descriptor. Check the disk, or choose a folder on another one."
    )


def test_who_waits_for_the_disk_can_cancel(tmp_path: Path) -> None:
    def cancel() -> None:
        raise MergeCancelledError("Enough.")

    with (tmp_path / "file").open("wb") as file, Syncer() as syncer, pytest.raises(MergeCancelledError):
        syncer.finish([file.fileno()], cancel)
