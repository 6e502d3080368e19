"""A finished merge is a folder that every tool reads, and equal inputs make equal folders."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from blockmerge.checkpoints.manifest import MANIFEST, read_manifest
from blockmerge.checkpoints.shards import INDEX
from blockmerge.core.progress import Progress, Stage
from tests.engine.merges import contents, merge, plan_for, recipe_text
from tests.engine.oracle import read_raw
from tests.tiny_models import write_gpt2, write_json, write_llama, write_neox, write_tokenizer

WEIGHTS = {"layers": [0.0, 0.25, 0.6, 1.0], "attention": 0.3, "head": 0.5}
LARGER = {"layers": 4, "hidden": 128, "vocab": 2999, "dtype": "float32"}


def pair(folder: Path, **sizes: object) -> tuple[Path, Path]:
    return write_llama(folder / "a", **sizes), write_llama(folder / "b", seed=1, **sizes)  # type: ignore[arg-type]


def test_a_small_result_is_one_file_without_an_index(tmp_path: Path) -> None:
    result = merge(plan_for(*pair(tmp_path), WEIGHTS), tmp_path / "out")

    assert contents(tmp_path / "out").keys() == {"blockmerge.json", "config.json", "model.safetensors"}
    assert result.path == tmp_path / "out"
    assert result.nbytes == sum(len(raw) for _, _, raw in read_raw(tmp_path / "out").values())
    assert set(result.seconds) == {"check", "merge", "sync", "verify", "save"}


def test_shards_have_the_size_that_was_asked_for_and_an_index_that_is_right(tmp_path: Path) -> None:
    plan = plan_for(*pair(tmp_path, **LARGER), WEIGHTS, shard_size="1MB")

    merge(plan, tmp_path / "out")

    names = sorted(path.name for path in (tmp_path / "out").glob("*.safetensors"))
    assert names == [f"model-{number:05}-of-{len(names):05}.safetensors" for number in range(1, len(names) + 1)]
    assert len(names) >= 4
    weight_map: dict[str, str] = {}
    total = 0
    for name in names:
        with safe_open(tmp_path / "out" / name, "pt") as file:
            held = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no mapping
            assert file.metadata() == {"format": "pt", "blockmerge_recipe": plan.canonical}
        size = sum(tensor.nbytes for tensor in held.values())
        assert size <= 10**6 or len(held) == 1
        weight_map |= dict.fromkeys(held, name)
        total += size
    index = json.loads((tmp_path / "out" / INDEX).read_text())
    assert index == {"metadata": {"total_size": total}, "weight_map": weight_map}
    assert weight_map.keys() == read_raw(tmp_path / "a").keys()


def test_the_result_digest_does_not_depend_on_the_shards(tmp_path: Path) -> None:
    models = pair(tmp_path, **LARGER)

    results = [
        merge(plan_for(*models, WEIGHTS, shard_size=size), tmp_path / f"out{number}")
        for number, size in enumerate(["1MB", "2.5MB", "5GB"])
    ]

    assert len({result.digest for result in results}) == 1
    assert read_manifest(tmp_path / "out0").result_digest == results[0].digest


def test_side_files_come_along_byte_for_byte_and_code_does_not(tmp_path: Path) -> None:
    a, b = pair(tmp_path)
    write_tokenizer(a)
    write_tokenizer(b)
    (b / "tokenizer_config.json").write_bytes(b'{"b": "\xc3\xa9"}\r\n')
    write_json(a / "generation_config.json", {"temperature": 0.5})
    (a / "notes").mkdir()
    (a / "notes" / "any.bytes").write_bytes(bytes(range(256)))
    for name in ("modeling_own.py", "pytorch_model.bin", "README.md", ".gitattributes"):
        (a / name).write_bytes(b"x")

    merge(plan_for(a, b, WEIGHTS, tokenizer="b"), tmp_path / "out")

    out = contents(tmp_path / "out")
    own = {name: (a / name).read_bytes() for name in ("config.json", "generation_config.json", "notes/any.bytes")}
    theirs = {name: (b / name).read_bytes() for name in ("tokenizer.json", "tokenizer_config.json")}
    assert {name: raw for name, raw in out.items() if name not in (MANIFEST, "model.safetensors")} == own | theirs


def test_the_config_is_edited_only_where_the_plan_says_so(tmp_path: Path) -> None:
    a, b = pair(tmp_path)
    config = json.loads((a / "config.json").read_text())
    write_json(a / "config.json", {**config, "auto_map": {"AutoConfig": "own.Config"}, "kept": [1e-05, "ü"]})

    merge(plan_for(a, b, WEIGHTS, dtype="float32"), tmp_path / "out")

    edited = json.loads((tmp_path / "out" / "config.json").read_text())
    assert edited == {**config, "dtype": "float32", "kept": [1e-05, "ü"]}


@pytest.mark.parametrize(
    ("write", "weights"),
    [
        (write_llama, WEIGHTS),
        (write_gpt2, 0.5),
        (write_neox, {"layers": [0.2, 1.0], "head": 0.0}),
    ],
)
def test_transformers_loads_the_result_with_nothing_missing(tmp_path: Path, write, weights: object) -> None:  # type: ignore[no-untyped-def]
    a, b = write(tmp_path / "a"), write(tmp_path / "b", seed=1)
    merge(plan_for(a, b, weights), tmp_path / "out")

    model, loading = AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", local_files_only=True, trust_remote_code=False, output_loading_info=True
    )

    buffers = ("attention.bias", "masked_bias", "inv_freq")  # old NeoX files carry them, today's class computes them
    assert not any(loading[kind] for kind in ("missing_keys", "mismatched_keys", "error_msgs"))
    assert [key for key in loading["unexpected_keys"] if not key.endswith(buffers)] == []
    with torch.no_grad():
        assert model(torch.tensor([[1, 2, 3]])).logits.isfinite().all()


def test_progress_counts_bytes_up_to_the_total_in_every_stage(large_models: tuple[Path, Path], tmp_path: Path) -> None:
    seen: list[Progress] = []
    plan = plan_for(*large_models, 0.5)

    merge(plan, tmp_path / "out", report=seen.append)

    assert {progress.stage for progress in seen} == {Stage.CHECK, Stage.MERGE, Stage.VERIFY, Stage.SAVE}
    assert [progress.stage for progress in seen] == sorted((p.stage for p in seen), key=list(Stage).index)
    for stage in (Stage.MERGE, Stage.VERIFY):
        done = [progress.done for progress in seen if progress.stage is stage]
        assert all(before <= after for before, after in pairwise(done))
        assert done[-1] == plan.nbytes
    merging = [progress for progress in seen if progress.stage is Stage.MERGE]
    assert {progress.total for progress in seen} == {plan.nbytes}
    assert any(0 < progress.done < plan.nbytes for progress in merging)
    assert {progress.detail for progress in merging} & {f"layer {layer} of 4" for layer in range(4)}


def test_one_thread_and_four_make_the_same_files(tmp_path: Path) -> None:
    plan = plan_for(*pair(tmp_path, **LARGER), WEIGHTS, shard_size="1MB")

    for threads in (1, 4):
        merge(plan, tmp_path / f"out{threads}", threads=threads)

    assert contents(tmp_path / "out1") == contents(tmp_path / "out4")


def test_another_chunk_size_makes_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks may be joined or not: where a chunk ends must not show in the last bit of any number."""
    plan = plan_for(*pair(tmp_path, **LARGER), WEIGHTS)
    merge(plan, tmp_path / "out")

    monkeypatch.setattr("blockmerge.engine.chunks.CHUNK", 1)
    merge(plan, tmp_path / "apart")

    assert contents(tmp_path / "apart") == contents(tmp_path / "out")


def test_two_processes_with_other_hash_seeds_make_the_same_files(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(recipe_text(*pair(tmp_path, **LARGER), WEIGHTS, shard_size="1MB", dtype="bfloat16"))

    running = [
        subprocess.Popen(
            [sys.executable, "-m", "blockmerge", "merge", str(recipe), "--out", str(tmp_path / seed), "--json"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.DEVNULL,
        )
        for seed in ("0", "4711")
    ]

    assert [process.wait(60) for process in running] == [0, 0]
    assert contents(tmp_path / "0") == contents(tmp_path / "4711")


def test_the_canonical_recipe_names_no_place_of_this_machine(tmp_path: Path) -> None:
    merge(plan_for(*pair(tmp_path), WEIGHTS), tmp_path / "out")

    assert not any(str(tmp_path).encode() in raw for raw in contents(tmp_path / "out").values())
