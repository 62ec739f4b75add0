"""Initial adapters that take a part out of the base weights, and how the trained ones are saved.

PiSSA (Meng et al. 2024), OLoRA (Büyükakyüz 2024) and LoftQ (Li et al. 2023) start with an update B₀A₀
that is subtracted from the base: W = W′ + s·B₀A₀; for LoftQ approximately, with W′ the 4-bit weights.
The trained update is s·(BA − B₀A₀) = s·[B | −B₀]·[A ; A₀], an adapter of twice the rank for the
original base weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import peft
import torch
from peft.tuners.lora import LoraLayer
from peft.utils.other import transpose
from safetensors.torch import load_file, save_file

from lora_studio.core.messages import text
from lora_studio.core.problems import Where, fail
from lora_studio.core.system.files import create_folder_atomic, name_newest_file, write_file
from lora_studio.core.system.foreign_files import name_file, read_json
from lora_studio.engine.lora import adapter_weights
from lora_studio.engine.model import safetensors_files
from lora_studio.engine.runtime.channel import JobContext

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_FIELD = Where(step="lora", field="init")

#: Passes of the randomized decomposition (Halko et al. 2011): the spectrum of rounding errors is flat.
_PASSES = 8

#: PEFT's name for PiSSA by a randomized decomposition of 16 iterations: seconds instead of tens of minutes for
#: a model of 7B, and by its documentation about as good to train.
ITERATIVE_PISSA = "pissa_niter_16"


def save_initial_adapter(model: peft.PeftModel, folder: Path) -> None:
    """Save the initial adapter into a folder, which is written completely or not at all."""
    config = model.peft_config["default"]
    init, config.init_lora_weights = config.init_lora_weights, True
    with create_folder_atomic(folder) as target, name_newest_file(target):
        model.save_pretrained(str(target), save_embedding_layers=False)
    config.init_lora_weights = init


@torch.no_grad()
def subtract_from_base(model: peft.PeftModel, folder: Path) -> None:
    """Set a new adapter to a saved initial one, and subtract that from the base weights as PEFT did."""
    adapter_weights.load_adapter_weights(model, peft.load_peft_weights(str(folder), device="cpu"))
    for _, layer in iter_lora_layers(model):
        base, dtype = layer.get_base_layer(), layer.get_base_layer().weight.dtype
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        weight = transpose(base.weight.to(torch.float32), layer.fan_in_fan_out)
        rest = weight - layer.scaling["default"] * b @ a
        base.weight.data = transpose(rest.to(dtype), layer.fan_in_fan_out)
    model.peft_config["default"].init_lora_weights = ITERATIVE_PISSA


def subtract_initial_adapter(folder: Path, initial: Path) -> None:
    """Convert an adapter on disk to one for the original base: of twice the rank, at the same scale."""
    state, before = load_file(folder / _WEIGHTS), load_file(initial / _WEIGHTS)
    for name, value in state.items():
        if "lora_A" in name or "lora_embedding_A" in name:
            state[name] = torch.cat([value, before[name].to(value)], 0)
        elif "lora_B" in name or "lora_embedding_B" in name:
            state[name] = torch.cat([value, -before[name].to(value)], 1)
    with name_file(folder / _WEIGHTS):
        save_file(state, folder / _WEIGHTS, metadata={"format": "pt"})
    config = read_json(folder / _CONFIG)
    # The scale is alpha / rank, or alpha / √rank with rsLoRA.
    factor = 2**0.5 if config["use_rslora"] else 2
    config["r"] *= 2
    config["lora_alpha"] *= factor
    config["rank_pattern"] = {key: 2 * rank for key, rank in config["rank_pattern"].items()}
    config["alpha_pattern"] = {
        key: factor * value for key, value in config["alpha_pattern"].items()
    }
    config["init_lora_weights"] = True
    write_file(folder / _CONFIG, json.dumps(config, indent=2))


def iter_lora_layers(model: peft.PeftModel) -> Iterator[tuple[str, LoraLayer]]:
    """Yield the adapted linear layers by their name in the base model."""
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer) and "default" in module.lora_A:
            yield name, module


# --- LoftQ ------------------------------------------------------------------------------------


@torch.no_grad()
def initialize_loftq(model: peft.PeftModel, folder: Path, job: JobContext) -> None:
    """Run LoftQ with one step: s·B·A becomes the best approximation of W − Q at its rank.

    `folder` holds the weights W before quantization to Q. Computed in 32-bit on the CPU, so that a
    resumed training gets the same values. Raises ProblemError where W is missing.
    """
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    stored = safetensors_files.read_index(folder, job.check)
    layers = [
        pair for pair in iter_lora_layers(model) if isinstance(pair[1].get_base_layer(), Linear4bit)
    ]
    if not layers:
        raise fail(
            "lora.loftq_needs_4bit",
            "LoftQ needs 4-bit weights, and no adapted layer has them.",
            "Choose 4-bit precision or the default initialization.",
            where=_FIELD,
        )
    for done, (name, layer) in enumerate(layers):
        job.report_progress(text("computing initial values"), done, len(layers), "layers")
        packed = layer.get_base_layer().weight
        original = stored.get(f"{name}.weight")
        if original is None or tuple(original.shape) != tuple(packed.quant_state.shape):
            raise fail(
                "lora.loftq_without_weights",
                "LoftQ needs the original weights of {name}, which the model's files don't contain.",
                "Choose the default initialization, or a model that isn't stored quantized.",
                where=_FIELD,
                name=name,
            )
        rounded = dequantize_4bit(packed.data, packed.quant_state).float().cpu()
        _set_leading_directions(layer, original.read().float() - rounded)


def _set_leading_directions(layer: LoraLayer, target: torch.Tensor) -> None:
    """Set A = √S·Vᵀ and B = U·√S / s from the leading singular vectors of `target` [out, in]."""
    rank, scale = layer.r["default"], layer.scaling["default"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        size = min(2 * rank, *target.shape)
        left, values, right = torch.svd_lowrank(target, q=size, niter=_PASSES)
    root = values[:rank].sqrt()
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    a.copy_((right[:, :rank] * root).T)
    b.copy_(left[:, :rank] * root / scale)
