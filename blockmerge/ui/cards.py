"""A job's card as the browser draws it: plain values."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Moment:
    """A time (seconds since 1970) that the browser writes in its own time zone."""

    time: float


@dataclass(frozen=True, slots=True)
class Code:
    code: str


@dataclass(frozen=True, slots=True)
class Link:
    """Opens beside the page."""

    address: str
    text: str


Text = Sequence[str | Moment | Code | Link]


@dataclass(frozen=True, slots=True)
class Segment:
    """A stage in the progress bar: `state` is done, now or next, `share` how much of it is filled."""

    state: str
    share: float
    title: str
    detail: str


@dataclass(frozen=True, slots=True)
class Card:
    """One job as the list shows it.

    `kind` chooses icon and colour; `spoken` is what a screen reader hears when it changes. `acts` are the buttons that
    stand there, `more` those behind "More", each a wish and its label; `path` is the folder that can be copied, `files`
    the address of a result, empty if there is none. `name` and `recipe` are there where they can be edited.
    """

    id: int
    title: str
    about: Sequence[str]
    weights: Sequence[float]
    kind: str
    state: str
    line: Text
    spoken: str
    notes: Sequence[str] = ()
    facts: Sequence[tuple[str, Text]] = ()
    segments: Sequence[Segment] = ()
    percent: int = 0
    acts: Sequence[tuple[str, str]] = ()
    more: Sequence[tuple[str, str]] = ()
    path: str = ""
    files: str = ""
    size: str = ""
    name: str = ""
    recipe: str = ""
