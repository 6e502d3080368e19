"""Plans put together by hand, and results written as they say, with zeros and counting bytes as tensors."""

from collections.abc import Mapping
from pathlib import Path

import xxhash

from blockmerge.checkpoints.folder import open_checkpoint
from blockmerge.checkpoints.manifest import Manifest, TensorEntry, tensor_digest, write_manifest
from blockmerge.checkpoints.writer import shard_header, write_index, write_side_files
from blockmerge.core.layout import Layout, Place
from blockmerge.core.pairs import Source
from blockmerge.core.plan import Action, OutputShard, Plan, SideFileStep, Step
from blockmerge.core.recipe import Recipe, Weights
from blockmerge.core.tensors import Checkpoint, DType, TensorSpec
from tests.checkpoints.raw_files import float_file, write_folder

CANONICAL = "blockmerge: 1\nmethod: linear  # é\n"
FIRST = "model-00001-of-00002.safetensors"
SECOND = "model-00002-of-00002.safetensors"
LARGE = (2**18 + 5,)  # of float32: a block of 1 MiB and 20 bytes
INPUT = {
    "config.json": '{"model_type": "llama", "auto_map": {}, "eps": 1e-05, "name": "\\u00fc"}',
    "tokenizer.json": '{"é": 1}',
}


def open_input(folder: Path) -> Checkpoint:
    write_folder(folder, model__safetensors=float_file("a"))
    (folder / "sub").mkdir()
    for name, text in {**INPUT, "sub/notes.txt": "x\r\n"}.items():
        (folder / name).write_bytes(text.encode())
    return open_checkpoint(folder)


def step_of(name: str, dtype: DType, shape: tuple[int, ...]) -> Step:
    source = Source("a", TensorSpec(name, dtype, shape, "model.safetensors", 0))
    return Step(name, dtype, shape, Action.COPY, (source,), 0.0, Place(None, None, "outside"), "weight 0")


def plan_of(
    checkpoint: Checkpoint, shards: Mapping[str, tuple[Step, ...]], edits: Mapping[str, object] | None = None
) -> Plan:
    return Plan(
        recipe=Recipe(models={"a": "A", "b": "B"}, weights=Weights(layers=0.0)),
        canonical=CANONICAL,
        checkpoints={"a": checkpoint},
        owner="a",
        layout=Layout((), (), {}),
        shards=tuple(OutputShard(name, steps) for name, steps in shards.items()),
        side_files=(
            SideFileStep("config.json", "a", edits or {}),
            SideFileStep("sub/notes.txt", "a", {}),
            SideFileStep("tokenizer.json", "a", {}),
        ),
        left_out=(),
        notes=(),
    )


def two_shards(checkpoint: Checkpoint) -> Plan:
    return plan_of(
        checkpoint,
        {
            FIRST: (step_of("large", DType.FLOAT32, LARGE), step_of("empty", DType.FLOAT32, (0, 7))),
            SECOND: (step_of("half", DType.BFLOAT16, (2, 3)), step_of("flag", DType.BOOL, ())),
        },
    )


def single_file(checkpoint: Checkpoint) -> Plan:
    return plan_of(checkpoint, {"model.safetensors": (step_of("half", DType.BFLOAT16, (2, 3)),)})


def content_of(step: Step) -> bytes:
    return bytes(number * 7 % 251 for number in range(step.nbytes))


def digest_of(content: bytes) -> str:
    return tensor_digest(xxhash.xxh3_128_digest(content[i : i + 2**20]) for i in range(0, len(content), 2**20))


def entries_of(plan: Plan) -> Mapping[str, TensorEntry]:
    return {step.name: TensorEntry(step.dtype, step.shape, digest_of(content_of(step))) for step in plan.steps}


def write_result(plan: Plan, folder: Path) -> Path:
    folder.mkdir()
    for shard in plan.shards:
        raw = shard_header(shard, plan) + b"".join(content_of(step) for step in shard.steps)
        (folder / shard.name).write_bytes(raw)
    write_side_files(plan, folder)
    write_index(plan, folder)
    write_manifest(folder, Manifest("0.1", plan.canonical, "2.13.0", "x86_64 AVX2", entries_of(plan)))
    return folder
