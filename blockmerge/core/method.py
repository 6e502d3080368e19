"""What an entry of core/methods.py says about a merge method."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum

Value = float | int | bool | str


class WeightKind(StrEnum):
    """What a weight of a method means. docs/recipe.md says it at length."""

    SHARE = "share"  # of the result; the shares of all models sum to 1
    AMOUNT = "amount"  # of a model's difference from the base: 0 none, 1 all
    STRENGTH = "strength"  # how much of the method's result replaces the owner's tensor


class BaseUse(StrEnum):
    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


class Scope(Enum):
    """How much of a tensor a kernel must see at once; a larger value is more."""

    CHUNK = 0  # any run of elements
    ROWS = 1  # whole rows: runs of the last dimension
    TENSOR = 2  # the whole tensor, in float32, of every model


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a method; the type of its default (float, int, bool or str) is its type.

    `low` and `high` bound numbers, both included; `choices` are the legal texts. Only numbers can vary by block, and
    those take the same forms as weights. `scopes` says for which value the method must see more of a tensor.
    """

    name: str
    default: Value
    description: str
    low: float = 0.0
    high: float = 1.0
    choices: tuple[str, ...] = ()
    per_block: bool = False
    scopes: Mapping[Value, Scope] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Method:
    """What a method takes and where its formula is from.

    `models` beside the base; `most_models` None is any number. `weight_low` and `weight_high` bound a weight. A random
    method draws from the recipe's seed. `scope` is what every kernel of it needs, whatever the parameters. One that
    does not gain on a GPU computes as fast as a fast disk delivers (docs/decisions.md has the figures).
    """

    name: str
    title: str
    description: str
    source: str
    kind: WeightKind
    base: BaseUse = BaseUse.NONE
    fewest_models: int = 2
    most_models: int | None = None
    weight_low: float = 0.0
    weight_high: float = 1.0
    parameters: tuple[Parameter, ...] = ()
    scope: Scope = Scope.CHUNK
    is_random: bool = False
    gains_on_gpu: bool = True

    @property
    def counts(self) -> str:
        """How many models it takes, in words."""
        if self.most_models is None:
            return f"{self.fewest_models} or more models"
        return "1 model" if self.most_models == 1 else f"{self.most_models} models"

    def takes(self, models: int) -> bool:
        return self.fewest_models <= models <= (self.most_models or models)

    def misuses(self, models: int, has_base: bool) -> Iterable[str]:
        """Why it cannot merge so many models, with or without a base."""
        if not self.takes(models):
            yield f"models: {self.name} takes {self.counts}, the recipe names {models}."
        if has_base and self.base is BaseUse.NONE:
            yield f"base: {self.name} takes no base. Remove the key or write 'base: null'."
        if not has_base and self.base is BaseUse.REQUIRED:
            yield f"base: {self.name} needs the model that the others were tuned from. Write 'base: MODEL'."

    def parameter(self, name: str) -> Parameter:
        return next(parameter for parameter in self.parameters if parameter.name == name)

    def scope_for(self, parameters: Mapping[str, Value]) -> Scope:
        """What a kernel must see at once with these parameters."""
        wanted = [entry.scopes.get(parameters[entry.name], Scope.CHUNK) for entry in self.parameters if entry.scopes]
        return max([self.scope, *wanted], key=lambda scope: scope.value) if wanted else self.scope
