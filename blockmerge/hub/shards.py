"""Weight files that go to the Hub one by one, each deleted here before the next is made; the commit comes last.

The tasks of the child that merges shard by shard have beside those of a push.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd
from huggingface_hub.lfs import post_lfs_batch_info

from blockmerge.core.hub_reference import HubReference
from blockmerge.core.parts import Receipt
from blockmerge.core.progress import IsCancelled, Report, Stage
from blockmerge.errors import HubRefusalError
from blockmerge.hub.child import Mover
from blockmerge.hub.client import Hub
from blockmerge.hub.failures import in_sentences
from blockmerge.hub.push import Destination, Opened, check_names, find_or_make
from blockmerge.hub.receipts import upload_info

Tell = Callable[[int, int, str], None]


def open_destination(child: Mover, to: Destination, names: Collection[str], is_cancelled: IsCancelled) -> Opened:
    """The repository, made where it is new, as the commit will find it; that this token may write there, and that no
    other weights would stay beside `names`, is asked before anything is merged. Raises HubRefusalError or HubError."""
    request = {**asdict(to), "names": sorted(names)}
    return Opened(**child.ask("destination", Stage.CHECK, request, lambda _: None, is_cancelled))


def look_at(hub: Hub, request: Mapping[str, Any], _: Tell) -> Mapping[str, Any]:
    """In the child: what open_destination asks for."""
    to = _destination(request)
    with in_sentences(hub.attempt(HubReference(to.repository), is_writing=True)):
        found, is_new = find_or_make(hub.api, to)
        check_names(found, set(request["names"]))
    return {"commit": found.sha, "is_new": is_new, "is_private": bool(found.private)}


def send_shard(child: Mover, to: Destination, path: Path, *, report: Report, is_cancelled: IsCancelled) -> Receipt:
    """Upload a weight file, which nobody sees before a commit names it. Raises HubRefusalError, HubError,
    StorageError or MergeCancelledError."""
    request = {**asdict(to), "path": str(path.absolute())}
    return Receipt(**child.ask("shard", Stage.UPLOAD, request, report, is_cancelled))


def store(hub: Hub, request: Mapping[str, Any], tell: Tell) -> Mapping[str, Any]:
    """In the child: what send_shard asks for."""
    to, path = _destination(request), Path(request["path"])
    with in_sentences(hub.attempt(HubReference(to.repository), is_writing=True)):
        file = CommitOperationAdd(path.name, path)
        tell(0, file.upload_info.size, path.name)
        hub.api.preupload_lfs_files(to.repository, [file], create_pr=to.as_pull_request)
        if not file._is_uploaded:
            raise HubRefusalError(
                f"{to.repository} does not take {path.name} as a large file: its .gitattributes or .gitignore says so. "
                "Use a new repository, or merge into a folder with --out and push that."
            )
        tell(file.upload_info.size, file.upload_info.size, path.name)
        told = file.upload_info
    return asdict(Receipt(path.name, told.size, told.sha256.hex(), told.sample.hex()))


def still_known(
    child: Mover, to: Destination, receipts: Sequence[Receipt], is_cancelled: IsCancelled
) -> Sequence[Receipt]:
    """Those whose files the Hub still has: it need not keep for ever what no commit names."""
    if not receipts:
        return ()
    request = {**asdict(to), "receipts": [asdict(one) for one in receipts]}
    known = child.ask("known", Stage.CHECK, request, lambda _: None, is_cancelled)["known"]
    return [one for one in receipts if one.name in known]


def which_are_known(hub: Hub, request: Mapping[str, Any], _: Tell) -> Mapping[str, Any]:
    """In the child: what still_known asks for."""
    to = _destination(request)
    receipts = [Receipt(**one) for one in request["receipts"]]
    infos = {one.sha256: upload_info(one) for one in receipts}
    with in_sentences(hub.attempt(HubReference(to.repository), is_writing=True)):
        wanted, _errors, _transfer = post_lfs_batch_info(
            infos.values(),
            token=hub.token,
            repo_type="model",
            repo_id=to.repository,
            revision=None if to.as_pull_request else "main",
            endpoint=hub.endpoint,
            transfers=["basic", "multipart", "xet"],
        )
    known = {one["oid"] for one in wanted if not one.get("actions")}
    return {"known": [one.name for one in receipts if one.sha256 in known]}


def _destination(request: Mapping[str, Any]) -> Destination:
    return Destination(request["repository"], request["is_public"], request["as_pull_request"])
