import json
import os
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from blockmerge.checkpoints.bins import read_bin_headers
from blockmerge.checkpoints.folder import open_checkpoint
from blockmerge.core.tensors import Checkpoint, DType
from blockmerge.engine import pickled
from blockmerge.engine.estimate import check_memory, estimate, loaded_whole
from blockmerge.errors import CheckpointError, StorageError
from tests.merging import merge, plan_merge
from tests.tiny_models import write_llama

CONFIG = {"model_type": "llama", "num_hidden_layers": 4, "vocab_size": 64, "tie_word_embeddings": False}


def write_bins(folder: Path, *parts: Mapping[str, Any], config: Mapping[str, Any] = CONFIG, old: bool = False) -> Path:
    """pytorch_model.bin, or with several parts shards and an index; `old` is the format from before torch 1.6."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    names = [f"pytorch_model-{number:05}-of-{len(parts):05}.bin" for number in range(1, len(parts) + 1)]
    if len(parts) == 1:
        names = ["pytorch_model.bin"]
    else:
        weight_map = {key: file for file, part in zip(names, parts, strict=True) for key in part}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    for name, part in zip(names, parts, strict=True):
        torch.save(OrderedDict(part), folder / name, _use_new_zipfile_serialization=not old)
    return folder


@pytest.fixture
def tensors(tmp_path: Path) -> dict[str, Tensor]:
    return dict(load_file(write_llama(tmp_path / "source") / "model.safetensors"))


def halves(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    names = list(tensors)
    middle = len(names) // 2
    return {n: tensors[n] for n in names[:middle]}, {n: tensors[n] for n in names[middle:]}


def bytes_at(checkpoint: Checkpoint, name: str) -> bytes:
    spec = checkpoint.tensors[name]
    raw = (checkpoint.folder / spec.file).read_bytes()
    return raw[spec.offset : spec.offset + spec.nbytes]


def raw(tensor: Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


def problem_of(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder)
    [problem] = caught.value.problems
    return problem


def test_each_tensor_lies_where_its_offset_says_and_tied_ones_in_one_place(
    tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    one, two = halves(tensors)
    whole = torch.arange(12.0).reshape(4, 3)
    more = {"whole": whole, "tied": whole, "view": whole[1:3], "empty": torch.empty(0, 7), "single": torch.tensor(3.0)}

    checkpoint = open_checkpoint(write_bins(tmp_path / "bin", one, two | more))

    specs = checkpoint.tensors
    assert specs.keys() == tensors.keys() | more.keys()
    for name, tensor in (tensors | more).items():
        assert specs[name].shape == tuple(tensor.shape)
        assert bytes_at(checkpoint, name) == raw(tensor.reshape(-1))
    assert {specs[name].dtype for name in tensors} == {DType.BFLOAT16}
    assert specs["whole"].offset == specs["tied"].offset == specs["view"].offset - 12


def test_a_head_in_the_same_bytes_as_the_embeddings_is_tied_whatever_the_config_says(
    tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    config = {key: value for key, value in CONFIG.items() if key != "tie_word_embeddings"}
    folder = write_bins(
        tmp_path / "a", {**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"]}, config=config
    )
    (tmp_path / "b").symlink_to(folder)

    assert plan_merge(tmp_path, {"layers": 0.5}).layout.rows == ("embeddings", "final_norm")


def test_a_merge_of_a_sharded_and_an_old_file_equals_that_of_their_safetensors_copies(
    tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    other = {name: tensor + 1 for name, tensor in tensors.items()}
    for key, held in (("a", tensors), ("b", other)):
        folder = tmp_path / "safe" / key
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(CONFIG))
        save_file(held, folder / "model.safetensors", {"format": "pt"})
    write_bins(tmp_path / "bin" / "a", *halves(tensors))
    write_bins(tmp_path / "bin" / "b", other, old=True)
    weights = {"layers": [0, 0.3, 0.7, 1], "embeddings": 0.2, "final_norm": 0.5, "head": 1}

    _, expected = merge(tmp_path / "safe", weights)
    _, result = merge(tmp_path / "bin", weights)

    assert result.digest == expected.digest
    assert sorted(path.name for path in (tmp_path / "bin" / "out").iterdir()) == [
        "blockmerge.json",
        "config.json",
        "model.safetensors",
    ]


def test_a_tensor_that_lies_there_crosswise_makes_its_file_be_unpacked(
    tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    name = "model.layers.0.self_attn.k_proj.weight"
    folder = write_bins(tmp_path / "a", {**tensors, name: tensors[name].t().contiguous().t()})
    (tmp_path / "b").symlink_to(folder)

    merge(tmp_path, {"layers": 0})

    assert open_checkpoint(folder).shards[0].whole
    assert torch.equal(load_file(tmp_path / "out" / "model.safetensors")[name], tensors[name])


def test_an_old_file_that_does_not_fit_into_memory_is_refused_before_it_is_loaded(
    tmp_path: Path, tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_bins(tmp_path / "a", tensors, old=True)
    (tmp_path / "b").symlink_to(folder)
    plan = plan_merge(tmp_path, {"layers": 0.5})
    size = (tmp_path / "a" / "pytorch_model.bin").stat().st_size
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"total": 1000, "available": 1000}))

    with pytest.raises(StorageError) as caught:
        check_memory(loaded_whole(plan))

    assert str(caught.value) == (
        "pytorch_model.bin is in PyTorch's format from before 2020, which has to be loaded whole: "
        f"{size / 1000:.1f} kB, and 1.0 kB of memory is free. Close other programs, or load the model in transformers "
        "and save it with save_pretrained."
    )
    assert estimate(plan, tmp_path).scratch == 2 * size


class Evil:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


def test_9_a_file_that_wants_to_run_code_or_is_no_table_of_tensors_is_refused_by_name(tmp_path: Path) -> None:
    """All in one folder, so that one child reads them all."""
    evil = {"a": Evil(tmp_path / "canary")}
    files: dict[str, Any] = {
        "state": {"state_dict": {"a": torch.ones(1)}},
        "none": {},
        "sparse": {"a": torch.ones(2, 2).to_sparse()},
        "name": {"a\n": torch.ones(1)},
        "list": [torch.ones(1)],
        "evil": evil,
    }
    for name, entries in files.items():
        torch.save(entries, tmp_path / f"{name}.bin")
    torch.save(evil, tmp_path / "evil_old.bin", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "state.bin").read_bytes()
    for name, part in (("one", whole[:1]), ("cut", whole[:100]), ("end", whole[:-30]), ("text", b"hello" * 100)):
        (tmp_path / f"{name}.bin").write_bytes(part)

    with pytest.raises(CheckpointError) as caught:
        read_bin_headers(tmp_path, [f"{name}.bin" for name in (*files, "evil_old", "one", "cut", "end", "text")])

    assert caught.value.problems[:7] == (
        "state.bin holds 'state_dict', which is not a tensor: it looks like a training state. "
        "Use the model's weight files.",
        "none.bin holds no tensors. Is this the right file?",
        "sparse.bin holds tensors of the kind 'sparse_coo', which are not read. Use the original weights.",
        "name.bin holds a tensor named 'a\\n'. A name has 1 to 512 printable characters and no '../'.",
        "list.bin holds 'list', not a table of tensors by name. Use the model's weight files.",
        *(
            f"{name}.bin wants to run code when it is loaded ('posix.system'), so it is not read. "
            "Use a safetensors copy, or a file from a source that you trust."
            for name in ("evil", "evil_old")
        ),
    )
    for name, problem in zip(("one", "cut", "end", "text"), caught.value.problems[7:], strict=True):
        assert problem.startswith(f"{name}.bin cannot be read as a PyTorch file: ")
        assert problem.endswith(". Download it again.")
        assert "\n" not in problem
    assert not (tmp_path / "canary").exists()


def test_an_empty_file_and_a_pointer_are_named(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    folder = write_bins(tmp_path / "bin", tensors)
    path = folder / "pytorch_model.bin"

    path.write_bytes(b"")
    assert problem_of(folder) == "pytorch_model.bin is empty. Download it again."
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert problem_of(folder) == (
        "pytorch_model.bin is a Git LFS pointer, not the file itself. Run 'git lfs pull' in its folder."
    )


def test_a_missing_shard_and_a_shard_without_index_are_named(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    folder = write_bins(tmp_path / "bin", *halves(tensors))
    second = folder / "pytorch_model-00002-of-00002.bin"
    second.rename(tmp_path / "elsewhere")
    assert problem_of(folder) == "pytorch_model-00002-of-00002.bin is missing. Download it again."

    (folder / "pytorch_model.bin.index.json").unlink()
    assert problem_of(folder) == (
        "bin has pytorch_model-00001-of-00002.bin, a part of a model, but no pytorch_model.bin.index.json, which says "
        "what belongs together. Download the rest too."
    )


def test_a_file_is_read_again_only_when_it_changed(
    tmp_path: Path, tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_bins(tmp_path / "bin", tensors)
    first = open_checkpoint(folder)
    monkeypatch.setattr("sys.executable", "/no/such/python")

    assert open_checkpoint(folder) == first
    os.utime(folder / "pytorch_model.bin", ns=(1, 1))
    with pytest.raises(FileNotFoundError):
        open_checkpoint(folder)


def test_a_safetensors_file_beside_it_wins(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    folder = write_bins(tmp_path / "bin", {"a": Evil(tmp_path / "canary")})
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})

    checkpoint = open_checkpoint(folder)

    assert [shard.name for shard in checkpoint.shards] == ["model.safetensors"]
    assert dict(checkpoint.skipped) == {"pytorch_model.bin": "these weights are not part of the model that is read"}


def test_the_private_attribute_that_tells_offsets_is_still_there() -> None:
    assert hasattr(torch.empty(1).untyped_storage(), "_checkpoint_offset")
    assert pickled.CODES.keys() >= {torch.float32, torch.bfloat16, torch.float16}
