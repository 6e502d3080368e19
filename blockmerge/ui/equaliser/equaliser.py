"""The slider grid as one component: its value is `grid_value`, what it hands to Python is a Grid."""

import html
from typing import Any

import gradio as gr

from blockmerge.core.blocks import Blocks, StackBlocks
from blockmerge.errors import RecipeError
from blockmerge.ui.equaliser.grid import Grid, grid_value, new_grid, read_grid
from blockmerge.ui.equaliser.meaning import Kind, Meaning
from blockmerge.ui.parts import OwnComponent


class Equaliser(OwnComponent):
    """The weights of a pair as bars; None shows an empty plot. Fires `input` when a person has changed something.

    A stroke is one `input`, keys are gathered for 120 ms. A listener of `input` must not return the grid itself, as its
    answer would overwrite what was painted meanwhile, and needs trigger_mode="always_last", as by default Gradio drops
    what happens during a call.
    """

    FRAME = '<div class="equaliser"></div>'
    # One function in the browser, so each file sees the names of all others.
    SCRIPTS = (
        *("dom", "weights", "state", "meaning", "fields", "lanes", "strip", "bars", "phone", "pointer", "keys"),
        *("tray", "mine", "bulk", "groups", "table", "grammar", "mergekit", "text", "help", "toolbar", "readout"),
        *("outside", "main"),
    )
    STYLES = ("equaliser",)
    TEXTS = ("grid", "shapes")

    def preprocess(self, payload: object) -> Grid | None:
        """Raises gr.Error, escaped, for a value that is no grid: this is the API's gate too."""
        if payload is None or payload == "":  # what Gradio makes of None in the browser
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
        required = {"a": text, "b": text, "stacks": stacks, "rows": rows, "shape": text}
        model = {"type": "object", "properties": {"key": text, "name": text}, "required": ["key", "name"]}
        kind = {"type": "string", "enum": list(Kind)}
        meaning = {
            "kind": kind,
            "models": {"type": "array", "items": model},
            "wide": {"type": "boolean"},
            "outer": {"type": "array", "items": text},
        }
        return {"type": "object", "properties": {**required, **meaning}, "required": list(required)}

    def example_payload(self) -> dict[str, Any]:
        blocks = Blocks(stacks=(StackBlocks("layers", 2, ("attention", "mlp", "norm"), ()),), rows=("embeddings",))
        value = grid_value(new_grid(Meaning("A", "B"), blocks))
        del value["presets"]
        return value

    example_value = example_payload
