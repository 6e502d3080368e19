"""The README: short, a Space that starts, and commands that do what it says."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from blockmerge.child_environment import child_environment
from tests.tiny_models import write_llama, write_tokenizer

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")

# Spaces' reference, as of 2026: https://huggingface.co/docs/hub/spaces-config-reference
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
SCOPES = {
    *("email", "read-repos", "gated-repos", "contribute-repos", "write-repos", "manage-repos", "read-mcp", "write-mcp"),
    *(
        "inference-api",
        "jobs",
        "webhooks",
        "write-discussions",
        "read-billing",
        "read-collections",
        "write-collections",
    ),
}
HARDWARE = {"cpu-basic", "cpu-upgrade", "t4-small", "t4-medium", "l4x1", "l4x4", "a10g-small", "a10g-large"}
FIELDS = {
    *("title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file", "app_port"),
    *("base_path", "fullWidth", "header", "short_description", "models", "datasets", "tags", "thumbnail", "pinned"),
    *("license", "suggested_hardware", "hf_oauth", "hf_oauth_scopes", "hf_oauth_expiration_minutes"),
    *("hf_oauth_authorized_org", "disable_embedding", "startup_duration_timeout", "custom_headers", "preload_from_hub"),
}
LONGEST_DESCRIPTION = 60


@pytest.fixture(scope="module")
def front() -> dict[str, Any]:
    found = re.match(r"---\n(.*?)\n---\n", README, re.DOTALL)
    assert found
    value: dict[str, Any] = yaml.safe_load(found[1])
    return value


def test_it_is_read_in_a_minute() -> None:
    assert len(README.splitlines()) <= 150


def test_a_space_knows_every_field_and_value(front: dict[str, Any]) -> None:
    assert set(front) <= FIELDS
    assert {front["colorFrom"], front["colorTo"]} <= COLOURS
    assert front["suggested_hardware"] in HARDWARE
    assert front["hf_oauth"] is True
    assert set(front["hf_oauth_scopes"]) == {"read-repos", "gated-repos", "contribute-repos"} <= SCOPES
    assert len(front["short_description"]) <= LONGEST_DESCRIPTION
    assert not front["emoji"].isascii()


def test_a_space_starts_what_was_tested(front: dict[str, Any]) -> None:
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE))

    assert (front["sdk"], front["sdk_version"]) == ("gradio", pinned["gradio"])
    assert front["python_version"] == "3.12"  # a text: as a number 3.10 would be 3.1
    assert (ROOT / front["app_file"]).is_file()
    assert (ROOT / "requirements.txt").is_file()
    assert front["license"] == "apache-2.0"
    assert (ROOT / "LICENSE").read_text("utf-8").lstrip().startswith("Apache License")


def test_every_file_that_it_names_is_there() -> None:
    named = [name for name in re.findall(r"\]\(([^)]+)\)", README) if "://" not in name]

    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_commands_of_a_recipe_do_what_they_say(tmp_path: Path) -> None:
    for seed, name in enumerate("AB"):
        write_tokenizer(write_llama(tmp_path / name, seed=seed))
    commands = re.findall(r"^python -m blockmerge .*$", README, re.MULTILINE)
    assert [shlex.split(command, comments=True)[3] for command in commands] == [
        "template",
        "plan",
        "merge",
        "verify",
        "diff",
    ]

    for command in commands:
        arguments = shlex.split(command, comments=True)[1:]
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=child_environment(os.environ),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert (command, done.returncode, done.stderr) == (command, 0, done.stderr)

    assert (tmp_path / "merged" / "config.json").is_file()
    [example] = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "example.yaml").write_text(example, "utf-8")
    planned = [sys.executable, "-m", "blockmerge", "plan", "example.yaml"]
    environ = child_environment(os.environ)
    assert (
        subprocess.run(planned, cwd=tmp_path, env=environ, capture_output=True, timeout=300, check=False).returncode
        == 0
    )


def test_the_command_that_starts_it_is_made_of_files_that_are_there() -> None:
    """What cannot be run here: it makes an environment from a registry."""
    [command] = re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)

    parts = command.split(" && ")
    assert parts == [
        "python3 -m venv .venv",
        ".venv/bin/pip install -r requirements.txt -c constraints.txt",
        ".venv/bin/python app.py",
    ]
    assert all((ROOT / name).is_file() for name in ("requirements.txt", "constraints.txt", "app.py"))
