"""Where an event or a request ends: whatever it raised, the sender gets one sentence and the log the rest.

Gradio would send the text of any exception to the browser, which may hold a path of the server or worse.
"""

import logging
import re
import traceback
from collections.abc import Callable, Coroutine, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from gradio_client.utils import is_file_obj_with_meta, traverse
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from blockmerge.ui.wording import say

UNKNOWN = say("refused.unknown")

Handler = Callable[[Request, Any], Coroutine[Any, Any, Response]]

NO_FILE = say("refused.file")
NO_VALUE = say("refused.value")
NO_CALL = say("refused.call")

# Routes of Gradio that this page has no use for: watching files, recording the screen, uploads that nothing takes, …
_CLOSED = re.compile(
    "/(login|logout|monitoring|gradio_api/(dev|deep_link|process_recording|profiling|proxy=|runs|run-history|stream|token"
    "|undo-vibe|upload|user|vibe))"
)

_LOG = logging.getLogger(__name__)
_OURS = Path(__file__).parents[1]


class Page(gr.Blocks):
    """Blocks whose events raise nothing but gr.Error, and take no file that somebody names."""

    async def process_api(self, block_fn: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            # Gradio would fetch a file from its address, or copy one of this machine to where it serves files.
            traverse(inputs, _refuse_file, is_file_obj_with_meta)
            return await super().process_api(block_fn, inputs, *args, **kwargs)
        except gr.Error as error:
            error.print_exception = False  # its sentence is for the caller, and says all there is
            raise
        except Exception as error:
            log_failure(error, "An event of the page")
            raise gr.Error(UNKNOWN, print_exception=False) from error

    async def preprocess_data(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().preprocess_data(*args, **kwargs)
        except gr.Error as error:  # Gradio's, and it repeats whatever was sent
            raise gr.Error(NO_VALUE, print_exception=False) from error


def shown_error(sentences: Sequence[str]) -> gr.Error:
    """Sentences for the page, which shows the text of an error as HTML."""
    return gr.Error("<br>".join(map(escape, sentences)))


def _refuse_file(_: dict[str, Any]) -> dict[str, Any]:
    raise gr.Error(NO_FILE, print_exception=False)


async def _tell(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"error": UNKNOWN}, 500)


async def _refuse(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"error": NO_CALL}, 422)  # FastAPI's own answer repeats all that was sent


HANDLERS: dict[int | type[Exception], Handler] = {Exception: _tell, RequestValidationError: _refuse}


class Boundary:
    """ASGI middleware around an application with these HANDLERS, which have answered when it raises; it also closes the
    doors that Gradio leaves open and nobody uses."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["type"] == "http" and _CLOSED.match(scope["path"]):
                await JSONResponse({"error": NO_CALL}, 404)(scope, receive, send)
            else:
                await self._app(scope, receive, send)
        except Exception as error:
            if scope["type"] == "lifespan":
                raise
            log_failure(error, f"{scope.get('method', 'A connection')} {scope['path'][:200]!r}")


def log_failure(error: Exception, what: str) -> None:
    """A failure in our code with its traceback, as that is a bug; a call that Gradio could not even pass on, as a line.

    Thousands of wrong calls would fill the log with tracebacks otherwise.
    """
    frames = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
    is_bug = any(_OURS in frame.parents and frame != Path(__file__) for frame in frames)
    first = str(error).partition("\n")[0][:200]
    _LOG.error("%s failed: %s: %s", what, type(error).__name__, first, exc_info=error if is_bug else None)
