"""How a model on the Hub is named: `org/name`, `org/name@revision`, or the address of its page."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from blockmerge.errors import CheckpointError

HUB_HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})

_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_REVISION = re.compile(r"[A-Za-z0-9][\w.+/-]{0,199}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ID = re.compile(r"[^/\\@]+/[^/\\@]+(@.*)?")
_PAGES = ("tree", "blob", "resolve", "raw", "commit")  # of an address, before the revision
_ADVICE = "Give a Hub id such as org/name, or a folder."


@dataclass(frozen=True, slots=True)
class HubReference:
    """`repository` is org/name; without a `revision` the main branch is meant."""

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.repository if self.revision is None else f"{self.repository}@{self.revision}"

    @property
    def is_pinned(self) -> bool:
        """Whether it names one commit, and so always the same bytes."""
        return self.revision is not None and _COMMIT.fullmatch(self.revision) is not None


def parse_hub_reference(text: str, hosts: Collection[str] = HUB_HOSTS) -> HubReference | None:
    """The repository that is meant, or None where the text looks like a folder.

    `hosts` are the names, with their port where it is not the usual one, whose addresses are those of the Hub.
    Raises CheckpointError for an address of something else, and for what looks like an id and is none.
    """
    if "://" in text:
        return _read_address(text, hosts)
    if text.startswith((".", "~", "/")) or not _ID.fullmatch(text):
        return None
    repository, _, revision = text.partition("@")
    return _checked(text, repository, revision if "@" in text else None)


def _read_address(text: str, hosts: Collection[str]) -> HubReference:
    try:
        address = urlsplit(text)
    except ValueError as error:
        raise CheckpointError(f"{_shown(text)} is not an address. {_ADVICE}") from error
    if address.scheme == "hf":
        repository, _, after = f"{address.netloc}{address.path}".partition("@")
        return _checked(text, repository, after or None)
    if address.scheme not in ("http", "https") or address.netloc.lower() not in hosts:
        raise CheckpointError(f"{_shown(text)} is not an address of the Hub. {_ADVICE}")
    parts = [unquote(part) for part in address.path.split("/") if part]
    if parts[:1] in (["datasets"], ["spaces"]):
        raise CheckpointError(f"{_shown(text)} is the address of a {parts[0][:-1]}, not of a model. {_ADVICE}")
    if parts[:1] == ["models"]:
        parts = parts[1:]
    revision: str | None = None
    if len(parts) > 3 and parts[2] in _PAGES:
        # A pull request's revision is refs/pr/N; of anything else the rest is the path of a file.
        revision = "/".join(parts[3:6]) if parts[3] == "refs" else parts[3]
    return _checked(text, "/".join(parts[:2]), revision)


def _checked(text: str, repository: str, revision: str | None) -> HubReference:
    parts = repository.split("/")
    if len(parts) != 2 or not all(_PART.fullmatch(part) and _is_clean(part) for part in parts):
        raise CheckpointError(f"{_shown(text)} is not a valid Hub id. {_ADVICE}")
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise CheckpointError(
            f"{_shown(text)} has no valid revision after the @: a branch, tag or commit was expected."
        )
    return HubReference(repository, revision)


def _is_clean(part: str) -> bool:
    """What the Hub allows beyond its alphabet."""
    return ".." not in part and "--" not in part and not part.endswith(".git")


def _shown(text: str) -> str:
    quoted = f"'{text}'" if text.isprintable() and text.isascii() else ascii(text)
    return quoted if len(quoted) <= 120 else f"{quoted[:119]}…"
