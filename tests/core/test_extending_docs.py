import re
from pathlib import Path

from blockmerge.core.quirks import KEYS, load_quirks, read_quirk

TEXT = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")


def test_the_example_is_the_file_that_is_shipped() -> None:
    [example] = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)

    assert read_quirk("swin", example) == load_quirks()["swin"]


def test_every_key_is_explained() -> None:
    assert re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE) == list(KEYS)
