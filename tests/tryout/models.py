"""Small models that transformers loads, some of them hostile."""

import json
import struct
from pathlib import Path

import numpy as np

from blockmerge.checkpoints.library import EXAMPLE
from blockmerge.tryout.child.model import Model, load
from blockmerge.tryout.messages import Load
from tests.tiny_models import write_checkpoint

LOWERCASE, CAPITALS = EXAMPLE / "lowercase", EXAMPLE / "capitals"
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
HUGE = "{{ 'a' * 2000000000 }}"
POLITE = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant] "


def copied(folder: Path, source: Path = LOWERCASE, *, template: str | None = None) -> Path:
    """The example model, with a chat template where one is given."""
    folder.mkdir(parents=True)
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder


def with_pattern(folder: Path, pattern: str) -> Path:
    """Its tokenizer first splits the text by a regular expression."""
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, tokenizer["pre_tokenizer"]]}
    file.write_text(json.dumps(tokenizer))
    return folder


def with_nan(folder: Path) -> Path:
    """The first weight of its last norm is not a number."""
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    [length] = struct.unpack("<Q", content[:8])
    start = json.loads(content[8 : 8 + length])["model.norm.weight"]["data_offsets"][0] + 8 + length
    content[start : start + 2] = b"\xc0\x7f"  # bfloat16
    file.write_bytes(content)
    return folder


def write_bert(folder: Path, architecture: str) -> Path:
    """A random BERT of 2 layers with a vocabulary of words: a BertForMaskedLM or a BertModel."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "the", "cat", "dog", "sat", "ran", "."]
    hidden, inner, positions = 32, 64, 24
    prefix = "bert." if architecture == "BertForMaskedLM" else ""
    shapes: dict[str, tuple[int, ...]] = {
        f"{prefix}embeddings.word_embeddings.weight": (len(words), hidden),
        f"{prefix}embeddings.position_embeddings.weight": (positions, hidden),
        f"{prefix}embeddings.token_type_embeddings.weight": (2, hidden),
        **_norm(f"{prefix}embeddings.LayerNorm", hidden),
    }
    for layer in range(2):
        stem = f"{prefix}encoder.layer.{layer}."
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes |= {f"{stem}{name}.weight": (hidden, hidden), f"{stem}{name}.bias": (hidden,)}
        shapes |= {f"{stem}intermediate.dense.weight": (inner, hidden), f"{stem}intermediate.dense.bias": (inner,)}
        shapes |= {f"{stem}output.dense.weight": (hidden, inner), f"{stem}output.dense.bias": (hidden,)}
        shapes |= _norm(f"{stem}attention.output.LayerNorm", hidden) | _norm(f"{stem}output.LayerNorm", hidden)
    if prefix:
        head = "cls.predictions."
        shapes |= {f"{head}transform.dense.weight": (hidden, hidden), f"{head}transform.dense.bias": (hidden,)}
        shapes |= _norm(f"{head}transform.LayerNorm", hidden) | {f"{head}bias": (len(words),)}
    else:
        shapes |= {"pooler.dense.weight": (hidden, hidden), "pooler.dense.bias": (hidden,)}
    random = np.random.default_rng(0)
    tensors = {name: random.standard_normal(shape).astype(np.float32) * 0.1 for name, shape in shapes.items()}
    config = {
        "architectures": [architecture],
        "model_type": "bert",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": positions,
        "vocab_size": len(words),
        "type_vocab_size": 2,
        "dtype": "float32",
    }
    write_checkpoint(folder, tensors, config, dtype="float32")
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    return folder


def _norm(name: str, hidden: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (hidden,), f"{name}.bias": (hidden,)}


def loaded(folder: Path, architecture: str = "LlamaForCausalLM", dtype: str = "float32") -> Model:
    """In this process, as the model process loads it."""
    model, _ = load(Load(str(folder), architecture, dtype, 10**13), "cpu")
    return model
