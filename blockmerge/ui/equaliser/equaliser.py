"""The slider grid as one component: its value is `grid_value`, what it hands to Python is a Grid."""

import html
from pathlib import Path
from typing import Any

import gradio as gr

from blockmerge.core.blocks import Blocks, StackBlocks
from blockmerge.errors import RecipeError
from blockmerge.ui.equaliser.grid import Grid, grid_value, new_grid, read_grid

_HERE = Path(__file__).parent
# One function in the browser, so each file sees the names of all others.
_SCRIPTS = (
    *("dom", "weights", "state", "fields", "lanes", "bars", "phone", "pointer", "keys", "tray", "bulk"),
    *("groups", "table", "grammar", "mergekit", "text", "toolbar", "readout", "outside", "main"),
)


class Equaliser(gr.HTML):
    """The weights of a pair as bars; None shows an empty plot. Fires `input` when a person has changed something.

    A stroke is one `input`, keys are gathered for 120 ms. A listener of `input` must not return the grid itself, as its
    answer would overwrite what was painted meanwhile, and needs trigger_mode="always_last", as by default Gradio drops
    what happens during a call. The template names no value, as Gradio would run code in it; the scripts set every text
    as text.
    """

    def __init__(self, value: Grid | None = None, **kwargs: Any) -> None:
        super().__init__(
            value,
            html_template='<div class="equaliser"></div>',
            css_template=(_HERE / "equaliser.css").read_text("utf-8"),
            js_on_load="".join((_HERE / f"{name}.js").read_text("utf-8") for name in _SCRIPTS),
            apply_default_css=False,
            **kwargs,
        )

    def preprocess(self, payload: object) -> Grid | None:
        """Raises gr.Error, escaped, for a value that is no grid: this is the API's gate too."""
        if payload is None:
            return None
        try:
            return read_grid(payload)
        except RecipeError as error:
            raise gr.Error(html.escape(str(error))) from error

    def postprocess(self, value: Grid | None) -> dict[str, Any] | None:
        return None if value is None else grid_value(value)

    def api_info(self) -> dict[str, Any]:
        weight = {"type": "number", "minimum": -1, "maximum": 2}
        rows = {"type": "object", "additionalProperties": {"anyOf": [weight, {"type": "null"}]}}
        stack = {
            "name": {"type": "string"},
            "layers": {"type": "integer", "minimum": 1, "maximum": 1000},
            "lanes": {"type": "array", "items": {"type": "string"}},
            "lines": {"type": "object", "additionalProperties": {"type": "array", "items": weight}},
            "rows": rows,
        }
        stacks = {"type": "array", "items": {"type": "object", "properties": stack, "required": list(stack)}}
        text = {"type": "string"}
        properties = {"a": text, "b": text, "stacks": stacks, "rows": rows, "shape": text}
        return {"type": "object", "properties": properties, "required": list(properties)}

    def example_payload(self) -> dict[str, Any]:
        blocks = Blocks(stacks=(StackBlocks("layers", 2, ("attention", "mlp", "norm"), ()),), rows=("embeddings",))
        value = grid_value(new_grid("A", "B", blocks))
        del value["presets"]
        return value

    example_value = example_payload
