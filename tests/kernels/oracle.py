"""Every method again, in float64 NumPy on whole tensors, straight from its formula and sharing nothing with kernels."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.kernels.test_random_numbers import expected as uniform

Array = NDArray[np.float64]


def oracle(method: str, inputs: Sequence[Array], told: "Told") -> Array:
    base = inputs[0] if told.has_base else None
    models = list(inputs[told.has_base :])
    if method in _ON_SPHERE:
        vectors = models if base is None else [model - base for model in models]
        result = _ON_SPHERE[method](vectors, told)
        return result if base is None else base + result
    if base is None:
        return _PLAIN[method](models, told)
    changes = [model - base for model in models]
    return base + _CHANGES[method](changes, told, base)


class Told:
    """Weights, parameters and keys, as a kernel's setting has them."""

    def __init__(self, weights: Sequence[float], parameters: Mapping[str, Any], has_base: bool, keys: Sequence[int]):
        self.weights, self.parameters, self.has_base, self.keys = weights, parameters, has_base, keys

    def __getitem__(self, name: str) -> Any:
        return self.parameters[name]


def _linear(models: list[Array], told: Told) -> Array:
    return sum(weight * model for weight, model in zip(told.weights, models, strict=True))  # type: ignore[return-value]


def _norm(x: Array) -> float:
    return float(np.linalg.norm(x))


def _arc(a: Array, b: Array, weight: float, threshold: float) -> Array:
    cos = np.clip(np.sum(a * b) / (_norm(a) * _norm(b)), -1, 1)
    if abs(cos) > threshold:
        return (1 - weight) * a + weight * b
    angle = np.arccos(cos)
    return (np.sin((1 - weight) * angle) * a + np.sin(weight * angle) * b) / np.sin(angle)


def _slerp(vectors: list[Array], told: Told) -> Array:
    return _arc(*vectors, told.weights[1], 0.9995)


def _nuslerp(vectors: list[Array], told: Told) -> Array:
    a, b = vectors
    if told["nuslerp_flatten"]:
        return _arc(a, b, told.weights[1], 1 - 1e-14)
    axis = 0 if told["nuslerp_row_wise"] else -1
    pairs = zip(
        np.moveaxis(a, axis, -1).reshape(-1, a.shape[axis]),
        np.moveaxis(b, axis, -1).reshape(-1, b.shape[axis]),
        strict=True,
    )
    rows = np.array([_arc(x, y, told.weights[1], 1 - 1e-14) for x, y in pairs])
    return np.moveaxis(rows.reshape(np.moveaxis(a, axis, -1).shape), -1, axis)


def _multislerp(vectors: list[Array], told: Told) -> Array:
    """With the tangent step that the kernel leaves out as it is 0."""
    units = [x / _norm(x) for x in vectors]
    mean = _linear(units, told)
    mean = mean / _norm(mean)
    tangents = [unit - np.sum(unit * mean) * mean for unit in units]
    step = _linear(tangents, told)
    length = _norm(step)
    point = mean * np.cos(length) + (step * np.sin(length) / length if length > 1e-12 else 0)
    return point * sum(weight * _norm(x) for weight, x in zip(told.weights, vectors, strict=True))


def _karcher(vectors: list[Array], told: Told) -> Array:
    """By many small steps of gradient descent instead of the kernel's whole ones in coefficients."""
    units = [x / _norm(x) for x in vectors]
    mean = sum(units) / _norm(sum(units))  # type: ignore[arg-type]
    for _ in range(200):
        step = np.zeros_like(mean)
        for unit in units:
            cos = np.clip(np.sum(unit * mean), -1, 1)
            away = unit - cos * mean
            if _norm(away) > 1e-12:
                step += np.arccos(cos) * away / _norm(away) / len(units) / 2
        mean = mean + step
        mean = mean / _norm(mean)
    return mean * float(np.mean([_norm(x) for x in vectors]))


def _passthrough(models: list[Array], told: Told) -> Array:
    return models[0] * told["scale"]


def _sum_up(changes: list[Array], told: Told, _: Array) -> Array:
    divisor = sum(told.weights) if told["normalize"] else 1.0
    return told["lambda"] * _linear(changes, told) / divisor


def _elect(changes: list[Array], told: Told, _: Array) -> Array:
    weighted = np.array([weight * change for weight, change in zip(told.weights, changes, strict=True)])
    sign = np.where(weighted.sum(0) >= 0, 1, -1)
    agrees = np.sign(weighted) == sign
    total = (weighted * agrees).sum(0)
    if told["normalize"]:
        divisor = sum(weight * agree for weight, agree in zip(told.weights, agrees, strict=True))
        total = total / np.where(divisor == 0, 1, divisor)
    return np.asarray(told["lambda"] * total)


def _largest(change: Array, density: float) -> Array:
    if density >= 1:
        return change
    threshold = np.sort(np.abs(change), axis=None)[change.size - max(1, int(density * change.size))]
    return np.where(np.abs(change) >= threshold, change, 0)


def _crumbs(change: Array, told: Told) -> Array:
    kept, outliers = int(told["density"] * change.size), int(told["gamma"] * change.size)
    first = max(0, change.size - kept - outliers)
    order = np.argsort(np.abs(change), axis=None)
    result = np.zeros(change.size)
    chosen = order[first : first + kept]
    result[chosen] = change.reshape(-1)[chosen]
    return result.reshape(change.shape)


def _thin(changes: list[Array], told: Told, chances: Callable[[Array], Array]) -> list[Array]:
    kept = []
    for change, key in zip(changes, told.keys, strict=True):
        chance = chances(change)
        drawn = uniform(key, 0, change.size).reshape(change.shape)
        # Compared in float32, as the numbers are drawn.
        thin = np.where(drawn < chance.astype(np.float32), change, 0)
        if told["rescale"] == "paper":
            thin = thin / chance
        elif told["rescale"] == "l1":
            thin = thin * np.abs(change).sum() / np.abs(thin).sum()
        kept.append(thin)
    return kept


def _dare(changes: list[Array], told: Told) -> list[Array]:
    return _thin(changes, told, lambda change: np.full(change.shape, told["density"]))


def _della(changes: list[Array], told: Told) -> list[Array]:
    def chances(change: Array) -> Array:
        ranks = np.argsort(np.argsort(np.abs(change), axis=-1), axis=-1)
        return told["density"] - told["epsilon"] + ranks / (change.shape[-1] - 1) * 2 * told["epsilon"]

    return _thin(changes, told, chances)


def _sce(changes: list[Array], told: Told, _: Array) -> Array:
    stack = np.array(changes)
    if told["select_topk"] < 1:
        variance = stack.var(0)
        count = int(told["select_topk"] * np.count_nonzero(variance))
        stack = stack * (variance >= np.sort(variance, axis=None)[variance.size - count])
    squares = (stack**2).reshape(len(stack), -1).sum(1)
    weights = (squares / squares.sum()).reshape(-1, *[1] * changes[0].ndim)
    agrees = np.sign(stack) == np.where(stack.sum(0) >= 0, 1, -1)
    divisor = (weights * agrees).sum(0)
    return np.asarray((weights * stack * agrees).sum(0) / np.where(divisor == 0, 1, divisor))


def _ram(changes: list[Array], told: Told, _: Array) -> Array:
    stack = np.array([np.where(np.abs(change) > told["epsilon"], change, 0) for change in changes])
    return np.asarray(stack.sum(0) / np.maximum((stack != 0).sum(0), 1))


def _ramplus(changes: list[Array], told: Told, _: Array) -> Array:
    stack = np.array([np.where(np.abs(change) > told["epsilon"], change, 0) for change in changes])
    counts = (stack != 0).sum(0)
    result = np.zeros_like(changes[0])
    for own in stack:
        shared, alone = ((own != 0) & (counts > 1)).sum(), ((own != 0) & (counts == 1)).sum()
        scale = 1 + told["r"] * min(shared / max(alone, told["epsilon"]), told["alpha"])
        result += np.where(counts == 1, own * scale, own / np.maximum(counts, 1))
    return result


def _model_stock(changes: list[Array], told: Told, _: Array) -> Array:
    axes = -1 if told["filter_wise"] else None

    def inner(x: Array, y: Array) -> Array:
        return np.asarray(np.sum(x * y, axis=axes, keepdims=True))

    cosines = [inner(x, y) / np.sqrt(inner(x, x) * inner(y, y)) for x, y in combinations(changes, 2)]
    cos, count = np.mean(cosines, axis=0), len(changes)
    return np.asarray(count * cos / (1 + (count - 1) * cos) * sum(changes) / count)


def _nearswap(changes: list[Array], told: Told, _: Array) -> Array:
    return np.clip(told["t"] / np.maximum(np.abs(changes[0]), 1e-6), 0, 1) * changes[0]


def _arcee_fusion(changes: list[Array], _: Told, base: Array) -> Array:
    def softmax(x: Array) -> Array:
        powers = np.exp(x - x.max(-1, keepdims=True))
        return np.asarray(powers / powers.sum(-1, keepdims=True) + 1e-8)

    own, other = softmax(base + changes[0]), softmax(base)
    importance = np.abs(changes[0]) * (own * np.log(own / other)).sum(-1, keepdims=True)
    ordered = np.sort(importance, axis=None)
    first, median, third = (ordered[(ordered.size - 1) * quarter // 4] for quarter in (1, 2, 3))
    return np.where(importance >= median + 1.5 * (third - first), changes[0], 0)


_ON_SPHERE: Mapping[str, Callable[[list[Array], Told], Array]] = {
    "slerp": _slerp,
    "nuslerp": _nuslerp,
    "multislerp": _multislerp,
    "karcher": _karcher,
}
_PLAIN: Mapping[str, Callable[[list[Array], Told], Array]] = {"linear": _linear, "passthrough": _passthrough}
_CHANGES: Mapping[str, Callable[[list[Array], Told, Array], Array]] = {
    "task_arithmetic": _sum_up,
    "ties": lambda changes, told, base: _elect([_largest(x, told["density"]) for x in changes], told, base),
    "dare_linear": lambda changes, told, base: _sum_up(_dare(changes, told), told, base),
    "dare_ties": lambda changes, told, base: _elect(_dare(changes, told), told, base),
    "breadcrumbs": lambda changes, told, base: _sum_up([_crumbs(x, told) for x in changes], told, base),
    "breadcrumbs_ties": lambda changes, told, base: _elect([_crumbs(x, told) for x in changes], told, base),
    "della": lambda changes, told, base: _elect(_della(changes, told), told, base),
    "della_linear": lambda changes, told, base: _sum_up(_della(changes, told), told, base),
    "sce": _sce,
    "ram": _ram,
    "ramplus_tl": _ramplus,
    "model_stock": _model_stock,
    "nearswap": _nearswap,
    "arcee_fusion": _arcee_fusion,
}
