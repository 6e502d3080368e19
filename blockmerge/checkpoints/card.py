"""The card of a result on the Hub (README.md): where it comes from, how it was made, how it is used.

Names of models, licences and recipes come from other people. In the block of YAML they are written by the YAML writer,
in the text as code with a fence longer than any in them: they can neither end the block nor become HTML.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from blockmerge.checkpoints.manifest import Manifest
from blockmerge.checkpoints.picture import draw_weights
from blockmerge.core.hub_reference import HubReference, parse_hub_reference
from blockmerge.core.methods import METHODS
from blockmerge.core.recipe import Recipe, parse_recipe
from blockmerge.core.yaml_reader import read_yaml
from blockmerge.core.yaml_writer import write_yaml
from blockmerge.errors import CheckpointError, HubRefusalError, RecipeError

CARD = "README.md"
RECIPE_FILE = "recipe.yaml"
PICTURE_FILE = "weights.png"
MERGEKIT_FILE = "mergekit_config.yml"  # the name that other tools look for

MOST_DRAWN = 6  # lines of weights; the card's text has all
_BARS = "▁▂▃▄▅▆▇█"
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Parent:
    """A model that a result was made from; one on the Hub has a `reference`, pinned to its commit.

    `licence` is what its card says; None where nothing is known.
    """

    key: str
    name: str
    reference: HubReference | None = None
    licence: str | None = None


def read_parents(manifest: Manifest) -> tuple[Parent, ...]:
    """The models that the canonical recipe names."""
    return tuple(_parent(key, text) for key, text in parse_recipe(manifest.recipe).references.items())


def _parent(key: str, identity: str) -> Parent:
    try:
        reference = parse_hub_reference(identity)
    except CheckpointError:  # a folder may have any name
        reference = None
    if reference is not None and reference.is_pinned:
        return Parent(key, reference.repository, reference)
    return Parent(key, identity.rpartition("@")[0])


def choose_licence(parents: Sequence[Parent], chosen: str | None) -> str:
    """The licence of the result: what all parents have, or what a person chose; it is never guessed.

    Raises HubRefusalError.
    """
    if chosen is not None:
        if not is_licence(chosen):
            raise HubRefusalError(f"--license {chosen!r}: an identifier of the Hub such as apache-2.0 was expected.")
        return chosen
    licence = agreed_licence(parents)
    if licence is None:
        raise HubRefusalError(
            f"The licence of the result is yours to choose, by those of its models ({held_licences(parents)}): "
            "add --license NAME."
        )
    return licence


def held_licences(parents: Sequence[Parent]) -> str:
    return "; ".join(f"{parent.name}: {_shown(parent.licence)}" for parent in parents)


def agreed_licence(parents: Sequence[Parent]) -> str | None:
    """What all parents have; None where they differ, or one is unknown or none that the Hub has a name for."""
    known = {parent.licence for parent in parents}
    licence = next(iter(known)) if len(known) == 1 else None
    return licence if licence is not None and is_licence(licence) else None


def is_licence(text: str) -> bool:
    """Whether it has the form of the Hub's identifiers."""
    return _LICENCE.fullmatch(text) is not None


def check_card(text: str) -> None:
    """Of a card that a person wrote: its block of YAML must be one, or the Hub shows nothing of it.

    Raises HubRefusalError.
    """
    _, begin, rest = text.partition("---\n")
    front, end, _ = rest.partition("\n---\n")
    try:
        value = read_yaml(front, "The card") if begin and end and text.startswith("---\n") else None
    except RecipeError as error:
        raise HubRefusalError(*error.problems) from error
    if not isinstance(value, dict):
        raise HubRefusalError(
            "The card does not begin with a block of YAML between two lines of ---, where its licence and its models "
            "stand. Put it back, or have the card written anew."
        )


def _shown(licence: str | None) -> str:
    return (
        "unknown"
        if licence is None
        else licence
        if licence.isprintable() and len(licence) < 80
        else ascii(licence)[:80]
    )


def write_card(
    repository: str, manifest: Manifest, parents: Sequence[Parent], licence: str, config: Mapping[str, object]
) -> str:
    """The text of README.md for a result with this manifest and config."""
    recipe = parse_recipe(manifest.recipe)
    sections = (
        f"---\n{write_yaml(_metadata(recipe, parents, licence, config))}---",
        f"# {repository.partition('/')[2]}",
        f"Merged with blockmerge {manifest.version}: {METHODS[recipe.method].title}.",
        "## Models",
        "\n".join(_models(parents)),
        "## Weights",
        *([f"![The weights by depth]({PICTURE_FILE})"] if weight_picture(manifest) else ()),
        _fenced("\n".join(_curves(manifest.recipe))),
        "## Use",
        _fenced(_snippet(repository, config), "python"),
        "## Recipe",
        f"Also in `{RECIPE_FILE}` and in the metadata of every weight file. The same recipe gives the same tensors: "
        f"their digest is `{manifest.result_digest}`."
        + (f" For mergekit, `{MERGEKIT_FILE}` says the same." if manifest.mergekit else ""),
        _fenced(manifest.recipe.rstrip(), "yaml"),
    )
    return "\n\n".join(sections) + "\n"


def _metadata(
    recipe: Recipe, parents: Sequence[Parent], licence: str, config: Mapping[str, object]
) -> Mapping[str, object]:
    on_hub = list(dict.fromkeys(parent.reference.repository for parent in parents if parent.reference))
    return {
        "license": licence,
        **({"base_model": on_hub, "base_model_relation": "merge"} if on_hub else {}),
        "library_name": "transformers",
        **({"pipeline_tag": "text-generation"} if _is_causal(config) else {}),
        "tags": ["merge", "blockmerge", recipe.method],
    }


def _is_causal(config: Mapping[str, object]) -> bool:
    architectures = config.get("architectures")
    return isinstance(architectures, list) and any(str(name).endswith("ForCausalLM") for name in architectures)


def _models(parents: Sequence[Parent]) -> Iterable[str]:
    yield "| key | model | commit | licence |"
    yield "| --- | --- | --- | --- |"
    for parent in parents:
        commit = parent.reference.revision if parent.reference else None
        cells = (parent.key, parent.name, commit or "a folder, not on the Hub", parent.licence or "unknown")
        yield f"| {' | '.join(map(_code, cells))} |"


def _code(text: str) -> str:
    """A text as code in a table's cell; a backtick or a bar would end it."""
    plain = "".join(sign if sign.isprintable() and sign not in "`|" else "?" for sign in text)
    return f"`{plain}`"


def weight_picture(manifest: Manifest) -> bytes | None:
    """A PNG of all lines of weights, None where there are only single numbers."""
    lines = [numbers for _, numbers in _all_lines(manifest.recipe) if len(numbers) > 1]
    return draw_weights(lines[:MOST_DRAWN]) if lines else None


def _all_lines(recipe: str) -> list[tuple[str, Sequence[float]]]:
    value = read_yaml(recipe, "The recipe")
    assert isinstance(value, dict)  # it has been parsed as a recipe
    return [*_lines(value["weights"], "")]


def _curves(recipe: str) -> Iterable[str]:
    """Every line of weights as a row of bars with its numbers, and every single weight."""
    lines = _all_lines(recipe)
    width = max((len(path) for path, _ in lines), default=0)
    for path, numbers in lines:
        shape = f"{_bars(numbers)}  " if len(numbers) > 1 else ""
        yield f"{path:{width}}  {shape}{' '.join(f'{number:g}' for number in numbers)}"


def _lines(value: object, path: str) -> Iterable[tuple[str, Sequence[float]]]:
    match value:
        case dict():
            for key, entry in value.items():
                yield from _lines(entry, f"{path}.{key}" if path else str(key))
        case [*entries]:
            yield path, [entry for entry in entries if isinstance(entry, int | float)]
        case int() | float():
            yield path, [value]


def _bars(numbers: Sequence[float]) -> str:
    low, high = min(0.0, *numbers), max(1.0, *numbers)
    return "".join(_BARS[round((number - low) / (high - low) * (len(_BARS) - 1))] for number in numbers)


def _snippet(repository: str, config: Mapping[str, object]) -> str:
    kind = "AutoModelForCausalLM" if _is_causal(config) else "AutoModel"
    return (
        f"from transformers import {kind}, AutoTokenizer\n\n"
        f'tokenizer = AutoTokenizer.from_pretrained("{repository}")\n'
        f'model = {kind}.from_pretrained("{repository}")'
    )


def _fenced(text: str, language: str = "") -> str:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
