"""Questions and answers as one component. Its value names the browser's conversation; it fetches the text itself."""

import re
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ClassVar

import gradio as gr

from blockmerge.ui.parts import OwnComponent
from blockmerge.ui.wording import say

Function = Callable[[Any, gr.Request], Any]
_KEY = re.compile(r"[0-9a-f]{32}")


def read_key(payload: Any) -> str:
    match payload:
        case {"key": str(key)} if _KEY.fullmatch(key):
            return key
        case _:
            raise gr.Error(say("try.whose"))


def _as_function(method: Function) -> Function:
    """Gradio marks what it may call, and a method takes no mark."""

    @wraps(method)
    def call(payload: Any, request: gr.Request) -> Any:
        return method(payload, request)

    return call


class Answers(OwnComponent):
    """Asks the `functions` by name: look, stop, vote, clear, free. Fires `open` when it knows its conversation.

    Text is fetched while it is written, so that Gradio does not draw the page anew with every token.
    """

    FRAME = (
        '<div class="answers"><div class="rounds"></div>'
        '<details class="earlier" hidden><summary></summary><div class="rounds"></div></details>'
        '<p class="empty"></p>'
        '<div class="foot"><p class="held" role="status"></p><div class="actions"></div></div>'
        '<p class="spoken" aria-live="polite"></p></div>'
    )
    SCRIPTS = STYLES = ("answers",)
    TEXTS = ("try",)
    EMPTY: ClassVar[object] = {"key": "0" * 32}

    def __init__(self, functions: Sequence[Function], **kwargs: Any) -> None:
        super().__init__(server_functions=list(map(_as_function, functions)), **kwargs)

    def preprocess(self, payload: Any) -> str:
        """The key of the conversation; empty as long as the browser has not said it."""
        return read_key(payload) if payload else ""
