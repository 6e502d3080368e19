"""What a Hub keeps: users, repositories, their commits, and large objects by digest; for tests/hub_server.py.

Large objects lie where the transfer mode puts them: in a dict here, in Xet mode in a folder that hf_xet itself reads
and writes (tests/hub_xet.py).
"""

import base64
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import yaml

LARGE = (".safetensors", ".bin", ".gguf", ".pt")  # what .gitattributes of a new repository sends to large storage
LARGE_SIZE = 10 * 2**20


class Refusal(Exception):
    """An answer of the Hub that is not what was asked for; `code` is what the client tells kinds of it by."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


class Objects(Protocol):
    """Where the bytes of large files lie, by their SHA-256."""

    def __contains__(self, sha256: str) -> bool: ...
    def put(self, content: bytes) -> str: ...
    def get(self, sha256: str) -> bytes: ...
    def xet_hash(self, sha256: str) -> str | None: ...


class MemoryObjects:
    """The LFS way: the server takes and gives the bytes itself."""

    def __init__(self) -> None:
        self._held: dict[str, bytes] = {}

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._held

    def put(self, content: bytes) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        self._held[sha256] = content
        return sha256

    def get(self, sha256: str) -> bytes:
        return self._held[sha256]

    def xet_hash(self, sha256: str) -> str | None:
        return None

    def forget(self, sha256: str) -> None:
        """What no commit names need not be kept for ever."""
        del self._held[sha256]


@dataclass(frozen=True, slots=True)
class User:
    name: str
    token: str
    role: str = "write"
    organisations: tuple[str, ...] = ()

    def may_write_to(self, namespace: str) -> bool:
        return self.role == "write" and namespace in (self.name, *self.organisations)


@dataclass(frozen=True, slots=True)
class File:
    """`oid` is git's own digest of what lies in the tree; a large file also has the SHA-256 of its bytes."""

    oid: str
    size: int
    content: bytes | None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    oid: str
    message: str
    files: Mapping[str, File]


@dataclass(slots=True)
class Repository:
    name: str
    private: bool = False
    gated: bool = False
    disabled: bool = False
    downloads: int = 0
    granted: set[str] = field(default_factory=set)
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return self.name.partition("/")[0]

    @property
    def head(self) -> Commit:
        return self.commits[self.refs["main"]]

    def at(self, revision: str) -> Commit:
        """The commit of a branch, a pull request or a digest."""
        oid = self.refs.get(revision, self.refs.get(revision.removeprefix("refs/heads/"), revision))
        if oid not in self.commits:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[oid]

    def commit(self, ref: str, changes: Mapping[str, File | None], message: str) -> Commit:
        """A new commit on `ref`; None takes a file away."""
        before = dict(self.commits[self.refs[ref]].files) if ref in self.refs else {}
        after = {name: file for name, file in (before | dict(changes)).items() if file is not None}
        text = json.dumps([len(self.commits), message, [(name, file.oid) for name, file in sorted(after.items())]])
        commit = Commit(hashlib.sha1(f"{self.name} {text}".encode()).hexdigest(), message, after)
        self.commits[commit.oid] = commit
        self.refs[ref] = commit.oid
        return commit

    def may_read(self, user: User | None) -> bool:
        return not self.private or self._is_member(user)

    def may_read_files(self, user: User | None) -> bool:
        is_granted = user is not None and user.name in self.granted
        return self.may_read(user) and (not self.gated or is_granted or self._is_member(user))

    def _is_member(self, user: User | None) -> bool:
        return user is not None and self.namespace in (user.name, *user.organisations)


class Store:
    """All repositories and users of one Hub."""

    def __init__(self, objects: Objects | None = None) -> None:
        self.objects: Objects = objects or MemoryObjects()
        self.repositories: dict[str, Repository] = {}
        self.users: dict[str, User] = {}

    def add_user(self, name: str, *organisations: str, role: str = "write") -> User:
        """Its token looks like a real one, so that a scan for tokens finds it wherever it should not be."""
        token = f"hf_{hashlib.sha256(name.encode()).hexdigest()[:34]}"
        self.users[token] = User(name, token, role, organisations)
        return self.users[token]

    def create(self, name: str, *, private: bool = False, gated: bool = False) -> Repository:
        repository = Repository(name, private, gated)
        repository.commit("main", {".gitattributes": small_file(b"*.safetensors filter=lfs\n")}, "initial commit")
        self.repositories[name] = repository
        return repository

    def add_folder(
        self, name: str, folder: Path, *, private: bool = False, gated: bool = False, leave_out: Collection[str] = ()
    ) -> Repository:
        """A repository with the files of a folder, as one commit."""
        repository = self.create(name, private=private, gated=gated)
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in leave_out]
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        self.commit(repository, files)
        return repository

    def commit(self, repository: Repository, files: Mapping[str, bytes]) -> Commit:
        changes: dict[str, File | None] = {name: self.file(name, content) for name, content in files.items()}
        return repository.commit("main", changes, "files")

    def file(self, name: str, content: bytes) -> File:
        if is_large(name, len(content)):
            return large_file(self.objects.put(content), len(content))
        return small_file(content)

    def content(self, file: File) -> bytes:
        return file.content if file.content is not None else self.objects.get(file.sha256 or "")

    def find(self, name: str, user: User | None) -> Repository:
        """A repository that may not be seen is answered as one that is not there."""
        repository = self.repositories.get(name)
        if repository is None or not repository.may_read(user):
            raise Refusal(404 if user else 401, "Repository not found", "RepoNotFound")
        if repository.disabled:
            raise Refusal(403, "Access to this resource is disabled.")
        return repository

    def card(self, commit: Commit) -> Mapping[str, object] | None:
        """What stands between the two --- of README.md."""
        file = commit.files.get("README.md")
        found = re.match(r"---\n(.*?)^---\n", self.content(file).decode(), re.DOTALL | re.MULTILINE) if file else None
        return yaml.safe_load(found[1]) if found else None


def is_large(name: str, size: int) -> bool:
    return name.endswith(LARGE) or size > LARGE_SIZE


def small_file(content: bytes) -> File:
    return File(hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(), len(content), content)


def large_file(sha256: str, size: int) -> File:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    return File(hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest(), size, None, sha256)


def weights_start(content: bytes) -> int:
    """Where the weights of a safetensors file begin; 0 where it is none."""
    return 8 + int.from_bytes(content[:8], "little")


def apply(store: Store, lines: Iterable[Mapping[str, object]]) -> dict[str, File | None]:
    """The changes that the lines of a commit ask for."""
    changes: dict[str, File | None] = {}
    for line in lines:
        match line:
            case {"key": "file", "value": {"path": str(path), "content": str(content)}}:
                changes[path] = small_file(base64.b64decode(content))
            case {"key": "lfsFile", "value": {"path": str(path), "oid": str(oid), "size": int(size)}}:
                if oid not in store.objects:
                    raise Refusal(400, f"LFS pointer points to a file that does not exist: {path}")
                changes[path] = large_file(oid, size)
            case {"key": "deletedFile", "value": {"path": str(path)}}:
                changes[path] = None
    return changes
