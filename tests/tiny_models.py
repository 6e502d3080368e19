"""Small random checkpoints on disk, with the tensor names of the real ones; made in milliseconds, without torch.

Nothing of blockmerge is used, so that its reader and writer meet files of another hand. Every checkpoint loads in
transformers. The same arguments give the same bytes.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[np.float32]]

CODES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
BYTES_PER_ELEMENT = {"bfloat16": 2, "float16": 2, "float32": 4}


def write_llama(  # noqa: PLR0913 - each of these is what some test varies
    folder: Path,
    *,
    layers: int = 4,
    hidden: int = 32,
    vocab: int = 64,
    dtype: str = "bfloat16",
    seed: int = 0,
    shards: int = 1,
    tied: bool = False,
) -> Path:
    """A LlamaForCausalLM with 4 query and 2 key heads; a tied one has no lm_head.weight in its files."""
    inner, kv = 2 * hidden, hidden // 2
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, hidden)}
    for layer in range(layers):
        shapes |= {
            f"model.layers.{layer}.{name}.weight": shape
            for name, shape in {
                "input_layernorm": (hidden,),
                "self_attn.q_proj": (hidden, hidden),
                "self_attn.k_proj": (kv, hidden),
                "self_attn.v_proj": (kv, hidden),
                "self_attn.o_proj": (hidden, hidden),
                "post_attention_layernorm": (hidden,),
                "mlp.gate_proj": (inner, hidden),
                "mlp.up_proj": (inner, hidden),
                "mlp.down_proj": (hidden, inner),
            }.items()
        }
    shapes["model.norm.weight"] = (hidden,)
    if not tied:
        shapes["lm_head.weight"] = (vocab, hidden)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "vocab_size": vocab,
        "tie_word_embeddings": tied,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "dtype": dtype,
    }
    return write_checkpoint(folder, draw(shapes, seed), config, dtype=dtype, shards=shards)


def write_gpt2(
    folder: Path, *, layers: int = 2, prefix: str = "transformer.", dtype: str = "float32", seed: int = 0
) -> Path:
    """A GPT2LMHeadModel of width 32, tied; with prefix "" its names are those of the first files on the Hub."""
    hidden, vocab, positions = 32, 64, 48
    shapes: dict[str, tuple[int, ...]] = {"wte.weight": (vocab, hidden), "wpe.weight": (positions, hidden)}
    for layer in range(layers):
        for norm in ("ln_1", "ln_2"):
            shapes |= {f"h.{layer}.{norm}.weight": (hidden,), f"h.{layer}.{norm}.bias": (hidden,)}
        # Conv1D: the weight is (in, out), the transpose of a Linear.
        for name, (rows, columns) in {
            "attn.c_attn": (hidden, 3 * hidden),
            "attn.c_proj": (hidden, hidden),
            "mlp.c_fc": (hidden, 4 * hidden),
            "mlp.c_proj": (4 * hidden, hidden),
        }.items():
            shapes |= {f"h.{layer}.{name}.weight": (rows, columns), f"h.{layer}.{name}.bias": (columns,)}
    shapes |= {"ln_f.weight": (hidden,), "ln_f.bias": (hidden,)}
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_embd": hidden,
        "n_layer": layers,
        "n_head": 4,
        "n_positions": positions,
        "vocab_size": vocab,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "dtype": dtype,
    }
    tensors = {prefix + name: values for name, values in draw(shapes, seed).items()}
    return write_checkpoint(folder, tensors, config, dtype=dtype)


def write_neox(folder: Path, *, layers: int = 2, buffers: bool = True, dtype: str = "float16", seed: int = 0) -> Path:
    """A GPTNeoXForCausalLM of width 32; buffers are the attention masks and frequencies that old files carry."""
    hidden, vocab, positions = 32, 64, 48
    shapes: dict[str, tuple[int, ...]] = {"gpt_neox.embed_in.weight": (vocab, hidden)}
    masks: dict[str, NDArray[np.float32]] = {}
    for layer in range(layers):
        stem = f"gpt_neox.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes |= {f"{stem}{norm}.weight": (hidden,), f"{stem}{norm}.bias": (hidden,)}
        for name, (rows, columns) in {
            "attention.query_key_value": (3 * hidden, hidden),
            "attention.dense": (hidden, hidden),
            "mlp.dense_h_to_4h": (4 * hidden, hidden),
            "mlp.dense_4h_to_h": (hidden, 4 * hidden),
        }.items():
            shapes |= {f"{stem}{name}.weight": (rows, columns), f"{stem}{name}.bias": (rows,)}
        masks |= {
            f"{stem}attention.bias": np.tri(positions, dtype=np.float32)[None, None],
            # -1e9 is -inf in float16: an average of two such masks would be NaN.
            f"{stem}attention.masked_bias": np.array(-1e9, np.float32),
            f"{stem}attention.rotary_emb.inv_freq": np.array([1.0], np.float32),
        }
    shapes |= {
        "gpt_neox.final_layer_norm.weight": (hidden,),
        "gpt_neox.final_layer_norm.bias": (hidden,),
        "embed_out.weight": (vocab, hidden),
    }
    config = {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "max_position_embeddings": positions,
        "vocab_size": vocab,
        "tie_word_embeddings": False,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "dtype": dtype,
    }
    tensors = draw(shapes, seed) | (masks if buffers else {})
    return write_checkpoint(folder, tensors, config, dtype=dtype)


def write_tokenizer(folder: Path, *, vocab: int = 64) -> None:
    """A word-level tokenizer.json and its config: token i is the word "t<i>", token 0 stands for all unknown words."""
    tokenizer: dict[str, object] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {f"t{index}": index for index in range(vocab)}, "unk_token": "t0"},
    }
    write_json(folder / "tokenizer.json", tokenizer)
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "t0"})


def write_checkpoint(
    folder: Path, tensors: Tensors, config: Mapping[str, object], *, dtype: str = "float32", shards: int = 1
) -> Path:
    """Write config.json and any tensors, rounded to dtype; with several shards in runs of equal count, and an index."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config)
    if shards == 1:
        write_shard(folder / "model.safetensors", tensors, dtype)
        return folder
    names = list(tensors)
    weight_map: dict[str, str] = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        held = names[len(names) * shard // shards : len(names) * (shard + 1) // shards]
        write_shard(folder / file, {name: tensors[name] for name in held}, dtype)
        weight_map |= dict.fromkeys(held, file)
    total = sum(values.size for values in tensors.values()) * BYTES_PER_ELEMENT[dtype]
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})
    return folder


def write_shard(path: Path, tensors: Tensors, dtype: str) -> None:
    """One safetensors file: the tensors in the given order, without gaps, behind a header padded to 8 bytes."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    blobs: list[bytes] = []
    end = 0
    for name, values in tensors.items():
        blobs.append(encode(values, dtype))
        start, end = end, end + len(blobs[-1])
        header[name] = {"dtype": CODES[dtype], "shape": list(values.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(b"".join([len(text).to_bytes(8, "little"), text, *blobs]))


def draw(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, NDArray[np.float32]]:
    """Random values of the size that a trained model has: 1 ± 0.1 in the norms, 0 ± 0.1 elsewhere."""
    generator = np.random.default_rng(seed)
    return {
        name: generator.normal(float(len(shape) == 1 and name.endswith("weight")), 0.1, shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def encode(values: NDArray[np.float32], dtype: str) -> bytes:
    """Little-endian bytes, rounded to nearest, ties to even. For finite bfloat16 input only, as NaN is not kept."""
    if dtype == "bfloat16":
        bits = values.view(np.uint32)
        return (bits + 0x7FFF + (bits >> 16 & 1) >> 16).astype("<u2").tobytes()
    with np.errstate(over="ignore"):
        return values.astype({"float16": "<f2", "float32": "<f4"}[dtype]).tobytes()


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
