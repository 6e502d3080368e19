"""A plan in mergekit's grammar, where mergekit would give every tensor the same numbers; else every reason why not."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from blockmerge.core.block_settings import BlockSetting, BlockSettings, settle_blocks
from blockmerge.core.mergekit_filters import Setting, write_setting
from blockmerge.core.method import Method, WeightKind
from blockmerge.core.methods import METHODS
from blockmerge.core.plan import Plan
from blockmerge.core.tensors import DType
from blockmerge.core.yaml_writer import write_yaml
from blockmerge.errors import RecipeError

# What tests/kernels/test_oracles.py cannot compare with mergekit, mergekit cannot be asked for.
_OTHERWISE = {"arcee_fusion": "mergekit samples its quartiles, here they are exact"}
_NOT_THEIRS = frozenset({"normalize", "rescale"})

Number = Callable[[BlockSetting], float]


def write_mergekit(plan: Plan) -> str:
    """YAML for mergekit 0.1.5. Raises RecipeError with every reason why it cannot say this merge exactly."""
    reasons = [*_reasons(plan)]
    if reasons:
        raise RecipeError(*reasons)
    settled = settle_blocks(plan.recipe, plan.layout)
    assert isinstance(settled, BlockSettings)  # there is a plan, so its weights fit
    method = METHODS[plan.recipe.method]
    reasons += _strength_reasons(method, settled)
    if reasons:
        raise RecipeError(*reasons)
    return write_yaml(_Writer(plan, method, settled).value())


def mergekit_of_result(plan: Plan) -> str:
    """What stands in a result: models of the Hub with their commits, folders by their names alone.

    Empty where mergekit cannot say this merge.
    """
    names = {key: str(held.origin or held.name) for key, held in plan.checkpoints.items()}
    models = {key: names[key] for key in plan.recipe.models}
    recipe = plan.recipe.model_copy(update={"models": models, "base": names.get("base")})
    try:
        return write_mergekit(replace(plan, recipe=recipe))
    except RecipeError:
        return ""


def _reasons(plan: Plan) -> Iterable[str]:
    method = METHODS[plan.recipe.method]
    if method.is_random:
        yield f"{method.title} drops numbers at random, and mergekit draws others."
    if method.name in _OTHERWISE:
        yield f"{method.title}: {_OTHERWISE[method.name]}."
    if len(plan.layout.stacks) > 1:
        yield "The models have several stacks of layers, which mergekit writes as modules with names of its own."
    if any(step.rows for step in plan.steps):
        yield "The vocabularies differ. Here their rows are matched token by token, mergekit does it otherwise."
    if plan.left_out and any(item.name.endswith((".weight", ".bias")) for item in plan.left_out):
        yield "Some tensors are left out, and mergekit would take them in or stop."
    if any(source.tensor.name != step.name for step in plan.steps for source in step.sources):
        yield "The models spell their tensors' names differently, and mergekit looks for one spelling."
    if plan.recipe.output.tokenizer != plan.owner:
        yield "The tokenizer is another model's than the first. mergekit would rearrange the embeddings with it."
    if len({step.dtype for step in plan.steps if step.dtype.can_blend}) > 1:
        yield "The result has tensors of several precisions, and mergekit writes one."


def _strength_reasons(method: Method, settled: BlockSettings) -> Iterable[str]:
    """mergekit has no strength: a block is merged or it is not there."""
    if method.kind is WeightKind.STRENGTH and any(setting.weights != (1.0,) for setting in settled.by_name.values()):
        yield f"mergekit knows no strength for {method.title}: only a weight of 1 in every block can be written."


@dataclass(frozen=True, slots=True)
class _Writer:
    plan: Plan
    method: Method
    settled: BlockSettings

    def value(self) -> dict[str, object]:
        """The whole file; the arithmetic in float32, as here."""
        recipe = self.plan.recipe
        base = recipe.base or (next(iter(recipe.models.values())) if self._pins_base() else None)
        dtype: DType = next(step.dtype for step in self.plan.steps if step.dtype.can_blend)
        return {
            "merge_method": recipe.method,
            **({"base_model": base} if base is not None else {}),
            "models": [*self._models()],
            "parameters": self._parameters(),
            "dtype": "float32",
            "out_dtype": dtype.label,
        }

    def _pins_base(self) -> bool:
        """Of several models mergekit takes config and tokenizer from any, unless one is the base."""
        return self.method.name in ("linear", "slerp")

    def _models(self) -> Iterable[Mapping[str, object]]:
        for place, reference in enumerate(self.plan.recipe.models.values()):
            if self.method.kind is WeightKind.STRENGTH or self.method.name == "slerp":
                yield {"model": reference}
            else:
                yield {"model": reference, "parameters": {"weight": self._setting(_weight(place))}}

    def _parameters(self) -> dict[str, object]:
        if self.method.name == "slerp":
            return {"t": self._setting(_weight(1))}
        found: dict[str, object] = {}
        for entry in self.method.parameters:
            if entry.name not in _NOT_THEIRS:
                is_number = isinstance(entry.default, float)
                first = next(iter(self.settled.by_name.values())).parameters[entry.name]
                found[entry.name] = self._setting(_parameter(entry.name)) if is_number else first
        if self.method.kind is WeightKind.SHARE:
            # Shares sum to 1 already.
            return found | ({} if self.method.name == "nuslerp" else {_normalize(self.method): False})
        normalize = self.settled.parameters.get("normalize")
        return found if normalize is None else found | {"normalize": normalize}

    def _setting(self, number: Number) -> Setting:
        numbers = {name: number(setting) for name, setting in self.settled.by_name.items()}
        return write_setting(numbers, self.plan.layout)


def _weight(place: int) -> Number:
    return lambda setting: setting.weights[place]


def _parameter(name: str) -> Number:
    return lambda setting: float(setting.parameters[name])


def _normalize(method: Method) -> str:
    return "normalize_weights" if method.name == "multislerp" else "normalize"
