import json

import pytest

from blockmerge.core.describe import (
    count_text,
    describe_checkpoint,
    describe_plan,
    formula,
    layer_counts,
    plan_sentences,
    size_text,
)
from blockmerge.core.plan import Plan, make_plan
from blockmerge.core.tensors import Checkpoint
from tests.core.made import HEAD, checkpoint_of, llama, llama_shapes, recipe_of, zoo_layout
from tests.core.zoo import read_zoo


def plan_of(text: str, b: Checkpoint | None = None, **output: object) -> Plan:
    return make_plan(recipe_of(text, **output), {"a": llama(), "b": b or llama(name="B")})


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (99_940, "99.9 kB"),
        (99_960, "100 kB"),
        (999_400, "999 kB"),
        (999_600, "1.0 MB"),
        (269_060_552, "269 MB"),
        (14_483_464_192, "14.5 GB"),
        (2_500_000_000_000, "2.5 TB"),
        (5 * 10**15, "5000 TB"),
    ],
)
def test_bytes_have_three_digits(nbytes: int, text: str) -> None:
    assert size_text(nbytes) == text


@pytest.mark.parametrize(
    ("elements", "text"),
    [(7, "7"), (1500, "1.5 k"), (134_515_008, "135 M"), (999_950_000, "1.0 B"), (7_241_732_096, "7.2 B")],
)
def test_parameters_are_counted_as_people_say_it(elements: int, text: str) -> None:
    assert count_text(elements) == text


def test_a_checkpoint_in_values() -> None:
    assert describe_checkpoint(llama(2, tied=True)) == {
        "model": "A",
        "model_type": "llama",
        "stacks": [{"name": "layers", "layers": 2, "lanes": ["attention", "mlp", "norm"], "rows": []}],
        "rows": ["embeddings", "final_norm"],
        "modules": {"layers": [["attention", "mlp", "norm"]] * 2},
        "dtype": "bfloat16",
        "parameters": 1320,
        "bytes": 2640,
        "tensors": 14,
        "shards": [],
        "vocabulary": 64,
        "tied": True,
        "side_files": ["config.json"],
        "warnings": [],
    }


@pytest.mark.parametrize("name", read_zoo())
def test_every_checkpoint_of_the_zoo_can_be_described_as_json(name: str) -> None:
    zoo = read_zoo()[name]

    value = json.loads(json.dumps(describe_checkpoint(checkpoint_of(zoo.shapes, zoo.config))))

    assert {stack["name"]: stack["layers"] for stack in value["stacks"]} == {
        stack.name: stack.depth for stack in zoo_layout(name).stacks
    }
    assert value["tensors"] == len(zoo.shapes)


def test_a_plan_in_values_has_every_tensor() -> None:
    b = checkpoint_of({**llama_shapes(), "score.weight": (2, 8)}, name="B")
    plan = plan_of("layers: [0, 0.5, 1]", b)

    value = json.loads(json.dumps(describe_plan(plan)))

    assert {step["name"] for step in value["steps"]} == plan.checkpoints["a"].tensors.keys()
    assert value["counts"] == {"copy": 15, "cast": 0, "blend": 6}
    assert value["layers"] == {"copied": 2, "computed": 1}
    assert value["left_out"] == [
        {"model": "b", "name": "score.weight", "reason": "A has no such tensor"},
        {"model": "b", "name": "config.json", "reason": "this file comes from A"},
    ]
    assert value["files"] == [{"name": "model.safetensors", "bytes": plan.nbytes, "tensors": 21}]
    assert value["recipe"] == plan.canonical
    assert value["steps"][-1] == {
        "name": HEAD,
        "action": "copy",
        "weight": 1.0,
        "weights": {},
        "reason": "weight 1",
        "dtype": "bfloat16",
        "shape": [64, 8],
        "stack": None,
        "layer": None,
        "module": "head",
        "sources": [{"model": "b", "name": HEAD, "file": "model.safetensors"}],
    }


def test_the_formula_is_one_sentence_in_the_models_names() -> None:
    plan = plan_of("layers: [0, 0.25, 0.5]")

    assert formula(plan, {"a": "Mistral-7B", "b": "zephyr-7b"}) == (
        "Merged = Mistral-7B × (1 − w) + zephyr-7b × w, with w from 0.00 to 0.50. 1 layer copied, 2 computed."
    )


def test_a_layer_that_is_computed_in_part_is_computed() -> None:
    assert layer_counts(plan_of("layers: 0, mlp: [0, 0.5, 0]")) == {"copied": 2, "computed": 1}
    assert layer_counts(plan_of("layers: 0", dtype="float32")) == {"copied": 0, "computed": 3}


def test_a_plan_in_sentences() -> None:
    b = checkpoint_of({**llama_shapes(), "score.weight": (2, 8)}, name="B")

    assert list(plan_sentences(plan_of("layers: [0, 0.5, 1]", b, dtype="float32"))) == [
        "Merged = A × (1 − w) + B × w, with w from 0.00 to 1.00. 0 layers copied, 3 computed.",
        "21 tensors, 8.9 kB: 6 blended, 0 copied, 15 converted.",
        "  model.safetensors  8.9 kB  21 tensors",
        "  config.json  from A with dtype changed",
        "  left out: score.weight of B: A has no such tensor",
        "  left out: config.json of B: this file comes from A",
        "score.weight of B is left out: A has no such tensor.",
    ]
