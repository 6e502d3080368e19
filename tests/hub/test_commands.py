"""The command line with models of the Hub."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from blockmerge.checkpoints.manifest import read_manifest
from tests.hub.results import merge_result
from tests.hub_server import HubServer
from tests.merging import write_recipe
from tests.test_imports import _RUN, HEAVY

ROOT = str(Path(__file__).parents[2])


class Terminal:
    """A person at a terminal whose environment names the Hub on loopback."""

    def __init__(self, server: HubServer, home: Path, token: str = "", **environ: str) -> None:
        named = {"HF_ENDPOINT": server.endpoint, "HF_HOME": str(home / "hf"), "BLOCKMERGE_HOME": str(home / "home")}
        self.environ: Mapping[str, str] = {**os.environ, "PYTHONPATH": ROOT, **named, "HF_TOKEN": token, **environ}
        self._home = home

    def start(self, *arguments: object) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "blockmerge", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environ,
            cwd=self._home,
        )

    def run(self, *arguments: object) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=120)
        assert "Traceback" not in err
        return process.returncode, out, err

    def printed(self, *arguments: object) -> str:
        code, out, err = self.run(*arguments)
        assert (code, err) == (0, "")
        return out


@pytest.fixture
def terminal(server: HubServer, tmp_path: Path) -> Terminal:
    return Terminal(server, tmp_path)


def commit_of(server: HubServer, name: str) -> str:
    return server.store.repositories[name].head.oid


def test_inspect_and_template_read_no_weights_and_pin_the_commit(
    server: HubServer, terminal: Terminal, tmp_path: Path
) -> None:
    assert terminal.printed("inspect", "org/a").startswith("org/a: llama, 41.2 k parameters, bfloat16\n")
    assert terminal.printed("inspect", f"{server.endpoint}/org/a/tree/main").startswith("org/a: llama, ")

    terminal.printed("template", "org/a", "org/b@main", "-o", "recipe.yaml")

    recipe = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    assert recipe["models"] == {key: f"org/{key}@{commit_of(server, f'org/{key}')}" for key in "ab"}
    assert json.loads(terminal.printed("plan", "recipe.yaml", "--json"))["counts"]["blend"] > 0
    assert server.weights_given == 0


def test_a_merge_from_the_hub_equals_one_from_folders(server: HubServer, terminal: Terminal, tmp_path: Path) -> None:
    local = write_recipe(tmp_path, {"layers": [0, 0.3, 0.7, 1], "head": 0.5})
    (tmp_path / "local.yaml").write_text(local)
    value = yaml.safe_load(local) | {"models": {"a": "org/a", "b": "org/b"}}
    (tmp_path / "hub.yaml").write_text(yaml.safe_dump(value, sort_keys=False))

    expected = json.loads(terminal.printed("merge", "local.yaml", "--out", "local", "--json"))
    found = json.loads(terminal.printed("merge", "hub.yaml", "--out", "hub", "--json"))

    assert found["digest"] == expected["digest"]
    models = yaml.safe_load(read_manifest(tmp_path / "hub").recipe)["models"]
    assert models == {key: f"org/{key}@{commit_of(server, f'org/{key}')}" for key in "ab"}
    server.asked.clear()
    offline = Terminal(server, tmp_path, HF_HUB_OFFLINE="1")
    difference = json.loads(offline.printed("diff", "org/a", "org/b", "--json"))
    assert difference["distance"] > 0
    assert json.loads(offline.printed("plan", "hub.yaml", "--json"))["recipe"] == read_manifest(tmp_path / "hub").recipe
    assert server.asked == []


def test_the_hub_is_asked_for_the_models_and_for_nothing_else(server: HubServer, tmp_path: Path) -> None:
    terminal = Terminal(server, tmp_path, HF_HUB_DISABLE_TELEMETRY="")
    recipe = {"blockmerge": 1, "models": {"a": "org/a", "b": "org/b"}, "weights": {"layers": 0.5}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))

    terminal.printed("merge", "recipe.yaml", "--out", "out", "--json")

    assert [path for path in server.requests() if "/org/a" not in path and "/org/b" not in path] == []


def test_every_problem_with_every_model_is_told_at_once(terminal: Terminal, tmp_path: Path) -> None:
    recipe = {"blockmerge": 1, "models": {"a": "org/none", "b": "org/b@v9", "c": "org/x..y"}, "weights": {"layers": 0}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))

    assert terminal.run("plan", "recipe.yaml") == (
        2,
        "",
        "models.a: There is no folder org/none here, and on the Hub it does not exist or is private. Check the name, "
        "or sign in ('hf auth login', or a token in HF_TOKEN).\n"
        "models.b: org/b has no revision 'v9'. Check the branch, tag or commit.\n"
        "models.c: 'org/x..y' is not a valid Hub id. Give a Hub id such as org/name, or a folder.\n",
    )


def test_a_target_is_refused_before_anything_is_downloaded(
    server: HubServer, terminal: Terminal, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    terminal.printed("template", "org/a", "org/b", "-o", "recipe.yaml")

    code, _, err = terminal.run("merge", "recipe.yaml", "--out", "out")

    assert (code, err) == (2, "out exists already. Choose another name, or add --overwrite to replace it.\n")
    assert server.weights_given == 0


def test_ctrl_c_ends_a_download_at_once(server: HubServer, terminal: Terminal, tmp_path: Path) -> None:
    terminal.printed("template", "org/a", "org/b", "-o", "recipe.yaml")
    server.wire.bandwidth = 5_000  # bytes per second: the whole would take half a minute
    server.asked.clear()
    with terminal.start("merge", "recipe.yaml", "--out", "out") as process:
        while not server.weights_given:
            time.sleep(0.05)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)

    assert time.monotonic() - begun < 5  # the process itself ends: a second, and what the machine is busy with
    assert (process.returncode, err) == (1, "The download was cancelled. Files that are whole stay.\n")
    assert not (tmp_path / "out").exists()
    assert list((tmp_path / "hf").rglob("*.incomplete")) == []


def test_a_person_at_their_own_terminal_is_signed_in_by_the_environment(server: HubServer, tmp_path: Path) -> None:
    ann = server.store.add_user("ann")
    server.store.add_folder("ann/private", tmp_path / "a", private=True)

    assert Terminal(server, tmp_path, ann.token).printed("inspect", "ann/private").startswith("ann/private: llama")
    code, _, err = Terminal(server, tmp_path, "hf_wrongwrongwrong").run("inspect", "org/a")
    assert (code, err) == (
        2,
        "models.model: The Hub does not accept this token: it is wrong, or has expired. Sign in again "
        "('hf auth login', or a token in HF_TOKEN).\n",
    )


def test_local_models_do_not_wait_for_the_client_of_the_hub(tmp_path: Path) -> None:
    (tmp_path / "org" / "none").mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", _RUN, "inspect", "org/none"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        check=True,
    )

    assert set(json.loads(done.stderr.splitlines()[-1])) & HEAVY == set()


def test_push_previews_the_card_and_takes_an_edited_one(server: HubServer, tmp_path: Path) -> None:
    result = merge_result(server, tmp_path)
    terminal = Terminal(server, tmp_path, server.store.add_user("ann").token)
    card = terminal.printed("push", result, "ann/merged", "--license", "mit", "--preview")
    assert "ann/merged" not in server.store.repositories

    (tmp_path / "card.md").write_text(card.replace("# merged", "# Mine"))
    told = terminal.printed("push", result, "ann/merged", "--card", "card.md")

    head = server.store.repositories["ann/merged"].head
    assert told == f"{server.endpoint}/ann/merged/commit/{head.oid} (new, private)\n"
    assert server.store.content(head.files["README.md"]).decode() == card.replace("# merged", "# Mine")
