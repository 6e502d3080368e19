"""What was downloaded from the Hub before, in the client's own cache, which other programs use too."""

from collections.abc import Sequence
from dataclasses import dataclass

from huggingface_hub import CachedRepoInfo, scan_cache_dir
from huggingface_hub.errors import CacheNotFound

from blockmerge.errors import HubRefusalError
from blockmerge.hub.client import Hub


@dataclass(frozen=True, slots=True)
class Cached:
    """A model with all commits of it that are here; `used` is when any program read it last, in seconds since 1970."""

    name: str
    nbytes: int
    used: float


def cached_models(hub: Hub) -> Sequence[Cached]:
    """The largest first."""
    found = [Cached(repo.repo_id, repo.size_on_disk, repo.last_accessed) for repo in _scan(hub)]
    return sorted(found, key=lambda one: (-one.nbytes, one.name))


def delete_cached(hub: Hub, name: str) -> int:
    """Delete every commit of a model; how many bytes that has freed. Raises HubRefusalError where it is not here."""
    commits = [held.commit_hash for repo in _scan(hub) if repo.repo_id == name for held in repo.revisions]
    if not commits:
        raise HubRefusalError(f"{name} is not here any more. Reload the page.")
    deletion = scan_cache_dir(hub.cache).delete_revisions(*commits)
    deletion.execute()
    return deletion.expected_freed_size


def _scan(hub: Hub) -> Sequence[CachedRepoInfo]:
    try:
        return [repo for repo in scan_cache_dir(hub.cache).repos if repo.repo_type == "model"]
    except CacheNotFound:
        return ()
