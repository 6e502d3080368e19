"""The list of jobs as one component: its value is `tabs.jobs.Desk.view`; everything a person asks is one event."""

from collections.abc import Sequence
from typing import Any

from blockmerge.core.shapes import load_presets, sample
from blockmerge.ui.parts import SHARED, OwnComponent

SHAPE_LAYERS = 32  # at which the shapes of a batch are drawn


def _shapes_of_a_batch() -> Sequence[dict[str, object]]:
    return [
        {"name": preset.name, "title": preset.label, "weights": sample(preset.shape, SHAPE_LAYERS)}
        for preset in load_presets().values()
    ]


class JobList(OwnComponent):
    """Fires `ask` with {"do": what, "job": number, …}."""

    FRAME = '<div class="jobs"></div>'
    SCRIPTS = (SHARED, "publish", "joblist")
    STYLES = (SHARED, "joblist")
    TEXTS = ("jobs", "publish")

    def __init__(self, value: dict[str, object] | None = None, **kwargs: Any) -> None:
        super().__init__(value, constants={"SHAPES": _shapes_of_a_batch()}, **kwargs)
