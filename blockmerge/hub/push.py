"""A result to the Hub: weight files first, then one commit with everything, so that nobody ever sees half a model.

Nothing is deleted and no visibility is changed: a new repository is private unless its owner said otherwise, and one
that is there keeps what it is. What was uploaded stays with the Hub, so that an interrupted push goes on.
"""

import os
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, ModelInfo
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from blockmerge.checkpoints.card import (
    CARD,
    MERGEKIT_FILE,
    PICTURE_FILE,
    RECIPE_FILE,
    Parent,
    check_card,
    choose_licence,
    read_parents,
    weight_picture,
    write_card,
)
from blockmerge.checkpoints.folder import CONFIG
from blockmerge.checkpoints.manifest import MANIFEST, Manifest
from blockmerge.checkpoints.refusals import is_weight_file
from blockmerge.checkpoints.side_files import leads_out
from blockmerge.checkpoints.strict_json import read_object, shown
from blockmerge.core.hub_reference import HubReference, parse_hub_reference
from blockmerge.core.parts import Receipt
from blockmerge.core.progress import IsCancelled, Report, Stage
from blockmerge.errors import CheckpointError, HubError, HubRefusalError, SignInError
from blockmerge.hub.account import OFFLINE
from blockmerge.hub.child import Mover, mover
from blockmerge.hub.client import Hub, Listing, check_access, look_up
from blockmerge.hub.failures import ONLY_SIGNED_IN, in_sentences
from blockmerge.hub.headers import is_legal
from blockmerge.hub.ranges import RemoteFile
from blockmerge.hub.receipts import addition

CONFLICT = 409  # the status for a name that is taken
MAX_LEGAL = 2 * 10**6  # bytes of a licence file


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a result goes. `is_public` is asked for by a person, and counts only where the repository is new."""

    repository: str
    is_public: bool = False
    as_pull_request: bool = False


@dataclass(frozen=True, slots=True)
class Push:
    """Everything that will stand in the repository: files of the folder by name, and what is made for it: texts, and
    pictures as their bytes; `sent` are weight files that the Hub has already. Where a `parent` is given, the commit
    must find the repository at that one."""

    folder: Path
    files: Sequence[str]
    texts: Mapping[str, str]
    message: str
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    sent: Sequence[Receipt] = ()
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A repository before a push: its newest commit, and whether it was made for it."""

    commit: str
    is_new: bool
    is_private: bool


@dataclass(frozen=True, slots=True)
class Pushed:
    """`address` is that of the commit, or of the pull request."""

    repository: str
    address: str
    commit: str
    is_new: bool
    is_private: bool


def read_repository(text: str) -> str:
    """The org/name that is meant. Raises HubRefusalError for what is none."""
    try:
        found = parse_hub_reference(text)
    except CheckpointError as error:
        raise HubRefusalError(*error.problems) from error
    if found is None or found.revision is not None:
        raise HubRefusalError(f"{shown(text)} is no place on the Hub. Give one as ORG/NAME.")
    return found.repository


def read_destination(hub: Hub, text: str) -> str:
    """read_repository, for somebody who may push. Raises SignInError for nobody."""
    repository = read_repository(text)
    if hub.offline:
        raise HubRefusalError(OFFLINE)
    if hub.token is None:
        raise SignInError(ONLY_SIGNED_IN.format(sign_in=hub.sign_in))
    return repository


def prepare(  # noqa: PLR0913 - one for each thing that stands in the repository
    hub: Hub,
    folder: Path,
    manifest: Manifest,
    repository: str,
    licence: str | None,
    card: str | None = None,
    sent: Sequence[Receipt] = (),
) -> Push:
    """What a verified result's push will hold: its files, its card, its recipe, the licences of its models.

    `card` is the text of one that a person wrote, with its licence in it; it takes the place of the one made here.
    The files of `sent` are not in the folder any more. Raises CheckpointError, HubRefusalError or HubError.
    """
    files = [*_files(folder, manifest, {one.name for one in sent})]
    parents, legal = ask_parents(hub, read_parents(manifest))
    if card is None:
        card = card_for(folder, manifest, parents, repository, licence)
    check_card(card)
    theirs = {MERGEKIT_FILE: manifest.mergekit} if manifest.mergekit else {}
    texts = {CARD: card, RECIPE_FILE: manifest.recipe, **theirs, **legal}
    picture = weight_picture(manifest)
    message = f"Merge of {', '.join(parent.name for parent in parents)}"[:200]
    return Push(folder, files, texts, message, {PICTURE_FILE: picture} if picture else {}, sent)


def card_for(folder: Path, manifest: Manifest, parents: Sequence[Parent], repository: str, licence: str | None) -> str:
    """Raises HubRefusalError where the licence is still to be chosen."""
    return write_card(repository, manifest, parents, choose_licence(parents, licence), read_object(folder / CONFIG))


def _files(folder: Path, manifest: Manifest, sent: Collection[str]) -> Iterator[str]:
    """The files that the manifest lists, and itself; a manifest is a file too, and may name any path."""
    root = Path(os.path.realpath(folder))
    for name in (*(name for name in manifest.files if name not in sent), MANIFEST):
        path = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts or leads_out(path, root) or not path.is_file():
            raise CheckpointError(f"{MANIFEST} names {shown(name)}, which is no file of {folder.name}. Merge again.")
        if name not in (CARD, RECIPE_FILE, MERGEKIT_FILE, PICTURE_FILE):  # those are made anew
            yield name


def ask_parents(hub: Hub, parents: Sequence[Parent]) -> tuple[Sequence[Parent], Mapping[str, str]]:
    """The parents with their licences, and the texts of these; a model that is gone has a licence nobody knows."""
    asked: list[Parent] = []
    legal: dict[str, str] = {}
    for parent in parents:
        if parent.reference is not None:
            try:
                listing = look_up(hub, parent.reference)
                check_access(hub, listing)
            except HubRefusalError:
                asked.append(parent)
                continue
            parent = replace(parent, licence=listing.licence)
            legal |= _legal_texts(hub, listing)
        asked.append(parent)
    return asked, legal


def _legal_texts(hub: Hub, listing: Listing) -> Iterator[tuple[str, str]]:
    folder = f"licenses/{listing.repository.replace('/', '--')}"
    with in_sentences(hub.attempt(listing.reference)):
        for name, size in listing.files.items():
            if "/" not in name and is_legal(name) and 0 < size <= MAX_LEGAL:
                content = RemoteFile(hub, listing.reference, name, size).read(0, size)
                yield f"{folder}/{name}", content.decode(errors="replace")


def push(hub: Hub, planned: Push, to: Destination, *, report: Report, is_cancelled: IsCancelled) -> Pushed:
    """Upload and commit. Raises HubRefusalError, HubError, StorageError or MergeCancelledError; the repository is then
    as it was, or new and empty, and the same call goes on from what is there."""
    with mover(hub) as child:
        return push_with(child, planned, to, report, is_cancelled)


def push_with(child: Mover, planned: Push, to: Destination, report: Report, is_cancelled: IsCancelled) -> Pushed:
    """`push` by a child that is there."""
    request = {
        "folder": str(planned.folder.absolute()),
        "files": list(planned.files),
        "texts": dict(planned.texts),
        "pictures": {name: b64encode(content).decode() for name, content in planned.pictures.items()},
        "message": planned.message,
        "repository": to.repository,
        "is_public": to.is_public,
        "as_pull_request": to.as_pull_request,
        "sent": [asdict(one) for one in planned.sent],
        "parent": planned.parent,
    }
    return Pushed(**child.ask(Stage.UPLOAD.value, Stage.UPLOAD, request, report, is_cancelled))


def send(hub: Hub, request: Mapping[str, Any], tell: Callable[[int, int, str], None]) -> Mapping[str, Any]:
    """In the child: what `push` asks for."""
    to = Destination(request["repository"], request["is_public"], request["as_pull_request"])
    made = {name: text.encode() for name, text in request["texts"].items()}
    made |= {name: b64decode(content) for name, content in request["pictures"].items()}
    sent = [Receipt(**one) for one in request["sent"]]
    names = {*request["files"], *made, *(one.name for one in sent)}
    with in_sentences(hub.attempt(HubReference(to.repository), is_writing=True)):
        repository, is_new = find_or_make(hub.api, to)
        check_names(repository, names)
        held = {entry.rfilename: entry.lfs.sha256 for entry in repository.siblings or () if entry.lfs}
        files = [CommitOperationAdd(name, Path(request["folder"]) / name) for name in request["files"]]
        _upload(hub, to, files, tell)
        commit = hub.api.create_commit(
            to.repository,
            [
                *(addition(one, held.get(one.name)) for one in sent),
                *files,
                *(CommitOperationAdd(name, content) for name, content in made.items()),
            ],
            commit_message=request["message"],
            create_pr=to.as_pull_request,
            parent_commit=request["parent"] or repository.sha,
        )
        _check_arrival(hub.api, to, commit.oid, names)
    return {
        "repository": to.repository,
        "address": commit.pr_url or commit.commit_url,
        "commit": commit.oid,
        "is_new": is_new,
        "is_private": bool(repository.private),
    }


def find_or_make(api: HfApi, to: Destination) -> tuple[ModelInfo, bool]:
    """The repository as it is now, and whether it is new; that this token may write to it is asked before uploading."""
    try:
        found = api.model_info(to.repository, files_metadata=True)
    except RepositoryNotFoundError:
        if to.as_pull_request:
            raise HubRefusalError(
                f"There is no {to.repository} that a pull request could go to. Push without one, and it is made."
            ) from None
        _make(api, to)
        return api.model_info(to.repository), True
    if not to.as_pull_request:
        api.auth_check(to.repository, write=True)
    return found, False


def _make(api: HfApi, to: Destination) -> None:
    try:
        api.create_repo(to.repository, private=not to.is_public)
    except HfHubHTTPError as error:
        if error.response.status_code != CONFLICT:
            raise
        raise HubRefusalError(
            f"{to.repository} is taken on the Hub by what this token may not see. Choose another name."
        ) from error


def check_names(repository: ModelInfo, names: set[str]) -> None:
    """Weights that stay beside ours would be loaded instead of them, or with them."""
    held = [entry.rfilename for entry in repository.siblings or ()]
    others = [name for name in held if name not in names and (is_weight_file(name) or name.endswith(".index.json"))]
    if others:
        more = f" and {len(others) - 1} more weight files" if len(others) > 1 else ""
        raise HubRefusalError(
            f"{repository.id} holds {shown(others[0])}{more}, which this result would not replace. Push to a new "
            "repository, or delete them on the Hub."
        )


def _upload(
    hub: Hub, to: Destination, files: Sequence[CommitOperationAdd], tell: Callable[[int, int, str], None]
) -> None:
    """One file after the other, as the client tells nothing while it moves one."""
    total = sum(file.upload_info.size for file in files)
    done = 0
    for file in files:
        tell(done, total, file.path_in_repo)
        hub.api.preupload_lfs_files(to.repository, [file], create_pr=to.as_pull_request)
        done += file.upload_info.size
    tell(done, total, "commit")


def _check_arrival(api: HfApi, to: Destination, commit: str, names: set[str]) -> None:
    info = api.model_info(to.repository, revision=commit)
    absent = sorted(names - {entry.rfilename for entry in info.siblings or ()})
    if absent:
        raise HubError(
            f"{to.repository} was changed, but {absent[0]} did not arrive: its .gitignore may name it. "
            "Remove it there, and push again."
        )
