"""A merge imports torch without what it never asks of it, and computes the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from blockmerge.engine.lean_torch import lean_torch
from tests.engine.merges import merge
from tests.engine.test_methods import plan_for, recipe_for
from tests.kernels.cases import CASES
from tests.tiny_models import write_llama

_MERGES = """
import json, sys
from pathlib import Path
from blockmerge.checkpoints.models import open_models
from blockmerge.core.plan import make_plan
from blockmerge.core.recipe import parse_recipe
from blockmerge.engine.lean_torch import lean_torch
with lean_torch():
    from tests.engine.merges import merge
recipes = [parse_recipe(text) for text in json.loads(sys.stdin.read())]
plans = [make_plan(recipe, open_models(recipe.references)) for recipe in recipes]
digests = [merge(plan, Path(sys.argv[1]) / str(number)).digest for number, plan in enumerate(plans)]
print(json.dumps([digests, sorted(sys.modules)]))
"""
_LATER = """
from blockmerge.engine.lean_torch import lean_torch
with lean_torch():
    import torch
assert not hasattr(torch, "export")
import torch._meta_registrations, torch.export
print(torch.export.Dim.__name__, *torch.linalg.svd(torch.empty(4, 3, device="meta"))[0].shape)
"""
_LOADED = """
import sys
from blockmerge.engine.lean_torch import lean_torch
with lean_torch():
    import torch
print("torch.export" in sys.modules)
"""
_THREADS = """
import os
from blockmerge.engine.lean_torch import lean_torch
with lean_torch():
    import torch
print(len(os.listdir("/proc/self/task")), os.environ.get("OPENBLAS_NUM_THREADS"))
"""


def said_by(script: str, *arguments: object, read: str = "", **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        input=read,
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_method_gives_the_same_bits(tmp_path: Path) -> None:
    for seed, key in enumerate(("base", "a", "b", "c")):
        write_llama(tmp_path / key, seed=seed)
    whole = [merge(plan_for(case, tmp_path), tmp_path / "whole" / str(case)).digest for case in CASES]

    said = said_by(_MERGES, tmp_path, read=json.dumps([recipe_for(case, tmp_path) for case in CASES]))

    lean, modules = json.loads(said)
    assert lean == whole
    assert {"torch.export", "torch._meta_registrations"}.isdisjoint(modules)


def test_who_asks_later_gets_all_of_torch() -> None:
    assert said_by(_LATER) == "Dim 4 4\n"


def test_a_torch_that_was_never_looked_at_is_imported_whole(tmp_path: Path) -> None:
    information = tmp_path / "torch-2.99.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.99.0\n")

    assert said_by(_LOADED) == "False\n"
    assert said_by(_LOADED, PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path])) == "True\n"


def test_where_torch_is_imported_already_nothing_is_left_out() -> None:
    with lean_torch():
        assert sys.modules["torch.export"] is torch.export


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_numpy_starts_no_threads_for_products_of_matrices() -> None:
    environ = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}

    done = subprocess.run([sys.executable, "-c", _THREADS], env=environ, capture_output=True, text=True, check=True)

    assert done.stdout == "1 None\n"
