"""What ships the page: the image, the compose files and the workflow say the same as the project."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")


def compose(name: str) -> dict[str, dict[str, dict[str, object]]]:
    value: dict[str, dict[str, dict[str, object]]] = yaml.safe_load((ROOT / name).read_text("utf-8"))
    return value


@pytest.mark.skipif(sys.platform != "linux", reason="the linter's package is for Linux")
def test_the_linter_has_nothing_to_say_about_the_dockerfile() -> None:
    linter = Path(sys.executable).with_name("hadolint")

    result = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60)

    assert (result.returncode, result.stdout) == (0, "")


def test_the_image_gets_every_file_that_it_copies_and_nothing_else() -> None:
    copied = {
        name for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE) for name in line.split()[:-1]
    }
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}

    assert copied == kept
    assert all((ROOT / name).exists() for name in copied)


def test_the_image_runs_as_a_user_without_rights_and_says_how_it_is() -> None:
    assert re.search(r"^USER 1000$", DOCKERFILE, re.MULTILINE)
    assert "/healthz" in DOCKERFILE
    assert re.search(r"^ENTRYPOINT \[\"tini\", \"--\"\]$", DOCKERFILE, re.MULTILINE)


@pytest.mark.parametrize(("file", "service"), [("compose.yaml", "blockmerge"), ("compose.workers.yaml", "worker")])
def test_a_container_can_write_its_volumes_only(file: str, service: str) -> None:
    told = compose(file)["services"][service]

    assert told["read_only"] is True
    assert told["cap_drop"] == ["ALL"]
    assert told["security_opt"] == ["no-new-privileges:true"]
    assert "${MODELS:-./models}:/models:ro" in told["volumes"]  # type: ignore[operator]


def test_the_port_is_open_to_this_machine_only() -> None:
    assert compose("compose.yaml")["services"]["blockmerge"]["ports"] == ["127.0.0.1:${BLOCKMERGE_PORT:-7860}:7860"]


def test_workers_and_page_share_one_queue() -> None:
    services = compose("compose.workers.yaml")["services"]

    assert services["worker"]["environment"] == services["blockmerge"]["environment"]


def test_every_python_that_the_project_runs_on_is_tried() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text("utf-8"))
    low, below = re.search(
        r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text("utf-8")
    ).groups()  # type: ignore[union-attr]

    tried = workflow["jobs"]["everything"]["strategy"]["matrix"]["python"]

    assert tried == [f"3.{minor}" for minor in range(int(low), int(below))]
    assert {"macos-latest", "windows-latest"} == set(workflow["jobs"]["portable"]["strategy"]["matrix"]["os"])


def test_every_action_is_one_commit_and_says_which_version_that_is() -> None:
    """A tag can be moved to other code, a commit cannot; dependabot moves both."""
    used = re.findall(r"uses: (.+)", (ROOT / ".github/workflows/test.yml").read_text("utf-8"))

    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action) for action in used)
