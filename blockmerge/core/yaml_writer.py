"""YAML that the reader beside it reads back to the same value, and that a reader of YAML 1.1 reads alike."""

from collections.abc import Mapping
from typing import Any

import yaml

from blockmerge.core.yaml_reader import PLAIN_SCALARS


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes what either version of YAML takes for a number, such as the model `1e5`."""

    def ignore_aliases(self, data: Any) -> bool:
        return True  # the reader refuses them

    def represent_text(self, text: str) -> yaml.ScalarNode:
        # PyYAML folds U+0085 and its like into spaces unless they stand in double quotes.
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _Dumper.represent_text)
for _scalar in PLAIN_SCALARS:
    _Dumper.add_implicit_resolver(*_scalar)


def write_yaml(value: Mapping[str, object]) -> str:
    """The mapping in its own order; lists and mappings that hold nothing nested stand on one line."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
