"""Xet storage: the same calls, with the bytes moved by hf_xet. Children, as the client decides when it is imported."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.hub_server import running_hub
from tests.hub_store import Store
from tests.hub_xet import XetObjects
from tests.tiny_models import write_llama

_DOWN_AND_UP = """
import json, sys
from pathlib import Path
from huggingface_hub import CommitOperationAdd, HfApi
endpoint, token, cache = sys.argv[1:]
api = HfApi(endpoint=endpoint, token=token)
folder = Path(api.snapshot_download("org/a", cache_dir=cache))
files = [path for path in folder.rglob("*") if path.name != ".gitattributes"]
api.create_repo("ann/copy", private=True)
api.create_commit("ann/copy", [CommitOperationAdd(path.name, path) for path in files], commit_message="copy")
print(json.dumps(sorted(path.name for path in files)))
"""


def child_environment(home: Path) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if name != "HF_HUB_DISABLE_XET"}
    return {**kept, "HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


def test_the_real_client_moves_files_both_ways_by_xet(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "a", shards=2)
    (tmp_path / "objects").mkdir()
    with running_hub(Store(XetObjects(tmp_path / "objects"))) as hub:
        hub.store.add_folder("org/a", folder)
        user = hub.store.add_user("ann")

        done = subprocess.run(
            [sys.executable, "-c", _DOWN_AND_UP, hub.endpoint, user.token, str(tmp_path / "cache")],
            env=child_environment(tmp_path / "home"),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )

        names = sorted(path.name for path in folder.iterdir())
        files = hub.store.repositories["ann/copy"].head.files
        assert json.loads(done.stdout) == names
        assert {name: hub.store.content(files[name]) for name in names} == {
            name: (folder / name).read_bytes() for name in names
        }
        assert hub.requests("storage") == []
        assert any("xet-read-token" in asked for asked in hub.requests())
        assert any("xet-write-token" in asked for asked in hub.requests())
