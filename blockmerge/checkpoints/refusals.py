"""Folders and models that cannot be merged, told from file names, config and tensor names; each with a way out."""

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from blockmerge.core.config_hints import read_hints
from blockmerge.core.name_kinds import find_kinds
from blockmerge.core.tensors import DType, TensorSpec

MAX_LAYERS = 1_000

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w.-]+)?")
_LAYER_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")

_BIN_WEIGHTS = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin")

_METHODS = {"awq": "AWQ", "bitsandbytes": "bitsandbytes", "fp8": "FP8", "gptq": "GPTQ", "mxfp4": "MXFP4"}
# The last part of a tensor's name that only quantised files have.
_TELLTALES = {
    "SCB": "bitsandbytes",
    "absmax": "bitsandbytes",
    "qweight": "GPTQ or AWQ",
    "qzeros": "GPTQ or AWQ",
    "weight_packed": "compressed-tensors",
    "weight_scale": "FP8",
    "weight_scale_inv": "FP8",
}
_LOW_PRECISION = {
    DType.FLOAT8_E4M3: "fp8",
    DType.FLOAT8_E5M2: "fp8",
    DType.FLOAT8_E8M0: "fp8",
    DType.FLOAT4: "fp4",
}


def missing_folder(folder: Path) -> str:
    """The sentence for a path that is no folder."""
    if not str(folder).isprintable():
        return f"There is no folder {str(folder)!a}. Check the path."
    if folder.exists():
        return f"{folder} is a file. Choose the folder that holds it."
    if _HUB_ID.fullmatch(folder.as_posix()):
        return (
            f"There is no folder {folder}. Models on the Hub are not read by this version: "
            "download the model and choose its folder."
        )
    return f"There is no folder {folder}. Check the path."


def is_weight_file(name: str) -> bool:
    """Is this a file that may hold a model's tensors? Other `.bin` files are optimizers, adapters and settings."""
    return name.endswith(".safetensors") or _BIN_WEIGHTS.fullmatch(name) is not None


def refuse_folder(name: str, listing: Collection[str]) -> str:
    """Why a folder with these files is no model that can be read; empty where it may be one."""
    suffixes = {Path(file).suffix.lower() for file in listing}
    indexes = {file for file in listing if file.endswith((".safetensors.index.json", ".bin.index.json"))}
    weights = {file for file in listing if is_weight_file(file)} | indexes
    if "model_index.json" in listing:
        return f"{name} is an image model (diffusers). Choose a language model."
    if "adapter_config.json" in listing and weights <= {"adapter_model.safetensors"}:
        return f"{name} holds an adapter, not a model. Merge it into its base model first, and choose the result."
    if not weights and ".gguf" in suffixes:
        return f"{name} has only GGUF files. Use the original weights, in safetensors files."
    if "config.json" not in listing:
        return f"{name} has no config.json. Choose the folder that holds config.json and the weight files."
    if not weights:
        return (
            f"{name} has no weight files: model*.safetensors or pytorch_model*.bin. "
            "Choose the folder that holds config.json and the weight files."
        )
    return ""


def refuse_config(config: Mapping[str, object]) -> str:
    """Why a model with this config cannot be merged; empty where it can."""
    for part in (config, config.get("text_config")):
        quantisation = part.get("quantization_config") if isinstance(part, Mapping) else None
        if isinstance(quantisation, Mapping) and quantisation:
            method = str(quantisation.get("quant_method", "bitsandbytes"))
            return _quantised(_METHODS.get(method, method if method.isprintable() else "an unknown method"))
    return ""


def refuse_tensors(tensors: Mapping[str, TensorSpec]) -> str:
    """Why these tensors cannot be merged, whatever the config says; empty where they can."""
    for name, tensor in tensors.items():
        last = name.rpartition(".")[2]
        if last in _TELLTALES:
            return _quantised(_TELLTALES[last])
        if name.endswith("_blocks") and f"{name.removesuffix('_blocks')}_scales" in tensors:
            return _quantised("MXFP4")
        if tensor.dtype in _LOW_PRECISION and f"{name}_scale_inv" not in tensors:
            return f"{_LOW_PRECISION[tensor.dtype]} weights cannot be averaged. Use the original weights."
    return ""


def _quantised(method: str) -> str:
    return f"This model is quantised ({method}). Use the original weights."


def refuse_depth(config: Mapping[str, object], names: Iterable[str]) -> str:
    """Why the config's number of layers cannot be true; empty where it can, or where the config says none."""
    said = next((config[key] for key in _LAYER_COUNTS if config.get(key) is not None), None)
    if said is None or isinstance(said, Mapping):  # of LXMERT, which names each stack in its own words
        return ""
    lists = _numbered(names)
    # A list of one may be a layer that the model runs many times, as ALBERT does.
    depths = {len(indices) for indices in lists.values() if len(indices) > 1}
    # A number for each stack stands under another key; those of towers, in their own configs, tell nothing of this one.
    known = read_hints({key: value for key, value in config.items() if not key.endswith("_config")}).depths
    if isinstance(said, int) and 1 <= said <= MAX_LAYERS:
        ahead = config.get("num_nextn_predict_layers")
        if not depths or known & depths or (isinstance(ahead, int) and said + ahead in depths):
            return ""
    said_text = f"{said:,}" if isinstance(said, int) else ascii(said)[:40]
    held = len(max(lists.values(), key=len, default=()))
    return f"config.json says {said_text} layers, the files hold {held:,}. Use the config.json that belongs to them."


def _numbered(names: Iterable[str]) -> Mapping[str, Collection[int]]:
    """Everything that counts in the names: "model.layers" → {0, 1, …}."""
    lists: dict[str, set[int]] = {}
    for kind in find_kinds({name: name for name in names}):
        for at, spot in enumerate(kind.spots):
            lists.setdefault(spot.prefix, set()).update(numbers[at] for numbers in kind.numbers.values())
    return lists
