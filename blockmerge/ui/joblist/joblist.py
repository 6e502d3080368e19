"""The list of jobs as one component: its value is `views.job_list`, its events carry the number of a job."""

from pathlib import Path
from typing import Any

import gradio as gr

_HERE = Path(__file__).parent


class JobList(gr.HTML):
    """Shows cards; fires `cancel` with {"job": number}.

    The template names no value, as Gradio would run code in it; joblist.js sets every text as text.
    """

    def __init__(self, value: dict[str, object] | None = None, **kwargs: Any) -> None:
        super().__init__(
            value,
            html_template=(
                '<div class="jobs"><p class="note" role="status" hidden></p><div class="cards"></div>'
                '<p class="empty" hidden>No jobs yet. Choose two models on the Merge tab and add one.</p>'
                '<p class="spoken" aria-live="polite"></p></div>'
            ),
            css_template=(_HERE / "joblist.css").read_text("utf-8"),
            js_on_load=(_HERE / "joblist.js").read_text("utf-8"),
            apply_default_css=False,
            **kwargs,
        )

    def api_info(self) -> dict[str, object]:
        return {"type": "object", "properties": {"cards": {"type": "array"}, "live": {"type": "integer"}}}

    def example_payload(self) -> dict[str, object]:
        return {"cards": [], "live": 0, "note": ""}

    example_value = example_payload
