"""The table of merge methods in docs/methods.md, made from their entries: `python -m blockmerge.core.method_table`."""

from collections.abc import Iterable

from blockmerge.core.method import BaseUse, Method, Parameter, WeightKind
from blockmerge.core.methods import METHODS
from blockmerge.core.parameters import range_text

_BASES = {BaseUse.NONE: "no", BaseUse.OPTIONAL: "optional", BaseUse.REQUIRED: "yes"}
_KINDS = {WeightKind.SHARE: "share", WeightKind.AMOUNT: "amount", WeightKind.STRENGTH: "strength"}


def method_table() -> str:
    """Every method as a row, and below the table the parameters of those that have some, in Markdown."""
    return "\n".join([*_methods(), "", *_parameters()]) + "\n"


def _methods() -> Iterable[str]:
    yield "| method | models | base | weight | what it does | GPU | source |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for method in METHODS.values():
        counts = method.counts.removesuffix(" models").removesuffix(" model")
        told = (method.description, "gains" if method.gains_on_gpu else "no", method.source)
        cells = (f"`{method.name}`", counts, _BASES[method.base], _weight(method), *told)
        yield f"| {' | '.join(cells)} |"


def _weight(method: Method) -> str:
    return f"{_KINDS[method.kind]}, {method.weight_low:g} to {method.weight_high:g}"


def _parameters() -> Iterable[str]:
    yield "| method | parameter | values | default | what it does |"
    yield "| --- | --- | --- | --- | --- |"
    for method in METHODS.values():
        for entry in method.parameters:
            cells = (f"`{method.name}`", f"`{entry.name}`", _values(entry), _text(entry.default), entry.description)
            yield f"| {' | '.join(cells)} |"


def _values(entry: Parameter) -> str:
    if entry.choices:
        return ", ".join(f"`{choice}`" for choice in entry.choices)
    if isinstance(entry.default, bool):
        return "`true`, `false`"
    return range_text(entry) + (", may vary by block" if entry.per_block else "")


def _text(value: object) -> str:
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    print(method_table(), end="")
