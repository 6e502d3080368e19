"""What a person asks of the Jobs tab, read from an event that anybody may have sent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from blockmerge.errors import JobRequestError
from blockmerge.ui.files import LARGEST_ID
from blockmerge.ui.wording import say


@dataclass(frozen=True, slots=True)
class Asked:
    """One thing that a person wants; `job` is the one it is about, `other` the one that is compared with it."""

    do: str
    job: int = 0
    other: int = 0
    name: str = ""
    text: str = ""
    state: str = ""
    on: bool = False
    shapes: tuple[str, ...] = ()
    repository: str = ""
    licence: str = ""
    card: str = ""
    public: bool = False
    pull_request: bool = False
    token: str = field(default="", repr=False)


_TEXTS = ("do", "name", "text", "state", "repository", "licence", "card", "token")
_FIELDS: Mapping[str, type] = {**dict.fromkeys(_TEXTS, str), **dict.fromkeys(("on", "public", "pull_request"), bool)}


def read_asked(told: object) -> Asked:
    """What `ask` carries, whoever sent it. Raises JobRequestError."""
    if not isinstance(told, dict) or not isinstance(told.get("do"), str):
        raise JobRequestError(say("jobs.wrong_request"))
    values: dict[str, Any] = {}
    for name, value in told.items():
        if name in ("job", "other"):
            values[name] = _number(value)
        elif name == "shapes" and isinstance(value, list) and all(isinstance(shape, str) for shape in value):
            values[name] = tuple(value)
        elif name in _FIELDS and type(value) is _FIELDS[name]:
            values[name] = value
        else:
            raise JobRequestError(say("jobs.wrong_request"))
    return Asked(**values)


def _number(value: object) -> int:
    if type(value) is not int or not 0 < value <= LARGEST_ID:
        raise JobRequestError(say("jobs.no_such"))
    return value
