"""YAML as recipes use it: the part of YAML 1.2 that means what it looks like.

YAML 1.1, which PyYAML reads by default, takes `no` for false, `010` for 8 and `1:30` for 90, and lets an alias
repeat a node until memory ends. Here these three are words, numbers are decimal, and there are no aliases and no tags.
"""

import re
from collections.abc import Hashable
from typing import Any

import yaml

from blockmerge.errors import RecipeError

MAX_BYTES = 64 * 1024


class _Loader(yaml.SafeLoader):
    """SafeLoader with other rules for plain scalars, no aliases, no tags and no duplicate keys."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own attribute

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.NodeEvent) and event.anchor:
            raise _refusal("anchors and aliases are not used in recipes", event)
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag:
            raise _refusal("tags are not used in recipes", event)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refusal("a key is one word", key)
            if key.value in seen:
                raise _refusal(f"the key {key.value} stands twice", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _refusal(problem: str, place: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)


# What a plain scalar is when it is not a word: the tag, the pattern and the characters that it may begin with.
PLAIN_SCALARS = (
    ("tag:yaml.org,2002:null", re.compile(r"^(?:null|Null|NULL|~|)$"), ["n", "N", "~", ""]),
    ("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]{0,18})$"), list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"),
        list("-+.0123456789"),
    ),
)
for _scalar in PLAIN_SCALARS:
    _Loader.add_implicit_resolver(*_scalar)


def read_yaml(text: str, what: str) -> object:
    """Parse `text`; `what` names it in errors, such as "The recipe".

    Raises RecipeError with the line and column when it is too long, is not YAML, or uses anchors, tags or a key twice.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise RecipeError(
            f"{what} is longer than {MAX_BYTES // 1024} kB. A recipe is a page of text; is this the right file?"
        )
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "the text"
        raise RecipeError(f"{what} is not valid YAML at {where}: {error.problem}.") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RecipeError(f"{what} is not valid YAML: {str(error).splitlines()[0]}.") from error
