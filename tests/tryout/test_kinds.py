"""What a model can be asked, and whether it fits, from its headers alone."""

import json
from pathlib import Path

import pytest

from blockmerge.checkpoints.folder import open_checkpoint
from blockmerge.core.tensors import Checkpoint
from blockmerge.errors import TryError
from blockmerge.tryout.kinds import Kind, kind_of
from blockmerge.tryout.memory import PROCESS, choose_fit, free_memory
from tests.tiny_models import write_llama


def with_architecture(folder: Path, architecture: object) -> Checkpoint:
    write_llama(folder, layers=1)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": architecture}))
    return open_checkpoint(folder)


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [
        ("LlamaForCausalLM", Kind.WRITER),
        ("GPT2LMHeadModel", Kind.WRITER),
        ("T5ForConditionalGeneration", Kind.WRITER),
        ("BertForMaskedLM", Kind.FILLER),
        ("BertModel", Kind.READER),
    ],
)
def test_the_architecture_says_what_can_be_asked(tmp_path: Path, architecture: str, kind: Kind) -> None:
    assert kind_of(with_architecture(tmp_path / "m", [architecture])) is kind


@pytest.mark.parametrize(
    ("architectures", "named"),
    [
        (["BertForSequenceClassification"], "BertForSequenceClassification"),
        ([], "model without a stated architecture"),
        ("LlamaForCausalLM", "model without a stated architecture"),
        (["__import__('os').ForCausalLM"], "model without a stated architecture"),
    ],
)
def test_any_other_has_nothing_to_say(tmp_path: Path, architectures: object, named: str) -> None:
    with pytest.raises(TryError) as told:
        kind_of(with_architecture(tmp_path / "m", architectures))

    assert str(told.value) == (
        f"m is a {named}, which has nothing to say in words. It can be merged, but not tried here."
    )


@pytest.fixture
def model(tmp_path: Path) -> Checkpoint:
    return open_checkpoint(write_llama(tmp_path / "m", layers=1))


def test_float32_where_memory_allows_it_else_bfloat16(model: Checkpoint) -> None:
    half, whole = (PROCESS + round(model.elements * size * 1.1) for size in (2, 4))

    assert choose_fit(model, "cpu", whole).dtype == "float32"
    assert choose_fit(model, "cpu", whole - 1).dtype == "bfloat16"
    assert choose_fit(model, "cpu", half).nbytes == half
    assert choose_fit(model, "cuda", 10**12).dtype == "bfloat16"
    with pytest.raises(TryError, match=r"^Trying m needs about 500 MB of memory, and 500 MB is free\. Close other pro"):
        choose_fit(model, "cpu", half - 1)


def test_memory_is_what_the_machine_and_the_container_leave() -> None:
    assert -(10**9) < free_memory() < 10**15
