"""A result whose models are on the Hub, without the download."""

from dataclasses import replace
from pathlib import Path

from blockmerge.checkpoints.folder import open_checkpoint
from blockmerge.core.hub_reference import HubReference
from blockmerge.core.plan import make_plan
from blockmerge.core.recipe import parse_recipe
from blockmerge.engine.merge import carry_out
from blockmerge.engine.target import Target
from tests.hub_server import HubServer
from tests.merging import write_recipe


def merge_result(server: HubServer, home: Path, out: str = "out", weight: float = 0.5) -> Path:
    """`org/a` and `org/b`, merged into a folder of `home` with a shard for each few kilobytes."""
    recipe = parse_recipe(write_recipe(home, {"layers": weight}))
    opened = {
        key: replace(
            open_checkpoint(home / key),
            origin=HubReference(f"org/{key}", server.store.repositories[f"org/{key}"].head.oid),
        )
        for key in "ab"
    }
    carry_out(make_plan(recipe, opened), Target(home / out), report=lambda _: None, is_cancelled=lambda: False)
    return home / out
