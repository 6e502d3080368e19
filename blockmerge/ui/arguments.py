"""The arguments of an endpoint: hostile until they are what its signature says, and then refused in our words."""

import types
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import get_annotations
from typing import Any, get_args

import gradio as gr
from pydantic import TypeAdapter, ValidationError

from blockmerge.errors import BlockmergeError, JobRequestError
from blockmerge.ui.wording import say

_TYPES: Mapping[object, str] = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    list[str]: "a list of texts",
    types.NoneType: "nothing",
}


def endpoint(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function for gr.api: its arguments checked, its errors told to the caller.

    A parameter of the type gr.Request is Gradio's own and is passed on.
    """
    hints = {name: hint for name, hint in get_annotations(function).items() if name != "return"}
    adapters = {name: TypeAdapter[Any](hint) for name, hint in hints.items() if hint is not gr.Request}

    @wraps(function)
    def call(*values: Any) -> Any:
        wrong = [
            say("refused.argument", name=name, expected=_words(hints[name]), found=_kind(value))
            for name, value in zip(hints, values, strict=False)
            if name in adapters and not _is_valid(adapters[name], value)
        ]
        try:
            if wrong:
                raise JobRequestError(*wrong)
            return function(*values)
        except BlockmergeError as error:
            # An API's caller reads text; the page shows such errors as HTML, but it calls no endpoint.
            raise gr.Error(str(error), print_exception=False) from error

    return call


def _is_valid(adapter: TypeAdapter[Any], value: object) -> bool:
    try:
        adapter.validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def _words(hint: Any) -> str:
    if isinstance(hint, types.UnionType):
        return " or ".join(_TYPES[part] for part in get_args(hint))
    return _TYPES[hint]


def _kind(value: object) -> str:
    """What JSON calls it; the value itself may be as long and as deep as the sender likes."""
    kinds = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
        dict: "a mapping",
    }
    return kinds.get(type(value), "nothing")
