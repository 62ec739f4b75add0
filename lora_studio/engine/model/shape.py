"""The shape of a model for the memory estimate, read from its layers without weights."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from lora_studio.core.model.catalog import LinearLayers, ModelShape
from lora_studio.engine.model import capped_attention, loading

#: Layers whose input is the output of the part before them, not the block's normalized input.
_READS_OWN = re.compile(
    r"(^|_)(o|out|down|fc2|w2|dense|c)(_proj|_lin)?$|dense_4h_to_h|fc_out|out_proj|wo$",
    re.IGNORECASE,
)
_FUSED = re.compile(r"qkv|query_key_value|c_attn", re.IGNORECASE)
_GATED = re.compile(r"gate|up_proj|w1$|w3$", re.IGNORECASE)


def get_expert_names(model: torch.nn.Module) -> list[str]:
    """Return the names of parameters that stack the weights of all experts in 3 dimensions."""
    return [
        f"{path}.{name}"
        for path, module in model.named_modules()
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.dim() == 3
        and ("expert" in path or "expert" in type(module).__name__.lower())
        and not isinstance(module, torch.nn.Conv1d)
    ]


def get_model_shape(model: PreTrainedModel, adaptable: Container[str] | None = None) -> ModelShape:
    """Return the shape of a model; its layers may be on the meta device.

    `adaptable` are the names of the linear layers that can have an adapter; None: all.
    """
    config = model.config.get_text_config()
    heads = int(_get_first(config, ("num_attention_heads", "n_head"), 1))
    head_size = int(_get_first(config, ("head_dim",), 0) or config.hidden_size // heads)
    kv_heads = int(_get_first(config, ("num_key_value_heads",), 0) or heads)
    experts = [model.get_parameter(name) for name in get_expert_names(model)]
    layers = _group_linear_layers(model, adaptable)
    dense = [layer for layer in layers if ".mlp" in layer.reads or "feed" in layer.reads]
    inner = max((max(layer.inputs, layer.outputs) for layer in dense), default=0)
    fused = any("gate_up" in layer.name for layer in dense)
    return ModelShape(
        intermediate_size=inner // 2 if fused else inner,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        norm_width=_get_norm_width(model, heads * head_size, kv_heads * head_size, head_size),
        plain_norms=any(hasattr(module, "variance_epsilon") for module in model.modules()),
        gated=any(_GATED.search(layer.name) for layer in dense),
        plain_gates=any(_is_plainly_gated(module) for module in model.modules()),
        fused_attention=any(_FUSED.search(layer.name) for layer in layers),
        caps_scores=capped_attention.has_capped_scores(config),
        caps_logits=bool(getattr(config, "final_logit_softcapping", None)),
        tied=_is_tied(model),
        experts=int(
            _get_first(config, ("num_local_experts", "num_experts", "n_routed_experts"), 0)
        ),
        experts_per_token=int(_get_first(config, ("num_experts_per_tok",), 0)) if experts else 0,
        expert_size=int(_get_first(config, ("moe_intermediate_size", "intermediate_size"), 0))
        if experts
        else 0,
        expert_parameters=sum(parameter.numel() for parameter in experts),
        linear=tuple(layers),
    )


def _is_plainly_gated(module: torch.nn.Module) -> bool:
    """Return whether it is a gated layer like Llama's, which trains on both inner results alone."""
    has_parts = all(hasattr(module, f"{name}_proj") for name in ("gate", "up", "down"))
    return has_parts and "silu" in type(getattr(module, "act_fn", None)).__name__.lower()


def _is_tied(model: PreTrainedModel) -> bool:
    """Return whether the head is the embedding; a decoder's own configuration may not say so."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    weights = [getattr(end, "weight", None) for end in ends]
    return weights[0] is not None and weights[0] is weights[1]


def _get_first(config: Any, names: tuple[str, ...], default: Any) -> Any:
    values = (_get_setting(config, name) for name in names)
    return next((value for value in values if value is not None), default)


def _get_setting(config: Any, name: str) -> Any:
    """Return a setting of a configuration, None without it; the mean where layers have different ones."""
    try:
        return getattr(config, name, None)
    except RuntimeError:  # transformers refuses one value for all
        values = [getattr(layer, name, None) for layer in config.per_layer_config]
        numbers = [value for value in values if value is not None]
        return round(sum(numbers) / len(numbers)) if numbers else None


def _group_linear_layers(
    model: PreTrainedModel, adaptable: Container[str] | None
) -> list[LinearLayers]:
    """Return the linear layers of the blocks, with the same name and widths grouped."""
    counts: dict[tuple[str, int, int, str, bool], int] = {}
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear | Conv1D) or loading.is_head(model, name, module):
            continue
        inputs, outputs = (
            module.weight.shape if isinstance(module, Conv1D) else reversed(module.weight.shape)
        )
        parent, _, last = name.rpartition(".")
        group = re.sub(r"\.\d+", "", f".{parent}")
        reads = f"{group}.{last}" if _READS_OWN.search(last) else group
        key = last, int(inputs), int(outputs), reads, adaptable is None or name in adaptable
        counts[key] = counts.get(key, 0) + 1
    return [
        LinearLayers(
            name=name, inputs=inputs, outputs=outputs, count=count, reads=reads, adaptable=can_adapt
        )
        for (name, inputs, outputs, reads, can_adapt), count in counts.items()
    ]


def _get_norm_width(model: PreTrainedModel, queries: int, keys: int, head: int) -> int:
    """Return how many numbers per token the norms of an average block work on."""
    layers = max(1, int(model.config.get_text_config().num_hidden_layers))
    total = 0
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if "norm" not in type(module).__name__.lower() or weight is None:
            continue
        last = name.rpartition(".")[2]
        if weight.numel() == head and last.startswith(("q", "k")):
            total += queries if last.startswith("q") else keys
        elif re.search(r"\.\d+\.", name):
            total += weight.numel()
    return total // layers
