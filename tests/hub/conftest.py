"""A Hub with a pair of models in it, and people who talk to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from blockmerge.checkpoints.library import Library
from blockmerge.hub.client import Hub
from blockmerge.jobs.store import Store as JobStore
from blockmerge.settings import read_settings
from blockmerge.ui.identity import Identity
from blockmerge.ui.tabs import Context
from tests.hub_server import HubServer, running_hub
from tests.hub_store import User
from tests.tiny_models import write_llama, write_tokenizer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HubServer]:
    """`org/a` in two shards and `org/b` in one file; their folders are `a` and `b` of tmp_path."""
    with running_hub() as running:
        for seed, (name, shards) in enumerate((("a", 2), ("b", 1))):
            folder = write_llama(tmp_path / name, shards=shards, seed=seed)
            write_tokenizer(folder)
            running.store.add_folder(f"org/{name}", folder)
        yield running


@pytest.fixture
def hub(server: HubServer, tmp_path: Path) -> Hub:
    """Nobody, with a cache of their own."""
    return hub_of(server, tmp_path)


@pytest.fixture
def context(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    """A page that only this machine can reach."""
    monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    home = {"BLOCKMERGE_HOME": str(tmp_path / "home"), "BLOCKMERGE_OUTPUT": str(tmp_path / "output")}
    settings = read_settings(home)
    with JobStore(settings.queue) as store:
        library = Library((tmp_path / "models",), any_path=True)
        yield Context(settings, store, library, Identity(settings.home, is_private=True))


def hub_of(server: HubServer, home: Path, user: User | None = None) -> Hub:
    return Hub(server.endpoint, home / "cache", home / "kept", user.token if user else None)
