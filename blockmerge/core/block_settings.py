"""What a recipe says for every tensor: the weight of every model, and the method's parameters."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from blockmerge.core.blocks import TensorWeights, resolve_lines
from blockmerge.core.layout import Layout
from blockmerge.core.method import Method, Value, WeightKind
from blockmerge.core.methods import METHODS
from blockmerge.core.parameters import Parameters, is_in_range, range_text, read_parameters
from blockmerge.core.recipe import Lines, Recipe, suggestion

_Told = tuple[tuple[float, ...], tuple[float, ...]]  # what a tensor's lines of weights, and of parameters, say

_ROUNDING = 1e-6  # how far shares written in decimals may miss a sum of 1


@dataclass(frozen=True, slots=True, eq=False)
class BlockSetting:
    """A number per model, or for a strength the strength alone. One object for all tensors that are told the same."""

    weights: tuple[float, ...]
    parameters: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class BlockSettings:
    """The setting of every tensor by name; the recipe's weights and parameters with everything written out."""

    by_name: Mapping[str, BlockSetting]
    weights: Mapping[str, object]
    parameters: Mapping[str, object]


def has_one_line(method: Method, models: int) -> bool:
    """Whether a recipe holds one mapping of weights, and not one per model."""
    return method.kind is WeightKind.STRENGTH or (method.kind is WeightKind.SHARE and models == 2)


def settle_blocks(recipe: Recipe, layout: Layout) -> BlockSettings | tuple[str, ...]:
    """The settings of every tensor, or every reason why the recipe's weights and parameters do not fit the layout."""
    method = METHODS[recipe.method]
    parameters = read_parameters(recipe.parameters, method)
    if not isinstance(parameters, Parameters):
        return parameters
    problems = [*_check_form(recipe, method)]
    if problems:
        return tuple(problems)
    lines = _resolve(_weight_lines(recipe, method), layout, problems)
    varied = _resolve({f"parameters.{name}": line for name, line in parameters.lines.items()}, layout, problems)
    if not problems:
        problems += _check_ranges(method, lines, varied)
    if problems:
        return tuple(problems)
    # Thousands of tensors share a setting, so each is made and checked once.
    told = dict(zip(layout.places, zip(_rows(lines, layout), _rows(varied, layout), strict=True), strict=True))
    names = [path.partition(".")[2] for path in varied]
    made: Mapping[_Told, BlockSetting] = {
        each: BlockSetting(each[0], {**parameters.values, **dict(zip(names, each[1], strict=True))})
        for each in dict.fromkeys(told.values())
    }
    if method.kind is WeightKind.SHARE:
        made = _with_shares(made, told, problems)
    problems += _check_epsilon(made.values())
    resolved = {path.partition(".")[2]: line.resolved for path, line in varied.items()}
    weights = {path.partition(".")[2]: line.resolved for path, line in lines.items()}
    return tuple(problems) or BlockSettings(
        {name: made[each] for name, each in told.items()},
        lines["weights"].resolved if "weights" in lines else weights,
        {**parameters.values, **resolved},
    )


def _rows(lines: Mapping[str, TensorWeights], layout: Layout) -> Iterable[tuple[float, ...]]:
    """What the lines say of each tensor, in the layout's order."""
    if not lines:
        return [()] * len(layout.places)
    return zip(*(map(line.by_name.__getitem__, layout.places) for line in lines.values()), strict=True)


def _weight_lines(recipe: Recipe, method: Method) -> Mapping[str, Lines]:
    if has_one_line(method, len(recipe.models)):
        return {"weights": recipe.weights}
    return {f"weights.{key}": recipe.weights.by_model[key] for key in recipe.models}


def _check_form(recipe: Recipe, method: Method) -> Iterable[str]:
    """One mapping of weights or one per model, as the method has it."""
    keys, found = tuple(recipe.models), recipe.weights.by_model
    if has_one_line(method, len(keys)):
        if found:
            what = "the share of the second model" if method.kind is WeightKind.SHARE else "a strength"
            yield f"weights: {method.name} takes one line of weights here, {what}; found keys {', '.join(found)}."
        if method.kind is WeightKind.SHARE and recipe.parameters.get("normalize", False) is not False:
            yield "parameters.normalize: of two models the weight is a share already. Remove it."
        return
    if not found:
        yield f"weights: {method.name} takes weights for every model: weights.{keys[0]}: {{layers: 0.5}} and so on."
        return
    for key in found:
        if key not in keys:
            yield f"weights.{key}: this is none of the models.{suggestion(key, keys)}"
    for key in keys:
        if key not in found:
            yield f"weights.{key}: this key is missing. {method.name} takes weights for every model."


def _resolve(lines: Mapping[str, Lines], layout: Layout, problems: list[str]) -> Mapping[str, TensorWeights]:
    resolved = {path: resolve_lines(line, layout, path) for path, line in lines.items()}
    for found in resolved.values():
        problems += () if isinstance(found, TensorWeights) else found
    return {path: found for path, found in resolved.items() if isinstance(found, TensorWeights)}


def _check_ranges(
    method: Method, lines: Mapping[str, TensorWeights], varied: Mapping[str, TensorWeights]
) -> Iterable[str]:
    for path, line in lines.items():
        wrong = {weight for weight in line.by_name.values() if not method.weight_low <= weight <= method.weight_high}
        if wrong:
            yield f"{path}: {method.name} takes {method.weight_low:g} to {method.weight_high:g}, found {_texts(wrong)}."
    for path, line in varied.items():
        entry = method.parameter(path.partition(".")[2])
        wrong = {number for number in line.by_name.values() if not is_in_range(number, entry)}
        if wrong:
            yield f"{path}: expected {range_text(entry)}, found {_texts(wrong)}."


def _texts(numbers: Iterable[float]) -> str:
    return ", ".join(str(number) for number in sorted(numbers))


def _with_shares(
    settings: Mapping[_Told, BlockSetting], told: Mapping[str, _Told], problems: list[str]
) -> Mapping[_Told, BlockSetting]:
    """Shares that sum to 1, of two models the share of the first as well."""
    shared: dict[_Told, BlockSetting] = {}
    totals: dict[_Told, float] = {}
    for each, setting in settings.items():
        weights = setting.weights if len(setting.weights) > 1 else (1 - setting.weights[0], setting.weights[0])
        total = sum(weights)
        may_be_scaled = setting.parameters.get("normalize", False) and abs(total) > _ROUNDING
        if not may_be_scaled and abs(total - 1) > _ROUNDING:
            totals[each] = total
            continue
        scaled = tuple(weight / total for weight in weights) if len(setting.weights) > 1 else weights
        shared[each] = BlockSetting(scaled, setting.parameters)
    wrong = {name: totals[each] for name, each in told.items() if each in totals} if totals else {}
    if wrong:
        name, total = next(iter(wrong.items()))
        more = f" and of {len(wrong) - 1} more tensors" if len(wrong) > 1 else ""
        problems.append(
            f"weights: the shares of {name}{more} sum to {total:g}, expected 1. Change them, or write "
            "'normalize: true' under parameters."
        )
    return shared


def _check_epsilon(settings: Iterable[BlockSetting]) -> Iterable[str]:
    """DELLA's chances lie within density ± epsilon, and must be chances."""
    for setting in settings:
        density, epsilon = setting.parameters.get("density"), setting.parameters.get("epsilon")
        if isinstance(density, float) and isinstance(epsilon, float) and 0 < density < 1:
            low, high = density - epsilon, density + epsilon
            if low <= 0 or high > 1:
                yield (
                    f"parameters.epsilon: density ± epsilon must lie between 0 and 1, found {low:g} to {high:g}. "
                    "Choose a smaller epsilon."
                )
                return
