"""Sentences on the page as one small component: its value is a list of lines, each a kind and its parts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

_HERE = Path(__file__).parent


class Lines(gr.HTML):
    """Shows lines of text; `kind` of a line and of its parts become classes, never markup.

    The template names no value, as Gradio would run code in it; lines.js sets every text as text.
    """

    def __init__(self, value: Sequence[object] | None = None, **kwargs: Any) -> None:
        super().__init__(
            value,
            html_template='<div class="lines" role="status"></div>',
            css_template=(_HERE / "lines.css").read_text("utf-8"),
            js_on_load=(_HERE / "lines.js").read_text("utf-8"),
            apply_default_css=False,
            **kwargs,
        )

    def api_info(self) -> dict[str, object]:
        return {"type": "array", "items": {"type": "object"}}

    def example_payload(self) -> list[object]:
        return []

    example_value = example_payload
