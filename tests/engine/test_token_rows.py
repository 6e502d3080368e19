"""Merges of models whose vocabularies differ, against the same merge done row by row in float64."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from blockmerge.checkpoints.models import open_models
from blockmerge.core.plan import make_plan
from blockmerge.core.recipe import parse_recipe
from blockmerge.engine.chunks import chunks_of_step, sample_of
from blockmerge.engine.merge import carry_out
from blockmerge.engine.target import Target
from tests.merging import merge, plan_merge
from tests.tiny_models import draw, write_checkpoint, write_json, write_llama

A_TOKENS = [f"t{number}" for number in range(60)]
# The same words in another order, some of them others, and more rows than words.
B_TOKENS = [*A_TOKENS[30:], *(f"new{number}" for number in range(7)), *A_TOKENS[:25]]
EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"
Arrays = Mapping[str, NDArray[Any]]


def write_words(folder: Path, tokens: list[str]) -> None:
    vocabulary = {token: row for row, token in enumerate(tokens)}
    write_json(folder / "tokenizer.json", {"model": {"type": "WordLevel", "vocab": vocabulary}, "added_tokens": []})


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    for key, rows, tokens, seed in (("a", 64, A_TOKENS, 0), ("b", 70, B_TOKENS, 1)):
        write_words(write_llama(tmp_path / key, layers=2, vocab=rows, dtype="float32", seed=seed), tokens)
    return tmp_path


def weights(folder: Path, key: str) -> Arrays:
    return load_file(folder / key / "model.safetensors")


def by_token(a: NDArray[Any], b: NDArray[Any], weight: float, giver: str) -> NDArray[np.float64]:
    """The reference: every row of the giver, blended where the other knows its token."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    own, other = (a, b) if giver == "a" else (b, a)
    names, theirs = (A_TOKENS, B_TOKENS) if giver == "a" else (B_TOKENS, A_TOKENS)
    share = weight if giver == "a" else 1 - weight
    result = own.copy()
    for row, token in enumerate(names):
        if token in theirs:
            result[row] = (1 - share) * own[row] + share * other[theirs.index(token)]
    return result


@pytest.mark.parametrize("giver", ["a", "b"])
@pytest.mark.parametrize("weight", [0, 0.3, 1])
def test_rows_are_merged_by_token_and_the_givers_elsewhere(pair: Path, giver: str, weight: float) -> None:
    a, b = weights(pair, "a"), weights(pair, "b")

    merge(pair, {"layers": weight, "embeddings": weight, "head": 0.6}, output={"tokenizer": giver})

    out = weights(pair, "out")
    expected = by_token(a[EMBEDDINGS], b[EMBEDDINGS], weight, giver)
    assert out[EMBEDDINGS].shape == expected.shape
    if weight in (0, 1):
        assert np.array_equal(out[EMBEDDINGS], expected.astype(np.float32))
    assert np.abs(out[EMBEDDINGS] - expected).max() <= 2.0**-23
    assert np.abs(out[HEAD] - by_token(a[HEAD], b[HEAD], 0.6, giver)).max() <= 2.0**-23
    assert json.loads((pair / "out" / "config.json").read_text())["vocab_size"] == len(expected)
    assert (pair / "out" / "tokenizer.json").read_bytes() == (pair / giver / "tokenizer.json").read_bytes()


def test_weight_0_is_a_to_the_bit_whatever_the_other_vocabulary(pair: Path) -> None:
    merge(pair, {"layers": 0})

    assert (
        (pair / "out" / "model.safetensors")
        .read_bytes()
        .endswith((pair / "a" / "model.safetensors").read_bytes()[-1000:])
    )
    out, a = weights(pair, "out"), weights(pair, "a")
    assert all(np.array_equal(out[name], a[name]) for name in a)


def test_all_1_with_the_others_tokenizer_is_b_to_the_bit(pair: Path) -> None:
    merge(pair, {"layers": 1}, output={"tokenizer": "b"})

    out, b = weights(pair, "out"), weights(pair, "b")
    assert all(np.array_equal(out[name], b[name]) for name in b)


def test_rows_that_cross_the_blocks_of_a_file_come_out_whole(tmp_path: Path) -> None:
    width = 5003  # a row of 20 kB: a block of 1 MiB ends in the middle of one
    for key, rows, tokens, seed in (("a", 64, A_TOKENS, 0), ("b", 70, B_TOKENS, 1)):
        shapes = {
            EMBEDDINGS: (rows, width),
            **{f"model.layers.{i}.{part}.weight": (4,) for i in range(2) for part in ("mlp.fc", "attn.q")},
        }
        config = {"model_type": "llama", "num_hidden_layers": 2, "vocab_size": rows}
        write_words(write_checkpoint(tmp_path / key, draw(shapes, seed), config), tokens)

    merge(tmp_path, {"layers": 0.5, "embeddings": 0.25})

    expected = by_token(weights(tmp_path, "a")[EMBEDDINGS], weights(tmp_path, "b")[EMBEDDINGS], 0.25, "a")
    assert np.abs(weights(tmp_path, "out")[EMBEDDINGS] - expected).max() <= 2.0**-23


def test_other_dtypes_are_rounded_once(tmp_path: Path) -> None:
    for key, rows, tokens, dtype in (("a", 64, A_TOKENS, "float16"), ("b", 70, B_TOKENS, "float32")):
        write_words(write_llama(tmp_path / key, layers=2, vocab=rows, dtype=dtype, seed=rows), tokens)

    merge(tmp_path, {"layers": 0.5, "embeddings": 0.25}, output={"tokenizer": "b"})

    a, b = weights(tmp_path, "a")[EMBEDDINGS], weights(tmp_path, "b")[EMBEDDINGS]
    out = weights(tmp_path, "out")[EMBEDDINGS]
    assert out.dtype == np.float16
    # Half a unit in the last of float16's 11 bits, and a little for the float32 before it.
    error = np.abs(out.astype(np.float64) - by_token(a, b, 0.25, "b"))
    assert (error <= np.abs(out.astype(np.float64)) * 2.0**-11 * 1.01 + 1e-7).all()


def test_the_plan_names_the_counts_and_each_step_its_rows(pair: Path) -> None:
    plan = plan_merge(pair, {"layers": 0.5})

    assert (
        "Vocabulary: 55 tokens are in both and are merged, 5 only in A and come from there, 7 only in B and are left "
        "out; 4 rows without a token come from A."
    ) in plan.notes
    step = next(step for step in plan.steps if step.name == HEAD)
    assert sum(run.count for run in step.rows) == 64


def test_the_sample_of_a_small_tensor_is_its_rows_as_they_are_merged(pair: Path) -> None:
    step = next(step for step in plan_merge(pair, {"layers": 0.5}).steps if step.name == EMBEDDINGS)
    [chunk] = chunks_of_step("out", step, 0, "linear")

    assert len(chunk.sources[1].parts) > 1
    assert sample_of([chunk]).sources == chunk.sources


def test_equal_vocabularies_with_other_padding_meet_by_token(tmp_path: Path) -> None:
    for key, rows in (("a", 64), ("b", 80)):
        write_words(write_llama(tmp_path / key, layers=2, vocab=rows, dtype="float32", seed=rows), A_TOKENS)

    merge(tmp_path, {"layers": 0.5})

    a, b = weights(tmp_path, "a")[EMBEDDINGS], weights(tmp_path, "b")[EMBEDDINGS]
    expected = np.concatenate([(a[:60].astype(np.float64) + b[:60]) / 2, a[60:]])
    assert np.abs(weights(tmp_path, "out")[EMBEDDINGS] - expected).max() <= 2.0**-23


@pytest.mark.parametrize(
    ("method", "base"), [("linear", None), ("slerp", None), ("karcher", None), ("ties", "a"), ("task_arithmetic", "a")]
)
def test_the_order_of_a_vocabulary_does_not_matter_to_any_kind_of_method(
    tmp_path: Path, method: str, base: str | None
) -> None:
    """Whole tensors, rows and single numbers: each kernel sees the same numbers as if the tokens had stood in order."""
    order = np.random.default_rng(0).permutation(60)
    for place in ("plain", "shuffled"):
        for key, seed in (("a", 0), ("b", 1)):
            write_words(write_llama(tmp_path / place / key, layers=2, vocab=60, dtype="float32", seed=seed), A_TOKENS)
    folder = tmp_path / "shuffled" / "b"
    held = dict(weights(tmp_path / "shuffled", "b"))
    for name in (EMBEDDINGS, HEAD):
        held[name] = held[name][order]
    write_checkpoint(folder, held, json.loads((folder / "config.json").read_text()))
    write_words(folder, [A_TOKENS[row] for row in order])
    digests = []
    for place in ("plain", "shuffled"):
        models = {key: str(tmp_path / place / key) for key in ("a", "b") if key != base}
        recipe = {
            "blockmerge": 1,
            "method": method,
            "models": models,
            "base": None if base is None else str(tmp_path / place / base),
            "weights": {"layers": 0.4} if base is None else {"b": {"layers": 0.4}},
            "output": {"tokenizer": "a" if base is None else "b"},
        }
        digests.append(merged(recipe, tmp_path / place / "out"))

    if base is None:
        assert digests[0] == digests[1]
    else:  # the result stands in the shuffled order, as its tokenizer does
        plain, shuffled = (weights(tmp_path / place, "out") for place in ("plain", "shuffled"))
        assert np.array_equal(plain[EMBEDDINGS][order], shuffled[EMBEDDINGS])


def merged(recipe: Mapping[str, object], out: Path) -> str:
    parsed = parse_recipe(json.dumps(recipe))
    plan = make_plan(parsed, open_models(parsed.references))
    return carry_out(plan, Target(out), report=lambda _: None, is_cancelled=lambda: False).digest
