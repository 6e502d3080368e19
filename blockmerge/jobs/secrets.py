"""What must never be written down: tokens, passwords in addresses, and how a text is freed of them."""

import logging
import os
import re
from collections.abc import Mapping

_HIDDEN = "***"
_SHAPES = (
    (re.compile(r"\bhf_[A-Za-z0-9]{4,}(?:[\w.-]*\w)?"), f"hf_{_HIDDEN}"),
    (re.compile(r"(?i)(authorization['\"]?\s*[:=]\s*['\"]?)(?:(?:bearer|basic)\s+)?[^\s'\",]+"), rf"\1{_HIDDEN}"),
    (re.compile(r"(?i)\b(bearer)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {_HIDDEN}"),
    (re.compile(r"(://[^\s:/@]*):[^\s@/]+@"), rf"\1:{_HIDDEN}@"),
)
# Their values are masked wherever they stand, whatever they look like.
_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "BLOCKMERGE_PASSWORD", "OAUTH_CLIENT_SECRET")


def mask_secrets(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """The text with *** in place of every token and password."""
    for name in _VARIABLES:
        if value := environ.get(name, ""):
            text = text.replace(value, _HIDDEN)
    for shape, hidden in _SHAPES:
        text = shape.sub(hidden, text)
    return text


def mask_log_records() -> None:
    """Let no secret into what this process logs, tracebacks included. Call it once, after logging is set up."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_MaskingFormatter(handler.formatter or logging.Formatter()))


class _MaskingFormatter(logging.Formatter):
    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return mask_secrets(self._inner.format(record))
