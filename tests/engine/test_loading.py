import json
from pathlib import Path

import pytest

from blockmerge.engine.loading import check_loading
from blockmerge.errors import MergeCancelledError, VerifyError
from tests.tiny_models import draw, write_checkpoint, write_llama, write_neox


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def without(folder: Path, name: str, *, more: str = "") -> Path:
    """The model without one of its tensors, and with one that it does not know."""
    config = json.loads((write_llama(folder, layers=2) / "config.json").read_text())
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (64, 32), "model.norm.weight": (32,)}
    shapes |= {"lm_head.weight": (64, 32)}
    for layer in range(2):
        stem = f"model.layers.{layer}."
        shapes |= {f"{stem}{part}.weight": (32,) for part in ("input_layernorm", "post_attention_layernorm")}
        shapes |= {f"{stem}self_attn.{part}_proj.weight": (32, 32) for part in "qo"}
        shapes |= {f"{stem}self_attn.{part}_proj.weight": (16, 32) for part in "kv"}
        shapes |= {f"{stem}mlp.{part}_proj.weight": (64, 32) for part in ("gate", "up")}
        shapes |= {f"{stem}mlp.down_proj.weight": (32, 64)}
    del shapes[name]
    return write_checkpoint(folder, draw(shapes | ({more: (3,)} if more else {}), 0), config)


def test_every_trouble_is_told_unless_a_parent_has_it_too(tmp_path: Path) -> None:
    lost, extra = "model.layers.1.self_attn.q_proj.weight", "model.layers.0.mlp.strange"
    folder = without(tmp_path / "out", lost, more=extra)

    with pytest.raises(VerifyError) as caught:
        check_loading(folder, [write_llama(tmp_path / "a", layers=2)])

    assert caught.value.problems == (
        f"transformers finds '{lost}' missing, which the model needs and would fill with random numbers. "
        "Report this merge, with its recipe.",
        f"transformers finds '{extra}' unexpected, which the model does not know and would ignore. "
        "Report this merge, with its recipe.",
    )
    assert check_loading(folder, [folder]) == ()


def test_a_kind_of_model_that_transformers_does_not_know_is_a_warning(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "a", layers=2)
    edit_config(folder, model_type="not-a-model")

    [warning] = check_loading(folder)

    assert warning.startswith("Whether transformers can load the result was not checked: ")
    assert "not-a-model" in warning


def test_old_buffers_are_no_trouble(tmp_path: Path) -> None:
    assert check_loading(write_neox(tmp_path / "a")) == ()


def test_a_check_that_is_stopped_ends(tmp_path: Path) -> None:
    def stop() -> None:
        raise MergeCancelledError("The merge was cancelled.")

    with pytest.raises(MergeCancelledError):
        check_loading(write_llama(tmp_path / "a"), keep_asking=stop)
