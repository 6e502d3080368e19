"""The card says where a result comes from, whatever its models are called."""

import re
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from blockmerge.checkpoints.card import Parent, choose_licence, read_parents, write_card
from blockmerge.checkpoints.manifest import Manifest
from blockmerge.core.hub_reference import HubReference
from blockmerge.core.yaml_writer import write_yaml
from blockmerge.errors import HubRefusalError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
DIGEST = "ab" * 32
CONFIG = {"architectures": ["LlamaForCausalLM"]}


def manifest_of(a: str = f"org/a@{COMMIT}", b: str = f"b@{DIGEST}", **weights: Any) -> Manifest:
    recipe = {
        "base": None,
        "blockmerge": 1,
        "method": "linear",
        "models": {"a": a, "b": b},
        "weights": weights or {"layers": [0.0, 0.25, 0.5, 1.0], "embeddings": 0.0},
    }
    return Manifest("0.2.0", write_yaml(recipe), "2.13.0", "x86_64", {})


def card_of(manifest: Manifest, licence: str = "mit") -> str:
    return write_card("ann/merged", manifest, read_parents(manifest), licence, CONFIG)


def front_matter(card: str) -> dict[str, Any]:
    assert card.startswith("---\n")
    end = card.index("\n---\n", 4)
    value: dict[str, Any] = yaml.safe_load(card[4:end])
    return value


def fences(card: str) -> list[tuple[str, str]]:
    return [(match[2], match[3]) for match in re.finditer(r"^(`{3,})(\w*)\n(.*?)\n\1$", card, re.M | re.S)]


def test_the_card_names_models_commits_method_weights_use_and_recipe() -> None:
    manifest = manifest_of()

    card = card_of(manifest)

    assert front_matter(card) == {
        "license": "mit",
        "base_model": ["org/a"],
        "base_model_relation": "merge",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["merge", "blockmerge", "linear"],
    }
    assert f"| `a` | `org/a` | `{COMMIT}` | `unknown` |" in card
    assert "| `b` | `b` | `a folder, not on the Hub` | `unknown` |" in card
    assert fences(card) == [
        ("", "layers      ▁▃▅█  0 0.25 0.5 1\nembeddings  0"),
        (
            "python",
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            'tokenizer = AutoTokenizer.from_pretrained("ann/merged")\n'
            'model = AutoModelForCausalLM.from_pretrained("ann/merged")',
        ),
        ("yaml", manifest.recipe.rstrip()),
    ]


def test_a_result_of_folders_has_no_base_model() -> None:
    card = card_of(manifest_of(a=f"a@{DIGEST}"))

    assert "base_model" not in front_matter(card)


def test_parents_on_the_hub_are_told_from_folders() -> None:
    assert read_parents(manifest_of(b=f"x@y@{DIGEST}")) == (
        Parent("a", "org/a", HubReference("org/a", COMMIT)),
        Parent("b", "x@y"),
    )


HOSTILE = "x\n---\nevil: true\n```\n<img src=x onerror=alert(1)>|`"


@given(name=st.one_of(st.just(HOSTILE), st.text(st.characters(codec="utf-8"), min_size=1, max_size=80)))
def test_no_name_of_a_folder_leaves_its_place(name: str) -> None:
    manifest = manifest_of(b=f"{name}@{DIGEST}")

    card = card_of(manifest)

    plain = card_of(manifest_of())
    assert front_matter(card) == front_matter(plain)
    assert len(fences(card)) == 3
    assert fences(card)[2] == ("yaml", manifest.recipe.rstrip())
    outside = re.sub(r"^(`{3,})(\w*)\n(.*?)\n\1$", "", card[card.index("\n---\n") :], flags=re.M | re.S)
    assert "<" not in re.sub(r"`[^`\n]*`", "", outside)


@pytest.mark.parametrize("licence", ["mit", "no: 1", "x\n---\nevil: true"])
def test_a_licence_stays_one_value(licence: str) -> None:
    card = write_card(
        "ann/merged", manifest_of(), [replace(read_parents(manifest_of())[0], licence=licence)], "mit", {}
    )

    assert front_matter(card).keys() == {"license", "base_model", "base_model_relation", "library_name", "tags"}


def parents(*licences: str | None) -> list[Parent]:
    return [Parent(key, f"org/{key}", None, licence) for key, licence in zip("abc", licences, strict=False)]


def test_the_licence_that_all_models_have_is_that_of_the_result() -> None:
    assert choose_licence(parents("mit", "mit"), None) == "mit"
    assert choose_licence(parents("mit", "apache-2.0"), "apache-2.0") == "apache-2.0"


@pytest.mark.parametrize(
    ("licences", "held"),
    [
        (("mit", "apache-2.0"), "org/a: mit; org/b: apache-2.0"),
        (("mit", None), "org/a: mit; org/b: unknown"),
        ((None, None), "org/a: unknown; org/b: unknown"),
        (("a\nb", "a\nb"), "org/a: 'a\\nb'; org/b: 'a\\nb'"),
    ],
)
def test_a_licence_is_never_guessed(licences: tuple[str | None, ...], held: str) -> None:
    with pytest.raises(HubRefusalError) as caught:
        choose_licence(parents(*licences), None)

    assert str(caught.value) == (
        f"The licence of the result is yours to choose, by those of its models ({held}): add --license NAME."
    )


def test_a_licence_is_an_identifier() -> None:
    with pytest.raises(HubRefusalError) as caught:
        choose_licence(parents("mit"), "MIT License")

    assert str(caught.value) == ("--license 'MIT License': an identifier of the Hub such as apache-2.0 was expected.")
