"""One tiny model of every architecture of the zoo, made by transformers, with random numbers in every tensor.

The sizes are chosen so that no two of them are equal by chance: a vocabulary of 120 is no multiple of the width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

VOCAB = 120
LAYERS = 3

_TEXT = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GROUPED = {**_TEXT, "num_key_value_heads": 2}
_GPT = {"vocab_size": VOCAB, "n_embd": 32, "n_layer": LAYERS, "n_head": 4, "bos_token_id": 1, "eos_token_id": 2}
_ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_VISION = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}
_QWEN_VISION = {"depth": 2, "num_heads": 2, "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2}
_SOUND = {
    "vocab_size": 40,
    "hidden_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
_SWIN = {
    "image_size": 32,
    "patch_size": 4,
    "embed_dim": 8,
    "depths": [2, 2, 3, 2],
    "num_heads": [2] * 4,
    "window_size": 2,
}
_CONVNEXT = {"hidden_sizes": [8, 16, 24, 32], "depths": [2, 2, 3, 2]}
_BART = {
    "vocab_size": VOCAB,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": LAYERS,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 48,
    **_ENDS,
    "decoder_start_token_id": 2,
}


@dataclass(frozen=True, slots=True)
class Species:
    """`model` and `config` name classes of transformers; `inputs` is what its forward pass is given.

    `parts` are the configs inside a config: field name -> (config class, values).
    """

    config: str
    model: str
    values: Mapping[str, Any]
    inputs: str = "text"
    parts: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)

    def make_config(self) -> Any:
        parts = {name: getattr(transformers, kind)(**values) for name, (kind, values) in self.parts.items()}
        return getattr(transformers, self.config)(**self.values, **parts)


ZOO: Mapping[str, Species] = {
    "albert": Species("AlbertConfig", "AlbertForMaskedLM", {**_TEXT, "embedding_size": 16, "num_hidden_groups": 1}),
    "bart": Species("BartConfig", "BartForConditionalGeneration", _BART, "seq2seq"),
    "bert": Species("BertConfig", "BertForMaskedLM", _TEXT),
    "bert_encoder_only": Species("BertConfig", "BertModel", _TEXT),
    "bloom": Species(
        "BloomConfig",
        "BloomForCausalLM",
        {"vocab_size": VOCAB, "hidden_size": 32, "n_layer": LAYERS, "n_head": 4, **_ENDS},
    ),
    "deberta_v2": Species(
        "DebertaV2Config",
        "DebertaV2ForMaskedLM",
        {
            **_TEXT,
            "relative_attention": True,
            "position_buckets": 8,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "conv_kernel_size": 3,
            "conv_act": "gelu",
            "position_biased_input": False,
        },
    ),
    "deepseek_v3": Species(
        "DeepseekV3Config",
        "DeepseekV3ForCausalLM",
        {
            **_TEXT,
            "num_key_value_heads": 4,
            "moe_intermediate_size": 16,
            "n_routed_experts": 4,
            "n_shared_experts": 1,
            "num_experts_per_tok": 2,
            "n_group": 2,
            "topk_group": 1,
            "first_k_dense_replace": 1,
            "kv_lora_rank": 8,
            "q_lora_rank": 12,
            "qk_rope_head_dim": 4,
            "qk_nope_head_dim": 8,
            "v_head_dim": 8,
        },
    ),
    "distilbert": Species(
        "DistilBertConfig",
        "DistilBertForMaskedLM",
        {
            "vocab_size": VOCAB,
            "dim": 32,
            "hidden_dim": 48,
            "n_layers": LAYERS,
            "n_heads": 4,
            "max_position_embeddings": 40,
        },
    ),
    "electra": Species("ElectraConfig", "ElectraForMaskedLM", {**_TEXT, "embedding_size": 16}),
    "falcon": Species(
        "FalconConfig",
        "FalconForCausalLM",
        {
            "vocab_size": VOCAB,
            "hidden_size": 32,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 4,
            "multi_query": True,
            "parallel_attn": True,
            "new_decoder_architecture": False,
            **_ENDS,
        },
    ),
    "falcon_new_arch": Species(
        "FalconConfig",
        "FalconForCausalLM",
        {
            "vocab_size": VOCAB,
            "hidden_size": 32,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 4,
            "num_kv_heads": 2,
            "new_decoder_architecture": True,
            **_ENDS,
        },
    ),
    "gemma2": Species("Gemma2Config", "Gemma2ForCausalLM", {**_GROUPED, "head_dim": 8}),
    "gemma3_text": Species("Gemma3TextConfig", "Gemma3ForCausalLM", {**_GROUPED, "head_dim": 8}),
    "gemma3_vlm": Species(
        "Gemma3Config",
        "Gemma3ForConditionalGeneration",
        {"mm_tokens_per_image": 4, "image_token_index": 119, "boi_token_index": 117, "eoi_token_index": 118},
        parts={
            "text_config": ("Gemma3TextConfig", {**_GROUPED, "head_dim": 8}),
            "vision_config": ("SiglipVisionConfig", _VISION),
        },
    ),
    "gpt2": Species("GPT2Config", "GPT2LMHeadModel", {**_GPT, "n_positions": 40}),
    "gpt_bigcode": Species("GPTBigCodeConfig", "GPTBigCodeForCausalLM", {**_GPT, "n_positions": 40}),
    "gpt_neox": Species("GPTNeoXConfig", "GPTNeoXForCausalLM", _TEXT),
    "gpt_oss": Species(
        "GptOssConfig",
        "GptOssForCausalLM",
        {**_GROUPED, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    "gptj": Species(
        "GPTJConfig", "GPTJForCausalLM", {**_GPT, "n_positions": 40, "rotary_dim": 4, "tie_word_embeddings": False}
    ),
    "jamba": Species(
        "JambaConfig",
        "JambaForCausalLM",
        {
            **_GROUPED,
            "num_hidden_layers": 4,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "attn_layer_period": 4,
            "attn_layer_offset": 2,
            "mamba_d_state": 4,
            "mamba_dt_rank": 4,
            "use_mamba_kernels": False,
        },
    ),
    "llama": Species("LlamaConfig", "LlamaForCausalLM", _GROUPED),
    "llava": Species(
        "LlavaConfig",
        "LlavaForConditionalGeneration",
        {"image_token_index": 119, "tie_word_embeddings": False},
        parts={"text_config": ("LlamaConfig", _GROUPED), "vision_config": ("CLIPVisionConfig", _VISION)},
    ),
    "mamba": Species(
        "MambaConfig",
        "MambaForCausalLM",
        {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": LAYERS, "state_size": 4, **_ENDS},
    ),
    "mamba2": Species(
        "Mamba2Config",
        "Mamba2ForCausalLM",
        {
            "vocab_size": VOCAB,
            "hidden_size": 32,
            "num_hidden_layers": LAYERS,
            "state_size": 4,
            "num_heads": 8,
            "head_dim": 8,
            "n_groups": 2,
            **_ENDS,
        },
    ),
    "mistral": Species("MistralConfig", "MistralForCausalLM", _GROUPED),
    "mixtral": Species("MixtralConfig", "MixtralForCausalLM", {**_GROUPED, "num_local_experts": 4}),
    "modernbert": Species("ModernBertConfig", "ModernBertForMaskedLM", {**_TEXT, "cls_token_id": 1, "sep_token_id": 2}),
    "mpnet": Species("MPNetConfig", "MPNetForMaskedLM", _TEXT),
    "mpt": Species(
        "MptConfig",
        "MptForCausalLM",
        {"vocab_size": VOCAB, "d_model": 32, "n_layers": LAYERS, "n_heads": 4, "max_seq_len": 40},
    ),
    "olmo2": Species("Olmo2Config", "Olmo2ForCausalLM", _GROUPED),
    "opt": Species(
        "OPTConfig",
        "OPTForCausalLM",
        {**_TEXT, "ffn_dim": 48, "word_embed_proj_dim": 32},
    ),
    "opt_350m_like": Species(
        "OPTConfig",
        "OPTForCausalLM",
        {**_TEXT, "ffn_dim": 48, "word_embed_proj_dim": 16, "do_layer_norm_before": False},
    ),
    "phi3": Species("Phi3Config", "Phi3ForCausalLM", _GROUPED),
    "qwen2": Species("Qwen2Config", "Qwen2ForCausalLM", _GROUPED),
    "qwen2_moe": Species(
        "Qwen2MoeConfig",
        "Qwen2MoeForCausalLM",
        {
            **_GROUPED,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "shared_expert_intermediate_size": 20,
        },
    ),
    "qwen2_vl": Species(
        "Qwen2VLConfig",
        "Qwen2VLForConditionalGeneration",
        {"image_token_id": 119, "video_token_id": 118, "vision_start_token_id": 117, "vision_end_token_id": 116},
        parts={
            "text_config": (
                "Qwen2VLTextConfig",
                {
                    **_GROUPED,
                    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
                },
            ),
            "vision_config": ("Qwen2VLVisionConfig", {**_QWEN_VISION, "embed_dim": 24, "hidden_size": 32}),
        },
    ),
    "qwen3": Species("Qwen3Config", "Qwen3ForCausalLM", {**_GROUPED, "head_dim": 8}),
    "qwen3_moe": Species(
        "Qwen3MoeConfig",
        "Qwen3MoeForCausalLM",
        {**_GROUPED, "head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    ),
    "qwen3_vl": Species(
        "Qwen3VLConfig",
        "Qwen3VLForConditionalGeneration",
        {"image_token_id": 119, "video_token_id": 118, "vision_start_token_id": 117, "vision_end_token_id": 116},
        parts={
            "text_config": (
                "Qwen3VLTextConfig",
                {
                    **_GROUPED,
                    "head_dim": 8,
                    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
                },
            ),
            "vision_config": (
                "Qwen3VLVisionConfig",
                {
                    **_QWEN_VISION,
                    "depth": 3,
                    "hidden_size": 24,
                    "intermediate_size": 40,
                    "out_hidden_size": 32,
                    "num_position_embeddings": 16,
                    "deepstack_visual_indexes": [0, 1],
                },
            ),
        },
    ),
    "roberta": Species("RobertaConfig", "RobertaForMaskedLM", _TEXT),
    "rwkv": Species(
        "RwkvConfig",
        "RwkvForCausalLM",
        {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": LAYERS, "context_length": 40, **_ENDS},
    ),
    "siglip": Species(
        "SiglipConfig",
        "SiglipModel",
        {},
        "text and image",
        parts={
            "text_config": ("SiglipTextConfig", {**_TEXT, "projection_size": 32}),
            "vision_config": ("SiglipVisionConfig", {**_VISION, "hidden_size": 32}),
        },
    ),
    "stablelm": Species("StableLmConfig", "StableLmForCausalLM", _GROUPED),
    "starcoder2": Species("Starcoder2Config", "Starcoder2ForCausalLM", _GROUPED),
    "t5": Species(
        "T5Config",
        "T5ForConditionalGeneration",
        {
            "vocab_size": VOCAB,
            "d_model": 32,
            "d_kv": 8,
            "d_ff": 48,
            "num_layers": 2,
            "num_decoder_layers": LAYERS,
            "num_heads": 4,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "decoder_start_token_id": 0,
        },
        "seq2seq",
    ),
    "vit": Species(
        "ViTConfig", "ViTForImageClassification", {**_VISION, "num_hidden_layers": LAYERS, "num_labels": 5}, "image"
    ),
    "whisper": Species(
        "WhisperConfig",
        "WhisperForConditionalGeneration",
        {
            **_BART,
            "num_mel_bins": 8,
            "max_source_positions": 10,
            "max_target_positions": 12,
            "suppress_tokens": None,
            "begin_suppress_tokens": None,
        },
        "audio",
    ),
    "xlm_roberta": Species("XLMRobertaConfig", "XLMRobertaForMaskedLM", _TEXT),
}

# Kinds of model that need a quirk, each with a file in core/architectures.
QUIRKY: Mapping[str, Species] = {
    "wav2vec2": Species("Wav2Vec2Config", "Wav2Vec2ForCTC", _SOUND, "sound"),
    "hubert": Species("HubertConfig", "HubertForCTC", _SOUND, "sound"),
    "wavlm": Species("WavLMConfig", "WavLMForCTC", _SOUND, "sound"),
    "swin": Species("SwinConfig", "SwinForImageClassification", _SWIN, "large image"),
    "swinv2": Species("Swinv2Config", "Swinv2ForImageClassification", _SWIN, "large image"),
    "convnext": Species("ConvNextConfig", "ConvNextForImageClassification", _CONVNEXT, "large image"),
    "convnextv2": Species("ConvNextV2Config", "ConvNextV2ForImageClassification", _CONVNEXT, "large image"),
    "clip": Species(
        "CLIPConfig",
        "CLIPModel",
        {"projection_dim": 16},
        "text and image",
        parts={"text_config": ("CLIPTextConfig", _TEXT), "vision_config": ("CLIPVisionConfig", _VISION)},
    ),
}
# Some of those that were in no list when the algorithm was made, each for what it showed: layers with attention and a
# mixer side by side, layers in halves, and convolutions that count like layers without a file that says so.
HELD_OUT: Mapping[str, Species] = {
    "falcon_h1": Species(
        "FalconH1Config",
        "FalconH1ForCausalLM",
        {**_GROUPED, "mamba_d_ssm": 64, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 2, "mamba_d_state": 4},
    ),
    "flaubert": Species(
        "FlaubertConfig", "FlaubertWithLMHeadModel", {"vocab_size": VOCAB, "emb_dim": 32, "n_layers": 3, "n_heads": 4}
    ),
    "speecht5": Species(
        "SpeechT5Config",
        "SpeechT5ForSpeechToText",
        {
            "vocab_size": VOCAB,
            "hidden_size": 32,
            "encoder_layers": 2,
            "decoder_layers": LAYERS,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 40,
            "decoder_ffn_dim": 48,
            "conv_dim": (16,) * 7,
            "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 4,
        },
        "sound and text",
    ),
}
ALL: Mapping[str, Species] = {**ZOO, **QUIRKY}

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "GPT-J": ("gptj",),
    "OPT": ("opt", "opt_350m_like"),
    "Llama, Mistral": ("llama", "mistral"),
    "GPT-NeoX, Pythia": ("gpt_neox",),
    "BERT and its kin": (
        *("bert", "bert_encoder_only", "roberta", "xlm_roberta", "distilbert", "electra", "mpnet", "albert"),
        *("deberta_v2", "modernbert"),
    ),
    "GPT-2, StarCoder": ("gpt2", "gpt_bigcode", "starcoder2"),
    "Gemma": ("gemma2", "gemma3_text"),
    "Qwen": ("qwen2", "qwen3"),
    "OLMo, Phi, StableLM": ("olmo2", "phi3", "stablelm"),
    "BLOOM, Falcon, MPT": ("bloom", "falcon", "falcon_new_arch", "mpt"),
    "Mixture of experts": ("mixtral", "qwen2_moe", "qwen3_moe", "deepseek_v3", "gpt_oss"),
    "State space and hybrids": ("mamba", "mamba2", "jamba", "rwkv"),
    "Encoder and decoder": ("bart", "t5", "whisper"),
    "Vision and language": ("llava", "gemma3_vlm", "qwen2_vl", "qwen3_vl", "siglip", "clip"),
    "Vision": ("vit", "swin", "swinv2", "convnext", "convnextv2"),
    "Sound": ("wav2vec2", "hubert", "wavlm"),
}


def families_table() -> str:
    """The table of the README. Every architecture in it is merged, loaded and run by tests/zoo/test_zoo.py."""
    lines = ["| Family | Classes of transformers that are merged, loaded and run in the tests |", "| --- | --- |"]
    for family, names in FAMILIES.items():
        classes = ", ".join(dict.fromkeys(f"`{ALL[name].model}`" for name in names))
        lines.append(f"| {family} | {classes} |")
    return "\n".join(lines) + "\n"


def save_model(name: str, folder: Path, seed: int) -> Path:
    """Every number gets noise, so that no two models share a norm of ones or a bias of zeros."""
    species = {**ALL, **HELD_OUT}[name]
    torch.manual_seed(seed)
    model = getattr(transformers, species.model)(species.make_config())
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.randn_like(tensor) * 0.05)
    model.save_pretrained(folder)
    return folder


def inputs_of(name: str) -> dict[str, torch.Tensor]:
    """What the model's forward pass takes, as its parts expect it."""
    ids = torch.arange(3, 11).reshape(1, 8)
    match {**ALL, **HELD_OUT}[name].inputs:
        case "seq2seq":
            return {"input_ids": ids, "decoder_input_ids": ids}
        case "image":
            return {"pixel_values": torch.ones(1, 3, 8, 8)}
        case "text and image":
            return {"input_ids": ids, "pixel_values": torch.ones(1, 3, 8, 8)}
        case "large image":
            return {"pixel_values": torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)}
        case "sound":
            return {"input_values": torch.linspace(-1, 1, 2000).reshape(1, 2000)}
        case "sound and text":
            return {"input_values": torch.linspace(-1, 1, 2000).reshape(1, 2000), "decoder_input_ids": ids}
        case "audio":
            return {"input_features": torch.ones(1, 8, 20), "decoder_input_ids": ids}
    return {"input_ids": ids}
