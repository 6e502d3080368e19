"""What all components of ours are made of: a script of their own, a style, and the texts of their part of the page."""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import gradio as gr

from blockmerge.ui.wording import script_texts

SHARED = "../parts"  # what the lists of jobs and recipes, the settings and the header are made of


class OwnComponent(gr.HTML):
    """Shows its value by `SCRIPTS` and `STYLES`, files beside the class without their ending.

    `TEXTS` are the parts of wording.yaml that the scripts may say, `constants` what else they find; `EMPTY` is what the
    value looks like where there is nothing to show. `FRAME` names no value, as Gradio would run code in it; the scripts
    set every text as text.
    """

    FRAME: ClassVar[str] = "<div hidden></div>"
    SCRIPTS: ClassVar[tuple[str, ...]]
    STYLES: ClassVar[tuple[str, ...]] = ()
    TEXTS: ClassVar[tuple[str, ...]] = ()
    EMPTY: ClassVar[object] = {}

    def __init__(
        self, value: Any = None, *, constants: Mapping[str, object] = MappingProxyType({}), **kwargs: Any
    ) -> None:
        found = "".join(f"const {name} = {json.dumps(held)};\n" for name, held in constants.items())
        texts = script_texts(*self.TEXTS) if self.TEXTS else ""
        super().__init__(
            value,
            html_template=self.FRAME,
            css_template=self._files(self.STYLES, ".css"),
            js_on_load=found + texts + self._files(self.SCRIPTS, ".js"),
            apply_default_css=False,
            **kwargs,
        )

    def _files(self, names: tuple[str, ...], ending: str) -> str:
        folder = Path(inspect.getfile(type(self))).parent
        return "".join((folder / f"{name}{ending}").read_text("utf-8") for name in names)

    def api_info(self) -> dict[str, Any]:
        return {"type": "array", "items": {"type": "object"}} if self.EMPTY == [] else {"type": "object"}

    def example_payload(self) -> Any:
        return self.EMPTY

    def example_value(self) -> Any:
        return self.EMPTY
