"""A mergekit file as a recipe of ours, and in words what of it is exact and what is only near.

The grammar is that of mergekit 0.1.5. Slices are read where they only set weights layer by layer; a file that stacks,
repeats or drops layers makes another depth, which a recipe cannot say.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from blockmerge.core.mergekit_settings import Notes, Setting, combine, join_slices, lines_of, read_setting
from blockmerge.core.method import BaseUse, Method, WeightKind
from blockmerge.core.methods import METHODS
from blockmerge.core.recipe import Recipe, read_recipe, shown_value, suggestion
from blockmerge.errors import RecipeError

# What mergekit takes where nothing is said; here it is said.
_THEIR_DEFAULTS: Mapping[str, object] = {"density": 1.0, "gamma": 0.01, "epsilon": 0.15, "lambda": 1.0}
_NORMALIZED = frozenset({"linear", "ties", "dare_ties", "breadcrumbs_ties", "della", "multislerp"})
_KNOWN = frozenset(
    ("merge_method", "models", "slices", "base_model", "parameters", "dtype", "out_dtype", "tokenizer_source")
)
_DTYPES = ("float32", "float16", "bfloat16")
_KEYS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Reading:
    """A recipe that was written elsewhere, and sentences about it."""

    recipe: Recipe
    exact: tuple[str, ...]
    approximate: tuple[str, ...]


def read_mergekit(value: Mapping[str, Any]) -> Reading:
    """Raises RecipeError with the first reason why this is no recipe that can be carried out here."""
    notes = Notes()
    file = _File(value, _method(value), notes)
    recipe = read_recipe(file.recipe())
    notes.exact += _exact(recipe, by_layer="slices" in value)
    for key in sorted(value.keys() - _KNOWN):
        notes.near(f"{key!r} is left out: it is not used here.")
    return Reading(recipe, tuple(notes.exact), tuple(notes.approximate))


def _method(value: Mapping[str, Any]) -> Method:
    name = value["merge_method"]
    if not isinstance(name, str) or name not in METHODS:
        raise RecipeError(
            f"merge_method: {shown_value(name)} is not a merge method.{suggestion(str(name), (*METHODS,))}"
        )
    if "modules" in value:
        raise RecipeError("modules: files for several modules are not read. Draw the weights of each stack instead.")
    if ("models" in value) == ("slices" in value):
        raise RecipeError("Expected either models or slices, as mergekit does.")
    return METHODS[name]


def _exact(recipe: Recipe, *, by_layer: bool) -> list[str]:
    layers = recipe.weights.layers
    count = f"{len(layers)} layers" if by_layer and isinstance(layers, tuple) else "The weights"
    return [f"{count}, the method and the models are read as they are written."]


@dataclass(frozen=True, slots=True)
class _Source:
    """One model with the settings of each slice and how many layers that has; without slices there is one."""

    reference: str
    slices: tuple[tuple[int, Mapping[str, Any]], ...]


class _File:
    def __init__(self, value: Mapping[str, Any], method: Method, notes: Notes) -> None:
        self._value = value
        self._method = method
        self._notes = notes
        self._by_layer = "slices" in value
        self._shared = _mapping(value.get("parameters"), "parameters")
        base = value.get("base_model")
        self._base = None if base is None else _reference(base, "base_model")
        self._sources = self._slice_sources() if self._by_layer else self._model_sources()

    def recipe(self) -> dict[str, object]:
        models = self._models()
        keys = dict(zip(models, _KEYS, strict=False))
        if len(models) > len(_KEYS):
            raise RecipeError(f"models: {len(models)} are too many. A page of text names {len(_KEYS)} at most.")
        parameters = self._parameters()
        return {
            "blockmerge": 1,
            "method": self._method.name,
            "models": {key: reference for reference, key in keys.items()},
            "base": self._base if self._method.base is not BaseUse.NONE else None,
            "weights": self._weights(keys, parameters),
            "parameters": parameters,
            "output": self._output(keys),
        }

    def _model_sources(self) -> list[_Source]:
        sources = []
        for number, entry in enumerate(_list(self._value["models"], "models")):
            reference, parameters = _model(entry, f"models[{number}]")
            sources.append(_Source(reference, ((1, parameters),)))
        return sources

    def _slice_sources(self) -> list[_Source]:
        """The models of the slices, which must be the same in all and take their layers in order."""
        found: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
        ends = [0]
        for number, entry in enumerate(_list(self._value["slices"], "slices")):
            path = f"slices[{number}]"
            slice_ = _mapping(entry, path)
            shared = _mapping(slice_.get("parameters"), f"{path}.parameters")
            ranges = set()
            for place, source in enumerate(_list(slice_.get("sources"), f"{path}.sources")):
                reference, own = _model(source, f"{path}.sources[{place}]")
                first, end = _range(source.get("layer_range"), f"{path}.sources[{place}].layer_range")
                ranges.add((first, end))
                found.setdefault(reference, []).append((end - first, _over(own, shared)))
            if len(ranges) != 1 or ranges != {(ends[-1], max(end for _, end in ranges))}:
                raise RecipeError(
                    f"{path}: expected layers from {ends[-1]} on, the same of every model. A file that stacks, repeats "
                    "or drops layers makes another depth, which a recipe cannot say."
                )
            ends.append(ranges.pop()[1])
        if any(len(slices) != len(ends) - 1 for slices in found.values()):
            raise RecipeError("slices: expected the same models in every slice.")
        self._depths = [after - before for before, after in pairwise(ends)]
        return [_Source(reference, tuple(slices)) for reference, slices in found.items()]

    def _models(self) -> list[str]:
        """The references in the order of a recipe's models: without a base of its own, mergekit's base comes first."""
        references = list(dict.fromkeys(source.reference for source in self._sources))
        if self._base is None:
            return references
        if self._method.base is not BaseUse.NONE:
            return [reference for reference in references if reference != self._base]
        return [self._base, *(reference for reference in references if reference != self._base)]

    def _setting(self, name: str, reference: str | None = None) -> Setting | None:
        """A parameter of one model, or of all, over the whole depth; None where it is not said."""
        source = next((source for source in self._sources if source.reference == reference), self._sources[0])
        parts = []
        for depth, own in source.slices:
            held = _over(own, self._shared)
            if name not in held:
                return None
            parts.append((depth, read_setting(held[name], name)))
        return join_slices(parts, name) if self._by_layer else parts[0][1]

    def _needed(self, name: str, reference: str | None = None) -> Setting:
        setting = self._setting(name, reference)
        if setting is None:
            of = f" of {reference}" if reference else ""
            raise RecipeError(f"{name}: {self._method.name} needs this number{of}, and it is not there.")
        return setting

    def _lines(self, setting: Setting, path: str) -> dict[str, object]:
        return lines_of(setting, path, self._notes, by_layer=self._by_layer)

    def _weights(self, keys: Mapping[str, str], parameters: dict[str, object]) -> dict[str, object]:
        if self._method.kind is WeightKind.STRENGTH:
            return {"layers": 1}
        if self._method.name == "slerp":
            if self._base is None or len(keys) != 2:
                raise RecipeError("slerp: expected two models, and one of them as base_model.")
            return self._lines(self._needed("t"), "t")
        settings = [self._needed("weight", reference) for reference in keys]
        if self._method.kind is WeightKind.SHARE and len(keys) == 2:
            is_share = parameters.pop("normalize", True) or self._method.name == "nuslerp"
            return self._lines(combine(settings, "weight", _share if is_share else _share_already), "weight")
        return {key: self._lines(setting, "weight") for key, setting in zip(keys.values(), settings, strict=True)}

    def _parameters(self) -> dict[str, object]:
        found: dict[str, object] = {}
        for entry in self._method.parameters:
            if entry.name == "normalize":
                found["normalize"] = self._normalize()
            elif entry.name == "rescale":
                found["rescale"] = "l1" if self._shared.get("rescale", True) else "none"
                self._notes.near("Which numbers are dropped at random is drawn otherwise than in mergekit.")
            elif isinstance(entry.default, float):
                found[entry.name] = self._number(entry.name, entry.default, is_per_block=entry.per_block)
            elif entry.name in self._shared:
                found[entry.name] = self._shared[entry.name]
        return found

    def _normalize(self) -> object:
        name = "normalize_weights" if self._method.name == "multislerp" else "normalize"
        return self._shared.get(name, self._method.name in _NORMALIZED)

    def _number(self, name: str, default: float, *, is_per_block: bool) -> object:
        """A number that steers the method; mergekit has one for each model, here all models share it."""
        settings = [self._setting(name, source.reference) for source in self._sources if source.reference != self._base]
        said = [setting for setting in settings if setting is not None]
        if not said:
            return _THEIR_DEFAULTS.get(name, default)
        if any(setting != said[0] for setting in said):
            self._notes.near(
                f"{name} differs from model to model. Here it varies by block only: the first one's is taken."
            )
        if len(said[0]) == 1 and not isinstance(said[0][0].value, list):
            return said[0][0].value
        if not is_per_block:
            raise RecipeError(f"{name}: {self._method.name} takes one number here, the same in every block.")
        return self._lines(said[0], name)

    def _output(self, keys: Mapping[str, str]) -> dict[str, object]:
        wanted = self._value.get("out_dtype") or self._value.get("dtype")
        owner = "base" if self._base is not None and self._method.base is not BaseUse.NONE else "a"
        if wanted is not None and wanted not in _DTYPES:
            raise RecipeError(f"dtype: expected {', '.join(_DTYPES)}, found {shown_value(wanted)}.")
        if self._value.get("dtype") in ("float16", "bfloat16"):
            self._notes.near(
                f"mergekit rounds the models to {self._value['dtype']} before merging; here only the result."
            )
        tokenizer, source = owner, self._value.get("tokenizer_source", "base")
        if isinstance(source, str) and source in keys:
            tokenizer = keys[source]
        elif source != "base":
            self._notes.near("The tokenizer is that of the first model: tokens of several are not put together here.")
        return {"dtype": wanted or "as owner", "tokenizer": tokenizer}


def _share(*weights: float) -> float:
    total = sum(weights)
    if abs(total) < 1e-9:
        raise RecipeError("weight: the weights of a block sum to 0, so they are no shares.")
    return weights[-1] / total


def _share_already(*weights: float) -> float:
    total = sum(weights)
    if abs(total - 1) > 1e-6:
        raise RecipeError(f"weight: without normalize the weights of a block must sum to 1, found {total:g}.")
    return weights[-1]


def _model(entry: object, path: str) -> tuple[str, Mapping[str, Any]]:
    fields = _mapping(entry, path)
    if "model" not in fields:
        raise RecipeError(f"{path}: this key is missing: model.")
    return _reference(fields["model"], f"{path}.model"), _mapping(fields.get("parameters"), f"{path}.parameters")


def _reference(value: object, path: str) -> str:
    match value:
        case str(text) if text and "+" not in text:
            return text
        case {"model": {"path": str(text), **rest}} if text and rest.keys() <= {"revision"}:
            return f"{text}@{rest['revision']}" if rest.get("revision") else text
        case _:
            raise RecipeError(
                f"{path}: expected the name of a model, found {shown_value(value)}. Adapters are not read."
            )


def _range(value: object, path: str) -> tuple[int, int]:
    match value:
        case [int(first), int(end)] if 0 <= first < end <= 1000:
            return first, end
        case _:
            raise RecipeError(f"{path}: expected two whole numbers such as [0, 8], found {shown_value(value)}.")


def _over(own: Mapping[str, Any], shared: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a model says wins; what its filters leave open is taken from what is said for all."""
    both = {name: [*_entries(own[name]), *_entries(shared[name])] for name in own.keys() & shared.keys()}
    return {**shared, **own, **both}


def _entries(value: object) -> list[object]:
    if isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        return value
    return [value if isinstance(value, dict) else {"value": value}]


def _mapping(value: object, path: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RecipeError(f"{path}: expected keys with values, found {shown_value(value)}.")
    return value


def _list(value: object, path: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise RecipeError(f"{path}: expected a list, found {shown_value(value)}.")
    return value
