"""What was measured, as one small table; its value is `try_views.figures_view`."""

from typing import ClassVar

from blockmerge.ui.parts import OwnComponent


class Figures(OwnComponent):
    FRAME = '<div class="figures" role="status"></div>'
    SCRIPTS = STYLES = ("figures",)
    EMPTY: ClassVar[object] = []
