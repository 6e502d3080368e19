"""Where the Hub's storage has the large files of a repository: asked for many at once, in the protocol of Git LFS.

By the ordinary way each file costs a request to the Hub, which limits them, and one to where it sends us.
https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from huggingface_hub import get_session

from blockmerge.hub.client import TIMEOUT, Hub, Listing

AT_ONCE = 100  # files in one question, as git asks

_JSON = "application/vnd.git-lfs+json"


def find_places(hub: Hub, listing: Listing, names: Collection[str]) -> Mapping[str, str]:
    """Addresses by the files' names, signed for a while.

    Those that are not told are to be asked for one by one: a mirror need not know this protocol, and what the Hub
    refuses it refuses there in the words that the client knows.
    """
    wanted = [name for name in names if name in listing.large]
    if len(wanted) < 2:
        return {}
    found: dict[str, str] = {}
    for start in range(0, len(wanted), AT_ONCE):
        found |= _ask(hub, listing, wanted[start : start + AT_ONCE])
    return found


def _ask(hub: Hub, listing: Listing, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    signed = {"Authorization": f"Bearer {hub.token}"} if hub.token is not None else {}
    asked = [{"oid": listing.large[name], "size": listing.files[name]} for name in names]
    answer = get_session().post(
        f"{hub.endpoint}/{listing.repository}.git/info/lfs/objects/batch",
        json={"operation": "download", "transfers": ["basic"], "objects": asked, "hash_algo": "sha256"},
        headers={"Accept": _JSON, "Content-Type": _JSON, **signed},
        timeout=TIMEOUT,
    )
    places = dict(_told(answer.json())) if answer.status_code == 200 else {}
    return ((name, places[listing.large[name]]) for name in names if listing.large[name] in places)


def _told(answer: object) -> Iterator[tuple[str, str]]:
    """The addresses by the files' digests; one that wants headers of its own is left out."""
    match answer:
        case {"objects": [*objects]}:
            for one in objects:
                match one:
                    case {"oid": str(digest), "actions": {"download": {"href": str(place), **more}}}:
                        if not more.get("header"):
                            yield digest, place
