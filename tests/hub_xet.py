"""Large objects in Xet storage: a folder that the real hf_xet reads and writes by its own protocol.

hf_xet takes `local:///folder` as the address of its storage. That is a scheme of its tests and no promise, so few
tests stand on it.
"""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import hf_xet

_ENTRY = 48  # bytes of every record of a shard file
_HAS_PROOF, _HAS_SHA256 = 1 << 31, 1 << 30
_END = b"\xff" * 32


class XetObjects:
    """The bytes of a file are known by their Xet hash; which that is for a SHA-256, the shard files tell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, tuple[str, int]] = {}

    def __contains__(self, sha256: str) -> bool:
        return self.xet_hash(sha256) is not None

    def put(self, content: bytes) -> str:
        with hf_xet.XetSession().new_upload_commit(**self._access()) as commit:
            commit.start_upload_bytes(content, sha256=hf_xet.COMPUTE_SHA256)
        return hashlib.sha256(content).hexdigest()

    def get(self, sha256: str) -> bytes:
        xet_hash = self.xet_hash(sha256)
        assert xet_hash is not None
        info = hf_xet.XetFileInfo(xet_hash, self._known[sha256][1])
        return b"".join(hf_xet.XetSession().new_download_stream_group(**self._access()).download_stream(info))

    def xet_hash(self, sha256: str) -> str | None:
        if sha256 not in self._known:
            for shard in (self.folder / "xet" / "xorbs" / "shards").glob("*.mdb"):
                self._known |= dict(_files_in(shard.read_bytes()))
        return self._known[sha256][0] if sha256 in self._known else None

    def _access(self) -> dict[str, object]:
        expiry = int(time.time()) + 3600
        return {"endpoint": f"local://{self.folder}", "token": "xet", "token_expiry_unix_secs": expiry}


def _files_in(shard: bytes) -> Iterator[tuple[str, tuple[str, int]]]:
    """SHA-256 → Xet hash and size of each file that a shard file describes, behind its header of 48 bytes."""
    at = _ENTRY
    while (name := shard[at : at + 32]) != _END:
        flags, count = (int.from_bytes(shard[at + 32 + skip : at + 36 + skip], "little") for skip in (0, 4))
        entries = [shard[at + _ENTRY * (1 + number) :] for number in range(count)]
        size = sum(int.from_bytes(entry[36:40], "little") for entry in entries)
        at += _ENTRY * (1 + count * (2 if flags & _HAS_PROOF else 1))
        if flags & _HAS_SHA256:
            yield _hex(shard[at : at + 32]), (_hex(name), size)
            at += _ENTRY


def _hex(raw: bytes) -> str:
    """A hash is kept as four little-endian numbers."""
    return b"".join(raw[start : start + 8][::-1] for start in range(0, 32, 8)).hex()
