"""Tiny random models of the architectures that people fine-tune, each written by the class of its checkpoints.

The layer pattern, the kinds of layers and their proportions are those of published models; the sizes and weights
aren't. Fields of config.json that published files have, and that transformers no longer writes, are added.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedConfig,
    PreTrainedModel,
)

from tests.helpers.models.tiny_models import tiny_model

_SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 1024,
}
_TOWER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
}
_QWEN_TOWER = {
    "depth": 3, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64,
}  # fmt: skip
_GEMMA4_IDS = {
    "image_token_id": 6, "video_token_id": 7, "audio_token_id": 8, "boi_token_id": 9, "eoi_token_id": 10,
}  # fmt: skip
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_DELTA_NET = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
_UNIFIED = _DELTA_NET | {
    "head_dim": 32,
    "mtp_num_hidden_layers": 1,
    "rope_parameters": {
        "rope_type": "default", "rope_theta": 1e7, "partial_rotary_factor": 0.25,
        "mrope_section": [2, 1, 1], "mrope_interleaved": True,
    },
}  # fmt: skip
_ROUTED = {
    "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
    "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Architecture:
    """What a tiny model of an architecture is made of.

    `vision` are the settings of the vision tower, for a multimodal model; `tokens_of` is the family of
    `tiny_models` whose tokenizer it gets; `without` are settings of all models that this one doesn't have, and
    `published` those of published files that transformers writes otherwise.
    """

    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    text: dict[str, Any] = field(default_factory=dict)
    vision: dict[str, Any] = field(default_factory=dict)
    model_type: str = ""
    tokens_of: str = "qwen3"
    without: tuple[str, ...] = ()
    predicts_ahead: bool = False
    published: dict[str, Any] = field(default_factory=dict)


def _dense(tokens_of: str = "qwen3", *without: str, **settings: Any) -> Architecture:
    return Architecture("dense", settings=settings, tokens_of=tokens_of, without=without)


def _hybrid(tokens_of: str = "qwen3", *without: str, **settings: Any) -> Architecture:
    return Architecture("hybrid", settings=settings, tokens_of=tokens_of, without=without)


def _mixture(tokens_of: str = "qwen3", *without: str, **settings: Any) -> Architecture:
    return Architecture("mixture", settings=settings, tokens_of=tokens_of, without=without)


def _multimodal(
    tokens_of: str,
    text: dict[str, Any],
    vision: dict[str, Any],
    published: dict[str, Any] | None = None,
    **settings: Any,
) -> Architecture:
    return Architecture(
        "multimodal", settings, text, vision, tokens_of=tokens_of, published=published or {}
    )


_GEMMA = {"query_pre_attn_scalar": 16, "sliding_window": 64}
_HEADS = "head_dim"

ARCHITECTURES: dict[str, Architecture] = {
    "llama": _dense("llama3", rope_theta=500000.0),
    "qwen2": _dense("qwen3", _HEADS),
    "qwen3": _dense(),
    "gemma2": _dense("gemma3", **_GEMMA),
    "gemma3_text": _dense("gemma3", **_GEMMA),
    "mistral": _dense("mistral", sliding_window=None),
    "phi3": _dense("phi3", _HEADS, original_max_position_embeddings=1024),
    "granite": _dense(
        "granite", _HEADS, embedding_multiplier=2.0, residual_multiplier=0.5,
        attention_multiplier=0.125, logits_scaling=4.0,
    ),
    "olmo2": _dense("qwen3", _HEADS),
    "smollm3": _dense("smollm3", _HEADS),
    "exaone4": _dense(sliding_window=None, layer_types=["full_attention"] * 4),
    "seed_oss": _dense(),
    "arcee": _dense("llama3"),
    "ernie4_5": _dense("mistral"),
    "apertus": _dense("llama3", _HEADS, max_position_embeddings=65536),
    "hunyuan_v1_dense": _dense(eod_token_id=None),
    "lfm2": _hybrid(
        "qwen3", _HEADS, block_auto_adjust_ff_dim=False,
        layer_types=["conv", "conv", "full_attention", "conv"],
    ),
    "falcon_h1": _hybrid(
        "llama3", mamba_d_ssm=64, mamba_n_heads=4, mamba_d_head=16, mamba_d_state=16
    ),
    "granitemoehybrid": Architecture(
        "hybrid", tokens_of="granite", without=(_HEADS,),
        published={"layer_types": ["mamba", "mamba", "attention", "mamba"]},
        settings={"shared_intermediate_size": 128, "num_local_experts": 0, "num_experts_per_tok": 0,
        "layer_types": ["mamba", "mamba", "attention", "mamba"], "mamba_n_heads": 8, "mamba_d_head": 16,
        "mamba_d_state": 16, "mamba_n_groups": 1, "mamba_expand": 2, "position_embedding_type": "nope",
        "attention_multiplier": 0.25, "logits_scaling": 4.0},
    ),
    "nemotron_h": Architecture(
        "hybrid", tokens_of="llama3", without=("num_hidden_layers",),
        settings={"layers_block_type": ["mamba", "mlp", "attention", "mlp"], "mamba_num_heads": 8,
                      "mamba_head_dim": 16, "ssm_state_size": 16, "n_groups": 2, "expand": 2},
        published={"hybrid_override_pattern": "M-*-", "num_hidden_layers": 4,
                   "layers_block_type": None, "mtp_layers_block_type": None,
                   "num_experts_per_tok": None, "n_routed_experts": None, "n_shared_experts": None,
                   "n_group": None, "topk_group": None, "moe_intermediate_size": None,
                   "moe_shared_expert_intermediate_size": None},
    ),
    "qwen3_next": _hybrid(shared_expert_intermediate_size=32, **_EXPERTS, **_DELTA_NET),
    "lfm2_moe": _hybrid(
        "qwen3", _HEADS, num_dense_layers=1, **_EXPERTS,
        layer_types=["conv", "conv", "full_attention", "conv"],
    ),
    "qwen3_moe": _mixture(norm_topk_prob=True, **_EXPERTS),
    "mixtral": _mixture("mistral", num_local_experts=4, sliding_window=None),
    "gpt_oss": _mixture(
        num_local_experts=4, num_experts_per_tok=2, sliding_window=64, intermediate_size=64,
        max_position_embeddings=131072, head_dim=64,
    ),
    "olmoe": _mixture("qwen3", _HEADS, num_key_value_heads=4, num_experts=4, num_experts_per_tok=2),
    "granitemoe": _mixture(
        "granite", _HEADS, num_local_experts=4, num_experts_per_tok=2, attention_multiplier=0.25,
        logits_scaling=4.0,
    ),
    "glm4_moe": _mixture("glm4", partial_rotary_factor=0.5, **_ROUTED),
    "deepseek_v3": Architecture(
        "mixture", tokens_of="llama3", without=(_HEADS,), published={"scoring_func": "sigmoid"},
        settings=dict(num_key_value_heads=4, q_lora_rank=32, kv_lora_rank=32,
        qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16, **_ROUTED),
    ),
    "ernie4_5_moe": _mixture(
        "mistral", moe_num_experts=4, moe_k=2, moe_intermediate_size=32, moe_layer_start_index=1,
        moe_num_shared_experts=2,
    ),
    "minimax_m2": Architecture(
        "mixture", published={"scoring_func": "sigmoid"},
        settings={"num_local_experts": 4, "num_experts_per_tok": 2, "rotary_dim": 8,
                  "rope_parameters": {"rope_type": "default", "rope_theta": 5e6,
                                      "partial_rotary_factor": 0.5}},
    ),
    "qwen3_5": Architecture(
        "multimodal", text=_UNIFIED, vision=_QWEN_TOWER,
        predicts_ahead=True,
    ),
    "qwen3_5_moe": Architecture(
        "multimodal", vision=_QWEN_TOWER, predicts_ahead=True,
        text={"shared_expert_intermediate_size": 32, **_EXPERTS, **_UNIFIED},
    ),
    "qwen2_5_vl": _multimodal(
        "qwen2",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}},
        _QWEN_TOWER | {"fullatt_block_indexes": [1], "window_size": 56},
    ),
    "qwen3_vl": _multimodal(
        "qwen3",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [2, 3, 3],
                             "mrope_interleaved": True}},
        _QWEN_TOWER | {"deepstack_visual_indexes": [1]},
    ),
    "gemma3": _multimodal("gemma3", _GEMMA, _TOWER | {"image_size": 896}, mm_tokens_per_image=256),
    "gemma4": _multimodal(
        "gemma4",
        {"num_hidden_layers": 6, "sliding_window": 64, "hidden_size_per_layer_input": 8,
         "global_head_dim": 32, "final_logit_softcapping": 30.0},
        _TOWER | {"head_dim": 16, "num_key_value_heads": 2, "patch_size": 16},
    ),
    "ministral3": Architecture(
        "multimodal", model_type="mistral3", text={"model_type": "ministral3", "max_position_embeddings": 262144}, tokens_of="pixtral",
        vision=_TOWER | {"model_type": "pixtral", "head_dim": 16},
    ),
    "smolvlm": _multimodal(
        "smollm3", {"model_type": "llama", "pad_token_id": 2}, _TOWER, scale_factor=2,
        published={"text_config": {"architectures": ["VLlama3ForCausalLM"]}},
    ),
    "internvl": _multimodal(
        "qwen3", {"model_type": "qwen3"}, _TOWER | {"image_size": [56, 56], "patch_size": [14, 14]},
        published={"text_config": {"architectures": ["Qwen3ForCausalLM"]},
                   "vision_config": {"architectures": ["InternVisionModel"]}},
    ),
    "pixtral": Architecture(
        "multimodal", model_type="llava", text={"model_type": "mistral"}, tokens_of="pixtral",
        vision=_TOWER | {"model_type": "pixtral", "head_dim": 16},
        settings={"vision_feature_layer": -1, "vision_feature_select_strategy": "full",
                  "projector_hidden_act": "gelu"},
    ),
    "lfm2_vl": _multimodal(
        "qwen3",
        {"model_type": "lfm2", "block_auto_adjust_ff_dim": False,
         "layer_types": ["conv", "conv", "full_attention", "conv"]},
        _TOWER | {"num_patches": 16, "patch_size": 16, "vision_use_head": False},
        published={"text_config": {"architectures": ["Lfm2ForCausalLM"]}},
    ),
}  # fmt: skip


def list_of_kind(kind: str) -> list[str]:
    """Return the names of the architectures of a kind: dense, hybrid, mixture or multimodal."""
    return [name for name, each in ARCHITECTURES.items() if each.kind == kind]


def write_architecture(name: str, folder: Path, *, seed: int = 1) -> Path:
    """Write a tiny model of an architecture, with a tokenizer and chat template, and return its folder.

    Raises KeyError for an unknown architecture.
    """
    about = ARCHITECTURES[name]
    tiny_model(about.tokens_of, folder)
    tokenizer_config = AutoConfig.from_pretrained(folder)
    config = _make_config(name, about, tokenizer_config)
    loaders = AutoModelForImageTextToText if about.vision else AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = loaders.from_config(config, dtype=torch.float32)
        _spread(model)
        (folder / "model.safetensors").unlink()
        model.to(torch.bfloat16).save_pretrained(folder)
        _publish(folder, about.published)
        if about.vision:
            _add_image_files(name, folder)
        if about.predicts_ahead:
            _add_prediction_block(folder, config)
    return folder


def _make_config(name: str, about: Architecture, of_tokens: Any) -> PreTrainedConfig:
    ids = {
        key: getattr(of_tokens, key)
        for key in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")
    }
    model_type = about.model_type or name
    if not about.vision:
        sizes = {key: value for key, value in _SIZES.items() if key not in about.without}
        return AutoConfig.for_model(model_type, **sizes | ids | about.settings)
    if name != "gemma4":
        ids["vocab_size"] += 32  # room for the tokens of images, which no text has
    text_type = about.text.get("model_type", "")
    text = {key: value for key, value in _SIZES.items() if text_type != "lfm2" or key != "head_dim"}
    if name == "qwen2_5_vl":
        del text["head_dim"]
    text |= ids | about.text
    if name == "gemma4":
        text["vocab_size_per_layer_input"] = ids["vocab_size"]
    return AutoConfig.for_model(
        model_type,
        text_config=text,
        vision_config=about.vision,
        **about.settings,
        **_image_ids(name, ids),
    )


def _spread(model: PreTrainedModel) -> None:
    """Enlarge the weights, so that the layers and the choice of a token matter as in a trained model."""
    head = model.get_output_embeddings()
    embeddings = model.get_input_embeddings()
    with torch.no_grad():
        for module in model.modules():
            if module is not head and module is not embeddings:
                for value in module.parameters(recurse=False):
                    if value.ndim >= 2 and not value.any():
                        value.normal_(std=0.05)  # its class leaves it to the checkpoint
                    elif value.ndim >= 2:
                        value.mul_(3)
        head.weight.mul_(8)


def _image_ids(name: str, ids: dict[str, Any]) -> dict[str, int]:
    """Return IDs for the tokens of images, inside of the tiny vocabulary and beyond the words."""
    if name == "gemma4":  # its tokenizer has them
        return _GEMMA4_IDS
    last = ids["vocab_size"] - 1
    names = {
        "qwen": ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"),
        "gemma3": ("image_token_index", "boi_token_index", "eoi_token_index"),
        "ministral3": ("image_token_index",),
        "pixtral": ("image_token_index",),
    }  # fmt: skip
    key = "qwen" if name.startswith("qwen") else name
    return {each: last - index for index, each in enumerate(names.get(key, ("image_token_id",)))}


def _publish(folder: Path, settings: dict[str, Any]) -> None:
    """Write settings as published files have them; those that they don't have are None."""
    file = folder / "config.json"
    written = json.loads(file.read_text("utf-8"))
    for key, value in settings.items():
        if isinstance(value, dict):
            written[key] |= value
        elif value is None:
            written.pop(key, None)
        else:
            written[key] = value
    file.write_text(json.dumps(written, indent=2), "utf-8")


def _add_image_files(name: str, folder: Path) -> None:
    """Write how images are prepared, and name the weights of the tower as published files do."""
    about = {
        "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "patch_size": 14, "merge_size": 2,
        "temporal_patch_size": 2, "min_pixels": 3136, "max_pixels": 12544,
        "size": {"height": 56, "width": 56, "shortest_edge": 3136, "longest_edge": 12544},
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(about), "utf-8")
    if name in ("gemma3", "lfm2_vl"):
        file = folder / "model.safetensors"
        weights = {
            re.sub(r"(vision_tower\.)(?!vision_model)", r"\1vision_model.", key): value
            for key, value in load_file(file).items()
        }
        save_file(weights, file, metadata={"format": "pt"})


def _add_prediction_block(folder: Path, config: PreTrainedConfig) -> None:
    """Add the block that predicts several tokens ahead, which checkpoints hold and transformers doesn't load."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    text = config.get_text_config()
    index = text.layer_types.index("full_attention")
    layer = f"model.language_model.layers.{index}."
    for name in [name for name in weights if name.startswith(layer)]:
        weights["mtp.layers.0." + name.removeprefix(layer)] = weights[name].clone()
    size = text.hidden_size
    weights["mtp.fc.weight"] = (torch.randn(size, 2 * size) * 0.02).bfloat16()
    for norm in ("norm", "pre_fc_norm_embedding", "pre_fc_norm_hidden"):
        weights[f"mtp.{norm}.weight"] = torch.zeros(size, dtype=torch.bfloat16)
    save_file(weights, file, metadata={"format": "pt"})
