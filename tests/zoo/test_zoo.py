"""Every architecture of the zoo from two tiny models to a merged one that transformers loads and runs."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from tests.core.zoo import read_zoo
from tests.merging import blocks_of, different_weights, merge, weight_at
from tests.tiny_models import write_neox
from tests.zoo.species import ALL, FAMILIES, HELD_OUT, ZOO, families_table, inputs_of, save_model

ROOT = Path(__file__).parents[2]
# A float32 average of two float32 numbers: a subtraction, a product and a sum, each rounded to 24 bits.
TOLERANCE = 3 * 2.0**-24


@pytest.fixture(autouse=True)
def _quiet_and_single() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", {**ALL, **HELD_OUT})
def test_a_merge_of_every_architecture_is_exact_and_loads(name: str, tmp_path: Path) -> None:
    for seed, key in enumerate("ab"):
        save_model(name, tmp_path / key, seed)
    weights = different_weights(blocks_of(tmp_path))

    plan, _ = merge(tmp_path, weights)

    a, b, out = (load_file(tmp_path / key / "model.safetensors") for key in ("a", "b", "out"))
    assert list(out) == list(a)
    for tensor, found in out.items():
        weight = weight_at(weights, plan.layout.places[tensor], is_single=len(plan.layout.stacks) == 1)
        one, two = a[tensor].double(), b[tensor].double()
        error = (found.double() - (one + weight * (two - one))).abs()
        assert found.dtype is a[tensor].dtype
        assert bool((error <= TOLERANCE * torch.maximum(one.abs(), two.abs())).all()), tensor
        assert not torch.equal(found, a[tensor]), tensor

    model, info = getattr(transformers, {**ALL, **HELD_OUT}[name].model).from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"))
    with torch.no_grad():
        answer = model.eval()(**inputs_of(name))
    assert bool(torch.isfinite(next(value for value in answer.values() if isinstance(value, torch.Tensor))).all())


def test_the_zoo_is_whole_and_each_architecture_is_of_one_family() -> None:
    named = [name for names in FAMILIES.values() for name in names]

    assert sorted(named) == sorted(ALL)
    assert ZOO.keys() == read_zoo().keys()


def test_the_docs_hold_the_families() -> None:
    assert families_table() in (ROOT / "README.md").read_text(encoding="utf-8")


SPELLINGS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "bert": (("bert.", ""), ("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")),
    "opt": (("model.decoder.", "decoder."),),
    "gpt2": (("transformer.", ""),),
    "gpt_neox": (("gpt_neox.", "module.gpt_neox."),),
    "llava": (("vision_tower.", "vision_tower.vision_model."),),
    "t5": (("encoder.", "model.encoder."), ("decoder.", "model.decoder.")),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_another_spelling_of_the_same_model_gives_the_same_result(name: str, tmp_path: Path) -> None:
    for place in ("plain", "spelled"):
        for seed, key in enumerate("ab"):
            save_model(name, tmp_path / place / key, seed)
    path = tmp_path / "spelled" / "b" / "model.safetensors"
    save_file(
        {_respelled(key, SPELLINGS[name]): tensor for key, tensor in load_file(path).items()}, path, {"format": "pt"}
    )
    weights = different_weights(blocks_of(tmp_path / "plain"))

    _, plain = merge(tmp_path / "plain", weights)
    plan, spelled = merge(tmp_path / "spelled", weights)

    assert spelled.digest == plain.digest
    assert all(item.name.endswith(".json") for item in plan.left_out)


def _respelled(name: str, changes: tuple[tuple[str, str], ...]) -> str:
    for old, new in changes:
        if name.startswith(old):
            name = new + name.removeprefix(old)
        elif name.endswith(old):
            name = name.removesuffix(old) + new
    return name


def test_an_encoder_alone_goes_into_a_model_with_a_head(tmp_path: Path) -> None:
    save_model("bert", tmp_path / "a", 0)
    save_model("bert_encoder_only", tmp_path / "b", 1)

    plan, _ = merge(tmp_path, {"layers": 0.5})

    _, info = transformers.BertForMaskedLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"]
    assert "The names of B are read with 'bert.' before them." in plan.notes
    assert {item.name for item in plan.left_out} >= {"pooler.dense.weight", "pooler.dense.bias"}


def test_a_pythia_of_36_layers_with_the_buffers_of_old_files_is_merged(tmp_path: Path) -> None:
    for seed, key in enumerate("ab"):
        write_neox(tmp_path / key, layers=36, seed=seed)
    weights = different_weights(blocks_of(tmp_path))

    merge(tmp_path, weights)

    a, b, out = (load_file(tmp_path / key / "model.safetensors") for key in ("a", "b", "out"))
    dense = "gpt_neox.layers.35.mlp.dense_h_to_4h.weight"
    expected = torch.lerp(a[dense].float(), b[dense].float(), weights["mlp"][35]).half()
    assert torch.equal(out[dense], expected)
    masks = [name for name in a if name.endswith(("masked_bias", "attention.bias", "inv_freq"))]
    assert len(masks) == 3 * 36
    assert all(torch.equal(out[name], a[name]) for name in masks)
    _, info = transformers.GPTNeoXForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
