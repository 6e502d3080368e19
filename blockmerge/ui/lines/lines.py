"""Sentences on the page as one small component: its value is `line.lines_value`."""

from typing import ClassVar

from blockmerge.ui.parts import OwnComponent


class Lines(OwnComponent):
    """`kind` of a line and of its parts become classes, never markup. Fires `mend` with {"do": what} for a button that
    asks the server for something."""

    FRAME = '<div class="lines" role="status"></div>'
    SCRIPTS = STYLES = ("lines",)
    EMPTY: ClassVar[object] = []
