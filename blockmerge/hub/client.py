"""Who talks to which Hub, and what a repository holds at one commit."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import HfApi, ModelInfo, constants, get_session, get_token

from blockmerge import __version__
from blockmerge.core.hub_reference import HUB_HOSTS, HubReference, parse_hub_reference
from blockmerge.errors import HubError
from blockmerge.hub.failures import HOW_TO_SIGN_IN, Attempt, in_sentences

TIMEOUT = 60.0  # seconds without a sign of life; the client's own default is to wait for ever

_COMMIT = re.compile(r"[0-9a-f]{40}")
_BLOB = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_MAX_NAME = 300  # characters of a file's path


@dataclass(frozen=True, slots=True)
class Hub:
    """One person at one Hub. Without a token they are nobody: no token of the environment takes its place.

    `cache` is the client's own folder of downloads, `kept` is where headers are kept; `sign_in` says how this person
    can sign in. A visitor is anybody but whoever sits at this machine: what lies in its cache is not theirs.
    """

    endpoint: str
    cache: Path
    kept: Path
    token: str | None = field(default=None, repr=False)
    offline: bool = False
    is_visitor: bool = False
    sign_in: str = HOW_TO_SIGN_IN

    @property
    def api(self) -> HfApi:
        constants.HF_HUB_DISABLE_TELEMETRY = True  # else it fetches a list once a day, to tell the Hub what runs us
        get_session().timeout = TIMEOUT  # the session is the client's own, made anew after a failed connection
        return HfApi(
            endpoint=self.endpoint,
            token=self.token or False,
            library_name="blockmerge",
            library_version=__version__,
        )

    def attempt(self, reference: HubReference, *, is_writing: bool = False) -> Attempt:
        return Attempt(reference, self.endpoint, self.token is not None, is_writing, self.sign_in)

    def read_reference(self, text: str) -> HubReference | None:
        """parse_hub_reference, with the addresses of this Hub."""
        return parse_hub_reference(text, {*HUB_HOSTS, urlsplit(self.endpoint).netloc})

    def the_reference(self, text: str) -> HubReference:
        """read_reference of a text that checkpoints.models.is_meant_on_hub. Raises CheckpointError."""
        reference = self.read_reference(text)
        assert reference is not None
        return reference


def own_hub(kept: Path) -> Hub:
    """The Hub and the token that the environment names: for whoever sits at this machine, never for a visitor."""
    return Hub(constants.ENDPOINT, Path(constants.HF_HUB_CACHE), kept, get_token(), constants.is_offline_mode())


@dataclass(frozen=True, slots=True)
class Listing:
    """A repository at one commit: `files` are their sizes in bytes by path, `large` of those in large storage the
    SHA-256, `blobs` are git's own digests, `licence` is what its card says. `is_restricted`: not everybody may read the
    files."""

    reference: HubReference
    files: Mapping[str, int]
    large: Mapping[str, str]
    licence: str | None = None
    is_private: bool = False
    is_restricted: bool = False
    blobs: Mapping[str, str] = field(default_factory=dict)

    @property
    def repository(self) -> str:
        return self.reference.repository

    @property
    def commit(self) -> str:
        assert self.reference.revision is not None  # pinned
        return self.reference.revision


def look_up(hub: Hub, reference: HubReference) -> Listing:
    """Pin a reference to its commit, by one request. Whether this person may read the files, a first read of them says,
    or `check_access`. Raises HubRefusalError or HubError.
    """
    with in_sentences(hub.attempt(reference)):
        info = hub.api.model_info(
            reference.repository, revision=reference.revision, files_metadata=True, timeout=TIMEOUT
        )
        if info.disabled:
            raise HubError(f"{reference.repository} was disabled by the Hub. Use another model.")
        return _read_listing(reference, info)


def check_access(hub: Hub, listing: Listing) -> None:
    """Make sure that this person may read the files, before any of them that are on this machine is used: what is kept
    here is no boundary. Raises HubRefusalError or HubError."""
    if listing.is_restricted:
        with in_sentences(hub.attempt(listing.reference)):
            hub.api.auth_check(listing.repository)


def _read_listing(reference: HubReference, info: ModelInfo) -> Listing:
    if info.sha is None or not _COMMIT.fullmatch(info.sha):
        raise ValueError("a listing without a commit")
    entries = [entry for entry in info.siblings or () if _is_plain(entry.rfilename)]
    licence = info.card_data.get("license") if info.card_data is not None else None
    return Listing(
        HubReference(reference.repository, info.sha),
        {entry.rfilename: _size(entry.size) for entry in entries},
        {entry.rfilename: entry.lfs.sha256 for entry in entries if entry.lfs is not None},
        licence if isinstance(licence, str) else None,
        bool(info.private),
        bool(info.private or info.gated),
        {entry.rfilename: entry.blob_id for entry in entries if entry.blob_id and _BLOB.fullmatch(entry.blob_id)},
    )


def _size(size: object) -> int:
    if type(size) is not int or size < 0:
        raise ValueError("a listing without sizes")
    return size


def _is_plain(name: str) -> bool:
    """A path below a folder, on every system; git allows no other, but a server may say anything."""
    parts = name.split("/")
    return (
        name.isprintable()
        and len(name) <= _MAX_NAME
        and "\\" not in name
        and ":" not in name
        and not any(part in ("", ".", "..") for part in parts)
    )
