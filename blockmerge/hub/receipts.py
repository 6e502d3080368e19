"""Files that the Hub was given before, as its client knows them, without the files."""

from huggingface_hub import CommitOperationAdd
from huggingface_hub.lfs import UploadInfo

from blockmerge.core.parts import Receipt


def addition(receipt: Receipt, held: str | None) -> CommitOperationAdd:
    """For a commit; `held` is the digest of what has its name there now, as a commit that changes nothing is not made.

    The client has no call for this, so it is told by four of its private fields; what comes of them is held by
    tests/hub/test_straight.py.
    """
    added = CommitOperationAdd(receipt.name, b"")
    added.upload_info = upload_info(receipt)
    added._upload_mode, added._should_ignore, added._is_uploaded = "lfs", False, True
    added._remote_oid = held
    return added


def upload_info(receipt: Receipt) -> UploadInfo:
    return UploadInfo(receipt.size, bytes.fromhex(receipt.sample), bytes.fromhex(receipt.sha256))
