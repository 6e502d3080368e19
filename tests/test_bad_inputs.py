"""Bad and odd inputs by their numbers in the list of them: each is refused with one exact sentence, or accepted.

A case writes model B into a folder; model A is a whole one beside it. Rows 40 to 42 belong to the engine, 41 to its
workers. Nothing here writes a file outside the models' folders.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from blockmerge.checkpoints.models import open_models
from blockmerge.cli import app
from blockmerge.core.plan import Plan, make_plan
from blockmerge.core.recipe import parse_recipe
from blockmerge.errors import InputError
from tests.checkpoints.raw_files import F32, file_of, float_file, header
from tests.tiny_models import write_json, write_llama, write_tokenizer

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"

Case = Callable[[Path], object]


def tensors(folder: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """What a file holds: name → dtype's code, shape and bytes."""
    raw = (folder / SINGLE).read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    entries: dict[str, Any] = json.loads(raw[8:start])
    return {
        name: (entry["dtype"], tuple(entry["shape"]), raw[start:][slice(*entry["data_offsets"])])
        for name, entry in entries.items()
        if name != "__metadata__"
    }


def put(folder: Path, held: Mapping[str, tuple[str, tuple[int, ...], bytes]], name: str = SINGLE) -> None:
    entries: dict[str, object] = {}
    end = 0
    for tensor, (code, shape, raw) in held.items():
        start, end = end, end + len(raw)
        entries[tensor] = {"dtype": code, "shape": list(shape), "data_offsets": [start, end]}
    (folder / name).write_bytes(header(json.dumps(entries)) + b"".join(raw for *_, raw in held.values()))


def file(raw: bytes) -> Case:
    """B's only weight file is these bytes."""
    return lambda folder: (folder / SINGLE).write_bytes(raw)


def entry(**changes: object) -> Case:
    """B's only tensor is a float32 pair but for these changes."""
    return file(file_of({"x": {**F32, **changes}}, 8))


def added(name: str, code: str, shape: tuple[int, ...], raw: bytes) -> Case:
    return lambda folder: put(folder, {**tensors(folder), name: (code, shape, raw)})


def llama(**changes: Any) -> Case:
    return lambda folder: write_llama(folder, **{"layers": 2, "seed": 1, **changes})


def config(**changes: object) -> Case:
    return lambda folder: write_json(
        folder / "config.json", {**json.loads((folder / "config.json").read_text()), **changes}
    )


def index(change: Callable[[dict[str, Any]], object]) -> Case:
    """B in two shards, with its index changed."""

    def write(folder: Path) -> None:
        (folder / SINGLE).unlink()
        write_llama(folder, layers=2, seed=1, shards=2)
        value = json.loads((folder / INDEX).read_text())
        change(value)
        write_json(folder / INDEX, value)

    return write


def then(*cases: Case) -> Case:
    return lambda folder: [case(folder) for case in cases]


def named(name: str, raw: bytes = b"") -> Case:
    return lambda folder: (folder / name).write_bytes(raw)


def renamed(old: str, new: str) -> Case:
    return lambda folder: (folder / old).rename(folder / new)


def removed(*names: str) -> Case:
    return lambda folder: [(folder / name).unlink() for name in names]


def shortened(name: str, by: int) -> Case:
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size - by)


TWICE = b'{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"x":{"dtype":"F32","shape":[2],"data_offsets":[%d,%d]}}'
UP = "model.layers.0.mlp.up_proj.weight"


def read_twice(folder: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """The second shard with the first tensor of the first one in it as well."""
    shards = [(folder / name, folder / SINGLE) for name in (SECOND, FIRST)]
    held: dict[str, tuple[str, tuple[int, ...], bytes]] = {}
    for source, target in shards:
        target.write_bytes(source.read_bytes())
        found = tensors(folder)
        held |= dict(list(found.items())[:1]) if held else found
        target.unlink()
    return held


def both(case: Case) -> Case:
    """The same change in A."""
    return lambda folder: [case(folder), case(folder.parent / "a")]


def table(difference: int) -> Case:
    """A table of whole numbers in both, with one of them so far apart."""
    name = "model.layers.0.mlp.table"

    def write(folder: Path) -> None:
        added(name, "I64", (1,), (5).to_bytes(8, "little"))(folder.parent / "a")
        added(name, "I64", (1,), (5 + difference).to_bytes(8, "little"))(folder)

    return write


def experts(own: int, other: int) -> Case:
    def write(folder: Path) -> None:
        for place, count in ((folder.parent / "a", own), (folder, other)):
            extra = {f"model.layers.0.mlp.experts.{n}.up.weight": ("BF16", (1,), bytes(2)) for n in range(count)}
            put(place, {**tensors(place), **extra})

    return write


REFUSED: Mapping[str, tuple[Case, str]] = {
    "1 empty": (
        file(b""),
        "model.safetensors is empty. Download it again.",
    ),
    "2 seven bytes": (
        file(b"1234567"),
        "model.safetensors is cut short: 7 bytes are there. Download it again.",
    ),
    "3 header length 2^63": (
        file((2**63).to_bytes(8, "little") + b"{}"),
        "model.safetensors is not a safetensors file: its header would have 9,223,372,036,854,775,808 "
        "bytes, at most 16,000,000 are read. Download it again.",
    ),
    "3 header length over the limit": (
        file((10**8 + 1).to_bytes(8, "little") + b"{}"),
        "model.safetensors is not a safetensors file: its header would have 100,000,001 bytes, at most "
        "16,000,000 are read. Download it again.",
    ),
    "4 header beyond the file": (
        file((1000).to_bytes(8, "little") + b"{}"),
        "model.safetensors is cut short: 10 bytes are there, its header alone has 1,008. Download it again.",
    ),
    "5 header not UTF-8": (
        file(header(b'{"\xff": 1}')),
        "The header of model.safetensors is not valid: byte 2 is not UTF-8.",
    ),
    "6 header not JSON": (
        file(header("hello")),
        "The header of model.safetensors is not valid: expecting value at line 1, column 1.",
    ),
    "6 header a list": (
        file(header("[]")),
        "The header of model.safetensors is not valid: an object in braces was expected, found a list.",
    ),
    "8 no tensors": (
        file(header("{}")),
        "model.safetensors holds no tensors. Is this the right file?",
    ),
    "9 same name and range twice": (
        file(header(TWICE % (0, 8)) + bytes(8)),
        "The header of model.safetensors is not valid: duplicate key x.",
    ),
    "10 same name, other range": (
        file(header(TWICE % (8, 16)) + bytes(16)),
        "The header of model.safetensors is not valid: duplicate key x.",
    ),
    "11 overlap": (
        file(file_of({"x": F32, "y": {**F32, "data_offsets": [4, 12]}}, 12)),
        "Tensors x and y share bytes in model.safetensors. Download it again.",
    ),
    "12 hole": (
        file(file_of({"x": F32, "y": {**F32, "data_offsets": [12, 20]}}, 20)),
        "model.safetensors has a gap before 'y'. Download it again.",
    ),
    "12 start is not 0": (
        entry(data_offsets=[4, 12]),
        "model.safetensors has a gap before 'x'. Download it again.",
    ),
    "13 trailing bytes": (
        file(float_file("x") + b"12"),
        "model.safetensors has 2 bytes after its last tensor. Download it again.",
    ),
    "14 truncated": (
        shortened(SINGLE, 10),
        "model.safetensors is cut short: 47,478 of 47,488 bytes are there. Download it again.",
    ),
    "15 negative offset": (
        entry(data_offsets=[-8, 0]),
        "'x' in model.safetensors is not described as a tensor: dtype, shape and two data_offsets, all of "
        "them whole numbers from 0, were expected. Download it again.",
    ),
    "15 float offset": (
        entry(data_offsets=[0.0, 8.0]),
        "'x' in model.safetensors is not described as a tensor: dtype, shape and two data_offsets, all of "
        "them whole numbers from 0, were expected. Download it again.",
    ),
    "15 NaN offset": (
        file(header('{"x":{"dtype":"F32","shape":[2],"data_offsets":[NaN,8]}}') + bytes(8)),
        "The header of model.safetensors is not valid: NaN is not JSON.",
    ),
    "16 shape overflow": (
        entry(shape=[2**32, 2**32]),
        "'x' in model.safetensors has an impossible shape. Download it again.",
    ),
    "16 shape is not the bytes": (
        entry(shape=[3]),
        "'x' in model.safetensors has 8 bytes, but its shape [3] in float32 takes 12. Download it again.",
    ),
    "19 an empty shape that overflows": (
        entry(shape=[0, 2**60], data_offsets=[0, 0]),
        "'x' in model.safetensors has an impossible shape. Download it again.",
    ),
    "20 unknown dtype": (
        entry(dtype="Q4_K"),
        "'x' in model.safetensors has the dtype 'Q4_K', which is not known.",
    ),
    "21 metadata is not text": (
        file(file_of({"__metadata__": {"a": 1}, "x": F32}, 8)),
        "The header of model.safetensors is not valid: __metadata__ may only hold texts.",
    ),
    "22 empty name": (
        file(float_file("")),
        "model.safetensors holds a tensor named ''. A name has 1 to 512 printable characters and no '../'.",
    ),
    "22 NUL in a name": (
        file(float_file("a\0b")),
        "model.safetensors holds a tensor named 'a\\x00b'. A name has 1 to 512 printable characters and no '../'.",
    ),
    "22 newline in a name": (
        file(float_file("a\nb")),
        "model.safetensors holds a tensor named 'a\\nb'. A name has 1 to 512 printable characters and no '../'.",
    ),
    "22 a name that climbs": (
        file(float_file("../x")),
        "model.safetensors holds a tensor named '../x'. A name has 1 to 512 printable characters and no '../'.",
    ),
    "25 missing shard": (
        then(index(lambda _: None), removed(SECOND)),
        "model-00002-of-00002.safetensors is missing. Download it again.",
    ),
    "26 tensor in two shards": (
        then(index(lambda _: None), lambda folder: put(folder, read_twice(folder), SECOND)),
        "'model.embed_tokens.weight' lies in model-00001-of-00002.safetensors and again in "
        "model-00002-of-00002.safetensors. Remove one of them.",
    ),
    "27 tensor not in the index": (
        index(lambda value: value["weight_map"].pop("lm_head.weight")),
        "model-00002-of-00002.safetensors holds 'lm_head.weight', which the index does not name. Download both.",
    ),
    "28 tensor in no shard": (
        index(lambda value: value["weight_map"].update({"ghost": FIRST})),
        "The index names 'ghost' in model-00001-of-00002.safetensors, where it is not. Download both.",
    ),
    "29 a path that climbs": (
        index(lambda value: value["weight_map"].update({"x": "../../etc/passwd"})),
        "The index names a file outside the folder: '../../etc/passwd'. Use a copy from a source that you trust.",
    ),
    "29 an absolute path": (
        index(lambda value: value["weight_map"].update({"x": "/etc/passwd"})),
        "The index names a file outside the folder: '/etc/passwd'. Use a copy from a source that you trust.",
    ),
    "29 not a safetensors file": (
        index(lambda value: value["weight_map"].update({"x": "pytorch_model.bin"})),
        "The index names 'pytorch_model.bin', which is not a .safetensors file. Download the model again.",
    ),
    "32 shards without index": (
        then(index(lambda _: None), removed(INDEX)),
        "b has 2 .safetensors files but no model.safetensors.index.json, which says how they belong "
        "together. Download it too.",
    ),
    "33 consolidated only": (
        renamed(SINGLE, "consolidated.safetensors"),
        "b has only consolidated.safetensors, which names its tensors in its publisher's own way. Use the "
        "model's files for transformers, model*.safetensors.",
    ),
    "35 fp8": (
        added("x", "F8_E4M3", (4,), bytes(4)),
        "fp8 weights cannot be averaged. Use the original weights.",
    ),
    "35 fp4": (
        added("x", "F4", (4,), bytes(2)),
        "fp4 weights cannot be averaged. Use the original weights.",
    ),
    "35 scales": (
        added("x", "F8_E8M0", (4,), bytes(4)),
        "fp8 weights cannot be averaged. Use the original weights.",
    ),
    "36 GPTQ by its config": (
        config(quantization_config={"quant_method": "gptq"}),
        "This model is quantised (GPTQ). Use the original weights.",
    ),
    "36 AWQ by its config": (
        config(quantization_config={"quant_method": "awq"}),
        "This model is quantised (AWQ). Use the original weights.",
    ),
    "36 bitsandbytes by its config": (
        config(quantization_config={"load_in_4bit": True}),
        "This model is quantised (bitsandbytes). Use the original weights.",
    ),
    "36 GPTQ by its tensors": (
        added("model.layers.0.q.qweight", "I32", (1,), bytes(4)),
        "This model is quantised (GPTQ or AWQ). Use the original weights.",
    ),
    "36 MXFP4 by its tensors": (
        then(added("x_blocks", "U8", (4,), bytes(4)), added("x_scales", "U8", (4,), bytes(4))),
        "This model is quantised (MXFP4). Use the original weights.",
    ),
    "36 FP8 by its scales": (
        added("x.weight_scale_inv", "F32", (1,), bytes(4)),
        "This model is quantised (FP8). Use the original weights.",
    ),
    "37 GGUF only": (
        then(removed(SINGLE), named("model.gguf")),
        "b has only GGUF files. Use the original weights, in safetensors files.",
    ),
    "38 whole numbers that differ": (
        table(1),
        "model.layers.0.mlp.table holds whole numbers that differ between A and B, and these cannot be "
        "averaged. Choose another B.",
    ),
    "39 complex": (
        both(added("x", "C64", (1,), bytes(8))),
        "x of A is complex64, which cannot be averaged. 1 more like it. Use the original weights.",
    ),
    "43 a shape that would broadcast": (
        added("model.layers.0.input_layernorm.weight", "BF16", (1,), bytes(2)),
        "model.layers.0.input_layernorm.weight is 32 in A and 1 in B. These are different sizes of model. "
        "Choose another B.",
    ),
    "47 missing inside the layers": (
        lambda folder: put(folder, {n: t for n, t in tensors(folder).items() if n != UP}),
        "A has model.layers.0.mlp.up_proj.weight inside its layers, B has not. Merge models of one architecture.",
    ),
    "48 another number of layers": (
        llama(layers=3),
        "A has 2 layers, B has 3. A blend needs the same number. Choose another B.",
    ),
    "49 another width": (
        llama(hidden=16),
        "model.embed_tokens.weight is 64×32 in A and 64×16 in B. 20 more differ too. These are different "
        "sizes of model. Choose another B.",
    ),
    "51 an adapter": (
        then(renamed(SINGLE, "adapter_model.safetensors"), named("adapter_config.json", b"{}")),
        "b holds an adapter, not a model. Merge it into its base model first, and choose the result.",
    ),
    "52 .bin of an optimizer only": (
        renamed(SINGLE, "optimizer.bin"),
        "b has no weight files: model*.safetensors or pytorch_model*.bin. Choose the folder that holds "
        "config.json and the weight files.",
    ),
    "53 no config.json": (
        removed("config.json"),
        "b has no config.json. Choose the folder that holds config.json and the weight files.",
    ),
    "54 config with other layers": (
        config(num_hidden_layers=7),
        "config.json says 7 layers, the files hold 2. Use the config.json that belongs to them.",
    ),
    "54 config with a billion layers": (
        config(num_hidden_layers=10**9),
        "config.json says 1,000,000,000 layers, the files hold 2. Use the config.json that belongs to them.",
    ),
    "56 diffusers": (
        named("model_index.json", b"{}"),
        "b is an image model (diffusers). Choose a language model.",
    ),
    "59 a file name that is not UTF-8": (
        lambda folder: (folder / os.fsdecode(b"\xff.txt")).write_bytes(b""),
        "b holds a file named '\\udcff.txt', which is not plain text. Rename it.",
    ),
    "60 another number of experts": (
        experts(4, 8),
        "A has 4 experts in a layer, B has 8. A blend needs the same number. Choose another B.",
    ),
    "61 names that differ in case only": (
        then(named("vocab.txt"), named("Vocab.txt")),
        "b holds Vocab.txt and vocab.txt, which differ only in case. Rename one.",
    ),
}

ACCEPTED: Mapping[str, tuple[Case, tuple[str, ...]]] = {
    "7 a leading space": (lambda folder: respaced(folder), ()),
    "17 a single number": (both(added("x", "BF16", (), bytes(2))), ()),
    "18 an empty tensor": (both(added("x", "BF16", (0, 7), b"")), ()),
    "23 an unknown field": (lambda folder: with_field(folder), ()),
    "24 a BOOL of any byte": (both(added("x", "BOOL", (1,), b"\7")), ()),
    "30 a single file beside the index": (
        then(index(lambda _: None), named(SINGLE, float_file("x"))),
        ("model.safetensors is not read: model.safetensors.index.json names other files.",),
    ),
    "31 a wrong total size": (
        index(lambda value: value["metadata"].update(total_size=1)),
        ("model.safetensors.index.json says 1 bytes, the files hold 45,376.",),
    ),
    "34 two dtypes": (llama(dtype="float32"), ()),
    "38 whole numbers that agree": (table(0), ()),
    "44 a vocabulary padded otherwise": (
        then(llama(vocab=80), lambda folder: write_tokenizer(folder)),
        (
            "Vocabulary: 64 tokens are in both and are merged, 0 only in A and come from there, 0 only in B "
            "and are left out; 0 rows without a token come from A.",
        ),
    ),
    "45 tied and untied": (
        llama(tied=True),
        ("The head of B is its embeddings. The result has a head of its own: lm_head.weight, 0.0 MB.",),
    ),
    "46 extra tensors outside the layers": (
        added("score.weight", "BF16", (2,), bytes(4)),
        ("score.weight of B is left out: A has no such tensor.",),
    ),
    "50 another model_type": (
        config(model_type="mistral"),
        ("A says it is llama, B says it is mistral; their tensors fit. The result is llama.",),
    ),
    "55 no tokenizer": (
        removed("tokenizer.json", "tokenizer_config.json"),
        ("B brings no tokenizer files, so the rows of the embeddings are matched by number.",),
    ),
    "57 the same model twice": (llama(seed=0), ()),
    "58 another prefix": (lambda folder: prefixed(folder), ("The names of B are read with 'model.' before them.",)),
    "62 ten thousand other files": (lambda folder: many_files(folder), ()),
}


def respaced(folder: Path) -> None:
    raw = (folder / SINGLE).read_bytes()
    length = int.from_bytes(raw[:8], "little")
    (folder / SINGLE).write_bytes((length + 1).to_bytes(8, "little") + b" " + raw[8:])


def with_field(folder: Path) -> None:
    raw = (folder / SINGLE).read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    entries = json.loads(raw[8:start])
    entries[UP]["stride"] = [1]
    (folder / SINGLE).write_bytes(header(json.dumps(entries)) + raw[start:])


def prefixed(folder: Path) -> None:
    held = tensors(folder)
    put(folder, {name.removeprefix("model."): tensor for name, tensor in held.items()})


def many_files(folder: Path) -> None:
    (folder / "logs").mkdir()
    for number in range(10_000):
        (folder / "logs" / f"{number}.txt").touch()


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """Two whole models; a case spoils the second one."""
    for seed, key in enumerate("ab"):
        write_tokenizer(write_llama(tmp_path / key, layers=2, seed=seed))
    return tmp_path


def recipe_for(folder: Path) -> str:
    models = {key: str(folder / key) for key in ("a", "b")}
    return json.dumps({"blockmerge": 1, "models": models, "weights": {"layers": 0.5}})


def plan_for(folder: Path) -> Plan:
    models = {key: str(folder / key) for key in ("a", "b")}
    return make_plan(
        parse_recipe(json.dumps({"blockmerge": 1, "models": models, "weights": {"layers": 0.5}})), open_models(models)
    )


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_input_is_refused_with_its_sentence(name: str, pair: Path) -> None:
    case, sentence = REFUSED[name]
    case(pair / "b")

    with pytest.raises(InputError) as caught:
        plan_for(pair)

    assert str(caught.value).removeprefix("models.b: ") == sentence


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_odd_input_is_accepted_and_what_is_odd_is_said(name: str, pair: Path) -> None:
    case, notes = ACCEPTED[name]
    case(pair / "b")

    assert plan_for(pair).notes == notes


@pytest.mark.parametrize(
    "name",
    [
        "1 empty",
        "14 truncated",
        "36 GPTQ by its config",
        "38 whole numbers that differ",
        "48 another number of layers",
    ],
)
def test_the_command_line_says_the_same_with_exit_code_2_and_leaves_no_file(name: str, pair: Path) -> None:
    case, sentence = REFUSED[name]
    case(pair / "b")
    recipe = pair / "recipe.yaml"
    recipe.write_text(recipe_for(pair))

    result = CliRunner().invoke(app, ["merge", str(recipe), "--out", str(pair / "out")])

    assert result.exit_code == 2
    assert result.stderr.replace("models.b: ", "") == f"{sentence}\n"
    assert sorted(path.name for path in pair.iterdir()) == ["a", "b", "recipe.yaml"]
