"""Values that no widget of the page sends, as JSON texts."""

import json
from collections.abc import Iterator

DEEP = "[" * 300 + "]" * 300
LONG = json.dumps("x" * 200_000)

# JSON as a sender may write it: Python reads NaN and Infinity, too.
VALUES = (
    *("null", "true", "-1", "1e999", "NaN", "Infinity", "99999999999999999999", "0.5", '""', '"x"', "[]", "{}"),
    *('"../../etc/passwd"', '"\\u0000"', '"\\ud800"', '"<img src=x onerror=alert(1)>"', '"${1}{{value}}"'),
    *('{"job": 1}', '{"job": {"job": 1}}', '{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}'),
    *('{"stacks": [[]]}', '{"a": 1, "b": [], "stacks": NaN, "rows": {}, "shape": ""}'),
    *('["a", {"b": [null]}]', '{"__type__": "update", "value": 1}', DEEP, LONG),
)


def payloads(inputs: int) -> Iterator[str]:
    """Argument lists for a function of so many inputs: each forged value in all places, lists too short, too long."""
    for value in VALUES:
        yield f"[{', '.join([value] * inputs)}]"
    for count in {0, inputs - 1, inputs + 1, 50} - {-1, inputs}:
        yield f"[{', '.join(['null'] * count)}]"
    yield from ("{}", "null", '"x"', "[[[[]]]]")
