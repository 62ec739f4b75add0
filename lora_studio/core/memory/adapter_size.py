"""Count an adapter's parameters from the widths of the layers alone: fast enough for a moving
slider.

A layer of inputs × outputs gets A (rank × inputs) and B (outputs × rank), Hu et al. 2021; DoRA adds
one magnitude per output (Liu et al. 2024). MiSS has B alone (Kang and Yin 2024). The engine counts everything that depends on more than
widths.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lora_studio.core.lora.spec import LoraSpec, Targets
from lora_studio.core.model.catalog import LinearLayers
from lora_studio.core.protocol.events import ModelInspected, ParametersCounted

_FUSED = re.compile(r"qkv|query_key_value|c_attn", re.IGNORECASE)
_QUERY_VALUE = re.compile(r"(q|v|query|value|wq|wv|q_b)(_proj|_lin)?\Z", re.IGNORECASE)


def count_parameters(model: ModelInspected, lora: LoraSpec) -> ParametersCounted | None:
    """Return the trainable parameters of an adapter on a model; None if only the engine can count
    them, or if nothing would train.

    Not supported: biases, fully trained modules, new tokens, stacked experts, a starting adapter, and a
    selection of blocks in a model whose blocks differ.
    """
    if model.shape is None or lora.bias != "none" or lora.start_from:
        return None
    if lora.modules_to_save or lora.new_tokens:
        return None
    if lora.adapt_experts and model.shape.expert_parameters:
        return None
    layers = _select_layers(model.shape.linear, lora)
    blocks = lora.block_numbers
    if not layers or not _is_plain(model, lora, layers, blocks):
        return None
    ranks, is_miss = lora.rank_pattern, lora.adapter_type == "miss"
    if is_miss and lora.rank > min(layer.inputs for layer in layers):
        return None
    trainable = fixed = 0
    for layer in layers:
        rank, count = ranks.get(layer.name, lora.rank), len(blocks) if blocks else layer.count
        inputs = rank * layer.inputs * count
        trainable += (rank + lora.use_dora) * layer.outputs * count + (0 if is_miss else inputs)
        fixed += inputs if is_miss else 0  # A of the LoRA adapter that a MiSS adapter is saved as
    return ParametersCounted(
        trainable=trainable,
        total=model.parameters + trainable,
        targets=tuple(dict.fromkeys(layer.name for layer in layers)),
        adapter_bytes=4 * (trainable + fixed),
    )


def with_head(model: ModelInspected, outputs: int) -> ModelInspected:
    """Return the model with the head of a reward model or a classifier in the adapter's size.

    The head (`outputs` × `hidden_size` 32-bit values, no bias) trains in full and is saved with the adapter;
    other training has 0 outputs.
    """
    if model.adapter is None or not outputs:
        return model
    values = outputs * model.hidden_size
    adapter = model.adapter.model_copy(
        update={
            "trainable": model.adapter.trainable + values,
            "total": model.adapter.total + values,
            "adapter_bytes": model.adapter.adapter_bytes + 4 * values,
        }
    )
    return model.model_copy(update={"adapter": adapter})


def _select_layers(linear: Sequence[LinearLayers], lora: LoraSpec) -> list[LinearLayers]:
    candidates = [layer for layer in linear if layer.adaptable]
    if lora.targets == "names":
        return [layer for layer in candidates if layer.name in lora.target_names]
    return [layer for layer in candidates if _is_target(layer, lora.targets)]


def _is_target(layer: LinearLayers, targets: Targets) -> bool:
    match targets:
        case "attention_qv":
            queries = _QUERY_VALUE.match(layer.name) or _FUSED.search(layer.name)
            return layer.is_in_attention and bool(queries)
        case "attention":
            return layer.is_in_attention
        case "mlp":
            return not layer.is_in_attention
    return True


def _is_plain(
    model: ModelInspected,
    lora: LoraSpec,
    layers: Sequence[LinearLayers],
    blocks: Sequence[int] | None,
) -> bool:
    """Return whether widths suffice: target names that the layers have, and identical blocks."""
    names = [layer.name for layer in layers]
    if lora.targets == "names" and set(lora.target_names) != set(names):
        return False
    if set(lora.rank_pattern) - set(names):
        return False
    if not blocks:
        return True
    alike = all(layer.count == model.layers for layer in layers)
    return alike and blocks[-1] < model.layers
