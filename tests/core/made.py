"""Checkpoints put together from names and shapes, as if their headers had been read; there is nothing on disk."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from blockmerge.core.detection import detect_layout
from blockmerge.core.layout import Layout
from blockmerge.core.recipe import Output, Recipe, parse_recipe
from blockmerge.core.tensors import Checkpoint, DType, SideFile, TensorSpec
from blockmerge.core.vocabulary import Vocabulary
from tests.core.zoo import read_zoo

Shapes = Mapping[str, tuple[int, ...]]

VOCAB, WIDTH = 64, 8
HEAD = "lm_head.weight"
EMBEDDINGS = "model.embed_tokens.weight"


def llama_shapes(layers: int = 3, *, head: bool = True, width: int = WIDTH, vocab: int = VOCAB) -> Shapes:
    shapes: dict[str, tuple[int, ...]] = {EMBEDDINGS: (vocab, width)}
    for layer in range(layers):
        for name, shape in {
            "input_layernorm": (width,),
            "self_attn.q_proj": (width, width),
            "self_attn.o_proj": (width, width),
            "post_attention_layernorm": (width,),
            "mlp.up_proj": (2 * width, width),
            "mlp.down_proj": (width, 2 * width),
        }.items():
            shapes[f"model.layers.{layer}.{name}.weight"] = shape
    return shapes | {"model.norm.weight": (width,)} | ({HEAD: (vocab, width)} if head else {})


def checkpoint_of(
    shapes: Shapes,
    config: Mapping[str, object] | None = None,
    *,
    name: str = "A",
    dtypes: Mapping[str, DType] | None = None,
    files: Iterable[str] = ("config.json",),
) -> Checkpoint:
    """All tensors are bfloat16 but those in `dtypes`; a shape may stand there as well as here."""
    specs: dict[str, TensorSpec] = {}
    offset = 8
    for tensor, shape in shapes.items():
        specs[tensor] = TensorSpec(
            tensor, (dtypes or {}).get(tensor, DType.BFLOAT16), shape, "model.safetensors", offset
        )
        offset += specs[tensor].nbytes
    return Checkpoint(
        folder=Path("/models") / name,
        config=config or {"model_type": "llama", "vocab_size": VOCAB, "tie_word_embeddings": False},
        tensors=specs,
        shards=(),
        side_files=tuple(SideFile(file, 1) for file in files),
        skipped=(),
        header_digest=f"digest-of-{name}",
        vocabulary=Vocabulary("one tokenizer for all"),
    )


def llama(layers: int = 3, *, tied: bool = False, stores_head: bool | None = None, name: str = "A") -> Checkpoint:
    """A tied one has no head in its file, unless it stores the copy."""
    config = {"model_type": "llama", "vocab_size": VOCAB, "tie_word_embeddings": tied, "dtype": "bfloat16"}
    return checkpoint_of(llama_shapes(layers, head=not tied if stores_head is None else stores_head), config, name=name)


def zoo_layout(name: str) -> Layout:
    architecture = read_zoo()[name]
    return detect_layout(architecture.shapes, architecture.config)


def recipe_of(weights: str, **output: object) -> Recipe:
    """A recipe for the models a and b; `weights` is the YAML inside the braces."""
    recipe = parse_recipe(f"blockmerge: 1\nmodels: {{a: ./A, b: ./B}}\nweights: {{{weights}}}\n")
    return recipe.model_copy(update={"output": Output.model_validate(output)})
