"""Tied, untied and mixed heads: what is written, and what config.json says of it."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.engine.merges import merge, plan_for
from tests.engine.oracle import assert_blended, read_raw, read_values
from tests.tiny_models import write_json, write_llama

EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def is_tied(folder: Path) -> object:
    return json.loads((folder / "config.json").read_text())["tie_word_embeddings"]


def models(folder: Path, a_tied: bool, b_tied: bool) -> tuple[Path, Path]:
    return (
        write_llama(folder / "a", tied=a_tied, dtype="float32"),
        write_llama(folder / "b", tied=b_tied, dtype="float32", seed=1),
    )


def test_two_tied_models_make_a_tied_one(tmp_path: Path) -> None:
    a, b = models(tmp_path, True, True)

    merge(plan_for(a, b, 0.5), tmp_path / "out")

    values = read_values(tmp_path / "out")
    assert HEAD not in values
    assert_blended(values[EMBEDDINGS], read_values(a)[EMBEDDINGS], read_values(b)[EMBEDDINGS], 0.5, "float32")
    assert is_tied(tmp_path / "out") is True


def test_two_untied_models_have_a_weight_for_each_end(tmp_path: Path) -> None:
    a, b = models(tmp_path, False, False)

    merge(plan_for(a, b, {"layers": 0.5, "embeddings": 1, "head": 0}), tmp_path / "out")

    result = read_raw(tmp_path / "out")
    assert result[EMBEDDINGS] == read_raw(b)[EMBEDDINGS]
    assert result[HEAD] == read_raw(a)[HEAD]
    assert is_tied(tmp_path / "out") is False


@pytest.mark.parametrize("a_tied", [True, False])
def test_of_a_tied_and_an_untied_model_the_tied_one_gives_its_embeddings_as_head(tmp_path: Path, a_tied: bool) -> None:
    a, b = models(tmp_path, a_tied, not a_tied)

    merge(plan_for(a, b, {"layers": 0.5, "embeddings": 0.25, "head": 0.75}), tmp_path / "out")

    own, other, values = read_values(a), read_values(b), read_values(tmp_path / "out")
    assert_blended(values[EMBEDDINGS], own[EMBEDDINGS], other[EMBEDDINGS], 0.25, "float32")
    heads = (own[EMBEDDINGS], other[HEAD]) if a_tied else (own[HEAD], other[EMBEDDINGS])
    assert_blended(values[HEAD], *heads, 0.75, "float32")
    assert is_tied(tmp_path / "out") is False


@pytest.mark.parametrize("a_tied", [True, False])
def test_a_mixed_pair_with_both_ends_on_the_tied_side_stays_tied(tmp_path: Path, a_tied: bool) -> None:
    a, b = models(tmp_path, a_tied, not a_tied)
    tied, end = (a, 0) if a_tied else (b, 1)

    merge(plan_for(a, b, {"layers": 0.5, "embeddings": end, "head": end}), tmp_path / "out")

    result = read_raw(tmp_path / "out")
    assert HEAD not in result
    assert result[EMBEDDINGS] == read_raw(tied)[EMBEDDINGS]
    assert is_tied(tmp_path / "out") is True


@pytest.mark.parametrize("a_tied", [True, False])
def test_a_mixed_pair_at_an_end_computes_the_same_as_that_model(tmp_path: Path, a_tied: bool) -> None:
    a, b = models(tmp_path, a_tied, not a_tied)

    for weight, folder in ((0, a), (1, b)):
        merge(plan_for(a, b, weight), tmp_path / f"out{weight}")

        wanted, values = read_values(folder), read_values(tmp_path / f"out{weight}")
        for name in wanted:
            assert np.array_equal(values[name], wanted[name])
        assert is_tied(tmp_path / f"out{weight}") is is_tied(folder)
        assert np.array_equal(values.get(HEAD, values[EMBEDDINGS]), wanted.get(HEAD, wanted[EMBEDDINGS]))


def test_two_stored_copies_that_differ_are_no_copies_whatever_the_config_says(tmp_path: Path) -> None:
    a, b = models(tmp_path, False, False)
    for folder in (a, b):  # written apart, so the head has numbers of its own; transformers does not tie such a file
        config = json.loads((folder / "config.json").read_text())
        write_json(folder / "config.json", {**config, "tie_word_embeddings": True})

    merge(plan_for(a, b, 0.5), tmp_path / "out")

    values = read_values(tmp_path / "out")
    for name in (EMBEDDINGS, HEAD):
        assert_blended(values[name], read_values(a)[name], read_values(b)[name], 0.5, "float32")
    assert not np.array_equal(values[HEAD], values[EMBEDDINGS])
