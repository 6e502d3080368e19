import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from blockmerge.engine.loading import Transformers, check_loading
from blockmerge.errors import MergeCancelledError, VerifyError
from tests.tiny_models import draw, write_checkpoint, write_llama, write_neox


@pytest.fixture(scope="module")
def transformers() -> Iterator[Transformers]:
    with Transformers() as started:
        yield started


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


def test_every_trouble_is_told_unless_a_parent_has_it_too(tmp_path: Path, transformers: Transformers) -> None:
    lost, extra = "model.layers.1.self_attn.q_proj.weight", "model.layers.0.mlp.strange"
    folder = without(tmp_path / "out", lost, more=extra)

    with pytest.raises(VerifyError) as caught:
        check_loading(folder, transformers, [write_llama(tmp_path / "a", layers=2)])

    assert caught.value.problems == (
        f"transformers finds '{lost}' missing, which the model needs and would fill with random numbers. "
        "Report this merge, with its recipe.",
        f"transformers finds '{extra}' unexpected, which the model does not know and would ignore. "
        "Report this merge, with its recipe.",
    )
    assert check_loading(folder, transformers, [folder]) == ()


def test_a_kind_of_model_that_transformers_does_not_know_is_a_warning(
    tmp_path: Path, transformers: Transformers
) -> None:
    folder = write_llama(tmp_path / "a", layers=2)
    edit_config(folder, model_type="not-a-model")

    [warning] = check_loading(folder, transformers)

    assert warning.startswith("Whether transformers can load the result was not checked: ")
    assert "not-a-model" in warning


def test_old_buffers_are_no_trouble(tmp_path: Path, transformers: Transformers) -> None:
    assert check_loading(write_neox(tmp_path / "a"), transformers) == ()


def test_a_check_that_is_stopped_ends(tmp_path: Path) -> None:
    def stop() -> None:
        raise MergeCancelledError("The merge was cancelled.")

    with Transformers() as started, pytest.raises(MergeCancelledError):
        check_loading(write_llama(tmp_path / "a"), started, keep_asking=stop)


def test_a_child_that_was_killed_is_a_warning_and_the_next_question_goes_to_a_new_one(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "a")
    others = psutil.Process().children()
    with Transformers() as started:
        started.start()
        [child] = set(psutil.Process().children()) - set(others)
        child.kill()

        expected = ("Whether transformers can load the result was not checked: it was killed.",)
        assert check_loading(folder, started) == expected
        assert check_loading(folder, started) == ()


def test_each_of_two_who_ask_a_child_that_dies_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "transformers.py").write_text("raise ImportError('it is broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Transformers() as started, ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(started.ask, tmp_path) for _ in range(2)]

        assert [one.result(30).unknown for one in asked] == ["ImportError: it is broken"] * 2
