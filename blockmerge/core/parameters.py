"""A recipe's parameters, checked against what the method's entry declares."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from blockmerge.core.method import Method, Parameter, Value
from blockmerge.core.recipe import Lines, parse_lines, shown_value, suggestion

_KINDS: Mapping[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


@dataclass(frozen=True, slots=True)
class Parameters:
    """Every parameter of a method: those with one value for all blocks, and those that vary from block to block."""

    values: Mapping[str, Value]
    lines: Mapping[str, Lines]


def read_parameters(given: Mapping[str, object], method: Method) -> Parameters | tuple[str, ...]:
    """The parameters with their defaults filled in, or every problem with them."""
    problems = [*_unknown(given, method)]
    values: dict[str, Value] = {}
    lines: dict[str, Lines] = {}
    for entry in method.parameters:
        value = given.get(entry.name, entry.default)
        path = f"parameters.{entry.name}"
        if entry.per_block and isinstance(value, Mapping):
            parsed = parse_lines(value, path)
            if isinstance(parsed, Lines):
                lines[entry.name] = parsed
            else:
                problems += parsed
            continue
        problem = _problem(value, entry)
        if problem:
            problems.append(f"{path}: expected {problem}, found {shown_value(value)}.")
        else:
            # _problem has seen that it fits; a whole number stands for a float as well.
            values[entry.name] = float(value) if isinstance(entry.default, float) else value  # type: ignore[arg-type, assignment]
    return tuple(problems) if problems else Parameters(values, lines)


def _unknown(given: Mapping[str, object], method: Method) -> Iterable[str]:
    names = tuple(entry.name for entry in method.parameters)
    for name in given:
        if not names:
            yield f"parameters.{name}: {method.name} has no parameters. Remove it."
        elif name not in names:
            yield f"parameters.{name}: {method.name} has no such parameter.{suggestion(name, names)}"


def _problem(value: object, entry: Parameter) -> str:
    """What was expected instead of the value, or nothing."""
    kind = type(entry.default)
    is_of_kind = type(value) is kind or (kind is float and type(value) is int)
    if entry.choices:
        return "" if value in entry.choices else f"one of {', '.join(entry.choices)}"
    if not is_of_kind:
        return _KINDS[kind] + (", or lines as weights have" if entry.per_block else "")
    if kind in (int, float) and not is_in_range(value, entry):  # type: ignore[arg-type]
        return range_text(entry)
    return ""


def is_in_range(number: float, entry: Parameter) -> bool:
    return entry.low <= number <= entry.high


def range_text(entry: Parameter) -> str:
    return f"{entry.low:g} to {entry.high:g}"
