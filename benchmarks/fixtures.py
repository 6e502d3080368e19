"""Models to merge, made by this script: random weights of the size of trained ones, in bfloat16, with fixed seeds."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

Shapes = Mapping[str, tuple[int, ...]]


def llama_shapes(hidden: int, inner: int, layers: int, vocabulary: int = 32000) -> Shapes:
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        shapes |= {f"{prefix}self_attn.{letter}_proj.weight": (hidden, hidden) for letter in "qkvo"}
        shapes |= {f"{prefix}mlp.{name}_proj.weight": (inner, hidden) for name in ("gate", "up")}
        shapes[f"{prefix}mlp.down_proj.weight"] = (hidden, inner)
        shapes |= {f"{prefix}{name}_layernorm.weight": (hidden,) for name in ("input", "post_attention")}
    return shapes | {"model.norm.weight": (hidden,), "lm_head.weight": (vocabulary, hidden)}


def many_shapes(layers: int = 26, experts: int = 128) -> Shapes:
    """10,000 small tensors, as a mixture of experts has them."""
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (256, 64)}
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        shapes |= {f"{prefix}self_attn.{letter}_proj.weight": (64, 64) for letter in "qkvo"}
        for expert in range(experts):
            names = ("gate_proj", "up_proj", "down_proj")
            shapes |= {f"{prefix}mlp.experts.{expert}.{name}.weight": (64, 256) for name in names}
        shapes |= {f"{prefix}{name}_layernorm.weight": (64,) for name in ("input", "post_attention")}
    return shapes | {"model.norm.weight": (64,), "lm_head.weight": (256, 64)}


def nbytes(shapes: Shapes) -> int:
    return 2 * sum(math.prod(shape) for shape in shapes.values())


def _few_shapes(wanted: int) -> Shapes:
    """Large tensors of about so many bytes: as many layers as fit, and rows of embeddings for the rest."""
    hidden, inner = 1536, 4096
    layers = wanted // nbytes(llama_shapes(hidden, inner, 1, 0))
    rest = wanted - nbytes(llama_shapes(hidden, inner, layers, 0))
    return llama_shapes(hidden, inner, layers, rest // nbytes({"embeddings": (hidden,), "head": (hidden,)}))


SIZES: Mapping[str, Shapes] = {
    "1.3 GB": llama_shapes(1536, 4096, 22),
    "5.2 GB": llama_shapes(3072, 8192, 22),
    "10,000 tensors": many_shapes(),
    "few tensors of the same bytes": _few_shapes(nbytes(many_shapes())),
}


def write_model(folder: Path, shapes: Shapes, seed: int, base: Path | None = None) -> Path:
    """Four shards and an index; a folder that is there is taken as made. With a base, small changes of it."""
    if (folder / "config.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    names = list(shapes)
    weight_map: dict[str, str] = {}
    for shard in range(4):
        file = f"model-{shard + 1:05}-of-00004.safetensors"
        held = names[len(names) * shard // 4 : len(names) * (shard + 1) // 4]
        weight_map |= dict.fromkeys(held, file)
        _write_shard(folder / file, {name: shapes[name] for name in held}, seed * 10 + shard, base and base / file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(_config(shapes)))
    return folder


def _write_shard(path: Path, shapes: Shapes, seed: int, base: Path | None) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for block in _blocks(end // 2, seed, base, 8 + len(text)):
            file.write(block)


def _blocks(elements: int, seed: int, base: Path | None, offset: int) -> Iterator[bytes]:
    generator = np.random.default_rng(seed)
    size = 1 << 22
    for start in range(0, elements, size):
        count = min(size, elements - start)
        values = generator.standard_normal(count, dtype=np.float32) * np.float32(0.02 if base is None else 0.002)
        if base is not None:
            raw = np.fromfile(base, "<u2", count, offset=offset + 2 * start)
            values += (raw.astype(np.uint32) << 16).view(np.float32)
        bits = values.view(np.uint32)
        yield (bits + 0x7FFF + (bits >> 16 & 1) >> 16).astype("<u2").tobytes()


def _config(shapes: Shapes) -> dict[str, object]:
    vocabulary, hidden = shapes["model.embed_tokens.weight"]
    inner = next((shape[0] for name, shape in shapes.items() if name.endswith("gate_proj.weight")), 4 * hidden)
    layers = len([name for name in shapes if name.endswith("self_attn.q_proj.weight")])
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 64,
        "num_key_value_heads": hidden // 64,
        "vocab_size": vocabulary,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
