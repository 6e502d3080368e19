"""What the Lines component shows, as plain values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Parts = Sequence[tuple[str, str]]  # (class, text)
LinesValue = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Act:
    """A button: it brings a person to the field `at`, by its id on the page, or asks the server to `do` something."""

    label: str
    do: str = ""
    at: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """`kind` chooses icon and colour. What is `inside` is folded, with the line as its heading, unless `is_open`."""

    kind: str
    parts: Parts
    acts: Sequence[Act] = ()
    inside: Sequence["Line"] = ()
    is_open: bool = False

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.parts)


def plain(kind: str, text: str) -> Line:
    return Line(kind, [("", text)])


def lines_value(lines: Sequence[Line]) -> LinesValue:
    return [
        {
            "kind": line.kind,
            "parts": [list(part) for part in line.parts],
            "acts": [{"label": act.label, "do": act.do, "at": act.at} for act in line.acts],
            "inside": lines_value(line.inside),
            "open": line.is_open,
        }
        for line in lines
    ]
