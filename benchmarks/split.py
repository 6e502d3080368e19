"""`python -m benchmarks.split`: what a merge of 671 billion parameters costs beside the merging, and one part of it.

The checkpoints and the result are holes, which take no room, so only the part that is really merged does: 5 GB.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from blockmerge.checkpoints.models import open_models
from blockmerge.checkpoints.writer import shard_header
from blockmerge.core.plan import Plan, make_plan
from blockmerge.core.recipe import parse_recipe
from blockmerge.engine import merge
from blockmerge.engine.chunks import count_blocks
from blockmerge.engine.journal import Journal, UnitRecord, identity_of, note_whole
from blockmerge.engine.target import Target

LAYERS, EXPERTS, HIDDEN, INNER, VOCABULARY = 61, 245, 7168, 2048, 129280  # 671 billion with what is below


def main() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        models = {key: str(write_model(folder / key)) for key in "ab"}
        recipe = parse_recipe(json.dumps({"blockmerge": 1, "models": models, "weights": {"layers": 0.5}}))
        with timed("both models opened"):
            opened = open_models(models)
        with timed("plan"):
            plan = make_plan(recipe, opened)
        print(f"{plan.nbytes / 1e12:.2f} TB, {len(plan.steps)} tensors, {len(plan.shards)} parts")
        target = Target(folder / "out")
        begin(plan, target.partial)
        with timed(f"one part of {plan.shards[1].nbytes / 1e9:.2f} GB"):
            merge.carry_out_parts(plan, target, [1], report=lambda _: None)
        for shard in plan.shards:
            note_merged(plan, target.partial, shard.name)
        vars(merge)["check_disk"] = lambda *_: None  # what is whole already is not on this disk
        with timed("the join, with all parts whole"):
            result = merge.carry_out(plan, target, report=lambda _: None, is_cancelled=lambda: False, parts=())
        print({stage: round(seconds, 1) for stage, seconds in result.seconds.items()})


@contextmanager
def timed(what: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - start:.1f} s", flush=True)


def write_model(folder: Path) -> Path:
    """A mixture of experts of this size, of zeros that take no room."""
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        shapes |= {f"{prefix}self_attn.{letter}_proj.weight": (HIDDEN, HIDDEN) for letter in "qkvo"}
        shapes |= {f"{prefix}{norm}_layernorm.weight": (HIDDEN,) for norm in ("input", "post_attention")}
        shapes[f"{prefix}mlp.gate.weight"] = (EXPERTS, HIDDEN)
        for expert in range(EXPERTS):
            inner = f"{prefix}mlp.experts.{expert}."
            shapes |= {f"{inner}{name}_proj.weight": (INNER, HIDDEN) for name in ("gate", "up")}
            shapes[f"{inner}down_proj.weight"] = (HIDDEN, INNER)
    shapes |= {"model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCABULARY, HIDDEN)}
    entries: dict[str, object] = {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    folder.mkdir()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + end)
    config = {
        **{"model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"], "tie_word_embeddings": False},
        **{"num_hidden_layers": LAYERS, "hidden_size": HIDDEN, "vocab_size": VOCABULARY, "num_experts": EXPERTS},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def begin(plan: Plan, partial: Path) -> None:
    """The part folder as whoever leads makes it, but without taking room."""
    partial.mkdir()
    with Journal(partial) as journal:
        journal.begin(identity_of(plan, torch.__version__, merge.processor()))
    for shard in plan.shards:
        header = shard_header(shard, plan)
        with (partial / shard.name).open("wb") as file:
            file.write(header)
            os.truncate(file.fileno(), len(header) + shard.nbytes)


def note_merged(plan: Plan, partial: Path, name: str) -> None:
    """A journal of this shard as whoever merged it would have left it."""
    [shard] = [shard for shard in plan.shards if shard.name == name]
    with Journal(partial, name) as journal:
        journal.begin({})
        for number, (tensor, blocks) in enumerate(count_blocks(shard.steps).items()):
            digests = {(tensor, block): bytes(16) for block in range(blocks)}
            journal.append(UnitRecord((name, number), 0, digests, {}))
    note_whole(partial, name)


if __name__ == "__main__":
    main()
