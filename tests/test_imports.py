"""What a process loads: the checks and the page stay free of what takes seconds to import."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import blockmerge
from tests.engine.merges import recipe_text
from tests.tiny_models import write_llama

HEAVY = {"torch", "transformers", "gradio", "dbos", "sqlalchemy", "fastapi", "numpy", "huggingface_hub"}

_RUN = """
import json, sys
from contextlib import suppress
from blockmerge.cli import app
with suppress(SystemExit):
    app(sys.argv[1:])
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""
_IMPORT = """
import importlib, json, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""


def loaded_by(script: str, *arguments: object) -> set[str]:
    """The packages that a fresh process has loaded at its end."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=True
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_text(write_llama(tmp_path / "a"), write_llama(tmp_path / "b", seed=1), 0.5))
    return path


def test_the_checks_load_nothing_heavy(recipe: Path) -> None:
    a, b = recipe.parent / "a", recipe.parent / "b"

    assert loaded_by(_RUN, "inspect", a) & HEAVY == set()
    assert loaded_by(_RUN, "template", a, b) & HEAVY == set()
    assert loaded_by(_RUN, "plan", recipe, "--json") & HEAVY == set()


def test_help_loads_not_even_what_reads_a_recipe() -> None:
    assert loaded_by(_RUN, "--help") & (HEAVY | {"pydantic", "yaml", "rich"}) == set()


def test_help_is_there_in_half_a_second() -> None:
    def seconds() -> float:
        before = psutil.Process().cpu_times()
        subprocess.run([sys.executable, "-m", "blockmerge", "--help"], stdout=subprocess.DEVNULL, check=True)
        after = psutil.Process().cpu_times()
        return float(after.children_user + after.children_system - before.children_user - before.children_system)

    assert min(seconds() for _ in range(5)) < 0.5  # of processor time, as other programs may be at work


def test_a_merge_that_is_refused_does_not_wait_for_torch(recipe: Path) -> None:
    assert loaded_by(_RUN, "merge", recipe, "--out", recipe.parent / "a") & HEAVY == set()


def test_a_merge_loads_torch_but_neither_transformers_nor_the_page_nor_the_queue(recipe: Path) -> None:
    loaded = loaded_by(_RUN, "merge", recipe, "--out", recipe.parent / "out", "--json")

    assert (recipe.parent / "out").is_dir()
    assert loaded & HEAVY == {"torch", "numpy"}


def test_the_page_loads_no_torch() -> None:
    loaded = loaded_by(_IMPORT, "blockmerge.ui")

    assert "gradio" in loaded
    assert loaded & {"torch", "transformers"} == set()


def test_the_page_writes_no_stubs_beside_its_modules(tmp_path: Path) -> None:
    package = Path(blockmerge.__file__).parent
    shutil.copytree(package, tmp_path / "blockmerge", ignore=shutil.ignore_patterns("*.pyc", "*.pyi"))
    script = "import inspect, blockmerge.ui.serve; print(inspect.getfile.__module__, inspect.getfile(blockmerge.ui))"

    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert done.stdout == f"inspect {tmp_path / 'blockmerge' / 'ui' / '__init__.py'}\n"
    assert list(tmp_path.rglob("*.pyi")) == []


def test_the_core_loads_nothing_but_what_reads_a_recipe() -> None:
    plain = loaded_by(_IMPORT, "json") | {"blockmerge"}

    outside = loaded_by(_IMPORT, "blockmerge.core") - plain - sys.stdlib_module_names

    reads_recipes = {"pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection", "yaml"}
    inside_yaml = {"cython_runtime"}
    assert {name for name in outside if not name.startswith("_")} <= reads_recipes | inside_yaml


def test_importing_the_package_reads_no_environment(tmp_path: Path) -> None:
    """Settings are read when a command runs, so a wrong one does not stop --help."""
    done = subprocess.run(
        [sys.executable, "-m", "blockmerge", "--help"],
        env={**os.environ, "BLOCKMERGE_QUEUE": "no queue", "BLOCKMERGE_MODELS": "relative"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.startswith("Usage: python -m blockmerge")
