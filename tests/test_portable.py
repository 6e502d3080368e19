"""A merge without any call that only some systems have is the same merge."""

import json
import subprocess
import sys
from pathlib import Path

from tests.engine.merges import contents, merge, plan_for, recipe_text
from tests.tiny_models import write_llama, write_tokenizer

# Everything in os that macOS or Windows lacks and an engine might be tempted to use; not statvfs and
# O_NONBLOCK, which shutil and filelock use where they are (tests/checkpoints/test_files.py hides the second).
NOT_EVERYWHERE = (
    "O_CLOEXEC",
    "O_DIRECT",
    "O_DIRECTORY",
    "O_NOFOLLOW",
    "O_TMPFILE",
    "copy_file_range",
    "fchmod",
    "fchown",
    "fdatasync",
    "fork",
    "fstatvfs",
    "getuid",
    "geteuid",
    "killpg",
    "memfd_create",
    "posix_fadvise",
    "posix_fallocate",
    "pread",
    "preadv",
    "pwrite",
    "pwritev",
    "sched_getaffinity",
    "sendfile",
    "splice",
    "sync",
)

_HIDE_AND_RUN = """
import json, os, sys
for name in json.loads(sys.argv[1]):
    if hasattr(os, name):
        delattr(os, name)
from blockmerge.cli import app
app(sys.argv[2:])
"""


def test_a_merge_without_them_makes_the_same_files(tmp_path: Path) -> None:
    sizes = {"layers": 3, "hidden": 128, "vocab": 2999}
    a, b = write_llama(tmp_path / "a", shards=2, **sizes), write_llama(tmp_path / "b", seed=1, **sizes)
    write_tokenizer(a)
    weights = {"layers": [0, 0.3, 1], "head": 0.7}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(recipe_text(a, b, weights, shard_size="1MB"))

    hidden = json.dumps(NOT_EVERYWHERE)
    subprocess.run(
        [sys.executable, "-c", _HIDE_AND_RUN, hidden, "merge", recipe, "--out", tmp_path / "plain", "--json"],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=60,
    )

    merge(plan_for(a, b, weights, shard_size="1MB"), tmp_path / "out")
    assert contents(tmp_path / "plain") == contents(tmp_path / "out")
