"""MiSS adapters: PEFT trains them, and they are saved as the LoRA adapter that is the same update.

MiSS (Kang and Yin 2024) cuts the inputs of a linear layer into shards of `rank` values that share one
trained matrix D [rank, out], zero at first:

    y = W x + Dᵀ S x,   S [rank, in] with S[i, j] = 1 where j mod rank = i, else 0

S x is the sum of the shards. The update Dᵀ S is that of LoRA with A = S, B = Dᵀ, and a scale of 1, without any
rounding. Everything that reads LoRA adapters can therefore use it: merging, mixing, GGUF, vLLM, PEFT.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import torch
from peft.tuners.miss import MissLayer
from safetensors.torch import load_file, save_file

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.problems import Where, fail
from lora_studio.core.system.files import name_newest_file
from lora_studio.core.system.foreign_files import name_file

_WEIGHTS = "adapter_model.safetensors"
_PREFIX, _SUFFIX = "base_model.model.", ".miss_block"

#: Settings that both of PEFT's configurations have, with the same meaning.
_SHARED = (
    "task_type", "base_model_name_or_path", "revision", "inference_mode", "target_modules",
    "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save",
)  # fmt: skip


def create_config(
    spec: LoraSpec, layers: dict[str, torch.nn.Module], **shared: Any
) -> peft.MissConfig:
    """Return PEFT's settings for these layers; `shared` are those that LoRA has as well.

    Raises ProblemError for a layer that MiSS can't adapt.
    """
    for name, layer in layers.items():
        if not isinstance(layer, torch.nn.Linear):
            raise fail(
                "lora.miss_not_linear",
                "MiSS can't adapt {name}: it isn't a plain linear layer.",
                "Choose LoRA as the adapter type, or other target modules.",
                where=Where(step="lora", field="adapter_type"),
                name=name,
            )
        if spec.rank > layer.in_features:
            raise fail(
                "lora.miss_rank_too_high",
                "The rank {rank:d} is too high for MiSS: {name} has only {inputs:d} inputs.",
                "Choose a rank of at most {inputs:d}.",
                where=Where(step="lora", field="rank"),
                rank=spec.rank,
                name=name,
                inputs=layer.in_features,
            )
    return peft.MissConfig(r=spec.rank, miss_dropout=spec.dropout, **shared)


def is_miss(model: peft.PeftModel) -> bool:
    """Return whether the adapter that trains is a MiSS adapter."""
    return isinstance(model.peft_config["default"], peft.MissConfig)


def count_saved_values(model: torch.nn.Module) -> int:
    """Return how many values the file has beyond those that train: the matrices S."""
    return sum(
        layer.miss_r["default"] * layer.in_features
        for layer in model.modules()
        if isinstance(layer, MissLayer) and "default" in layer.miss_r
    )


def convert_to_lora(folder: Path, model: peft.PeftModel) -> None:
    """Replace a MiSS adapter on disk by the LoRA adapter that is the same update of `model`."""
    layers = dict(model.get_base_model().named_modules())
    state: dict[str, torch.Tensor] = {}
    for name, value in load_file(folder / _WEIGHTS).items():
        if not name.endswith(_SUFFIX):
            state[name] = value
            continue
        module = name.removesuffix(_SUFFIX)
        inputs = layers[module.removeprefix(_PREFIX)].in_features
        state[f"{module}.lora_A.weight"] = build_shard_sum(len(value), inputs).to(value)
        state[f"{module}.lora_B.weight"] = value.T.contiguous()
    with name_file(folder / _WEIGHTS):
        save_file(state, folder / _WEIGHTS, metadata={"format": "pt"})
    config = model.peft_config["default"]
    shared = {name: getattr(config, name) for name in _SHARED}
    lora = peft.LoraConfig(
        r=config.r, lora_alpha=config.r, lora_dropout=config.miss_dropout, **shared
    )
    lora.inference_mode = True  # as PEFT saves every adapter
    with name_newest_file(folder):
        lora.save_pretrained(str(folder))


def build_shard_sum(rank: int, inputs: int) -> torch.Tensor:
    """Return S [rank, inputs], which adds up the shards; the last one may be shorter."""
    return torch.eye(rank).repeat(1, -(-inputs // rank))[:, :inputs].contiguous()
