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
from typing import Any

import peft
import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.miss import MissLayer
from peft.utils.other import transpose
from safetensors.torch import load_file, save_file

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.messages import text
from lora_studio.core.problems import Where, fail
from lora_studio.core.system.files import create_folder_atomic, name_newest_file, write_file
from lora_studio.core.system.foreign_files import name_file, read_json
from lora_studio.engine.lora import adapter_weights
from lora_studio.engine.lora.adapter_files import CONFIG, PREFIX, WEIGHTS
from lora_studio.engine.model import safetensors_files
from lora_studio.engine.runtime.channel import JobContext

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
    state, before = load_file(folder / WEIGHTS), load_file(initial / WEIGHTS)
    for name, value in state.items():
        if "lora_A" in name or "lora_embedding_A" in name:
            state[name] = torch.cat([value, before[name].to(value)], 0)
        elif "lora_B" in name or "lora_embedding_B" in name:
            state[name] = torch.cat([value, -before[name].to(value)], 1)
    with name_file(folder / WEIGHTS):
        save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    config = read_json(folder / CONFIG)
    # The scale is alpha / rank, or alpha / √rank with rsLoRA.
    factor = 2**0.5 if config["use_rslora"] else 2
    config["r"] *= 2
    config["lora_alpha"] *= factor
    config["rank_pattern"] = {key: 2 * rank for key, rank in config["rank_pattern"].items()}
    config["alpha_pattern"] = {
        key: factor * value for key, value in config["alpha_pattern"].items()
    }
    config["init_lora_weights"] = True
    write_file(folder / CONFIG, json.dumps(config, indent=2))


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


# MiSS adapters: PEFT trains them, and they are saved as the LoRA adapter that is the same update.
#
# MiSS (Kang and Yin 2024) cuts the inputs of a linear layer into shards of `rank` values that share one
# trained matrix D [rank, out], zero at first:
#
# y = W x + Dᵀ S x,   S [rank, in] with S[i, j] = 1 where j mod rank = i, else 0
#
# S x is the sum of the shards. The update Dᵀ S is that of LoRA with A = S, B = Dᵀ, and a scale of 1, without any
# rounding. Everything that reads LoRA adapters can therefore use it: merging, mixing, GGUF, vLLM, PEFT.

_LORA_WEIGHTS = "adapter_model.safetensors"
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
    for name, value in load_file(folder / _LORA_WEIGHTS).items():
        if not name.endswith(_SUFFIX):
            state[name] = value
            continue
        module = name.removesuffix(_SUFFIX)
        inputs = layers[module.removeprefix(_PREFIX)].in_features
        state[f"{module}.lora_A.weight"] = build_shard_sum(len(value), inputs).to(value)
        state[f"{module}.lora_B.weight"] = value.T.contiguous()
    with name_file(folder / _LORA_WEIGHTS):
        save_file(state, folder / _LORA_WEIGHTS, metadata={"format": "pt"})
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


def is_feature_extraction(model: peft.PeftModel) -> bool:
    """Return whether an adapter is saved for a model without its output layer."""
    return bool(model.peft_config["default"].task_type == peft.TaskType.FEATURE_EXTRACTION)


def remove_output_layer(folder: Path, model: peft.PeftModel) -> None:
    """Rename the weights of a saved adapter, so that PEFT loads them into transformers' `AutoModel`.

    In a model with an output layer, the transformer is a part of it, such as `model`; `AutoModel` is that
    part alone.
    """
    part = _get_part(model)
    state = {
        PREFIX + name.removeprefix(PREFIX).removeprefix(part): value
        for name, value in load_file(folder / WEIGHTS).items()
    }
    with name_file(folder / WEIGHTS):
        save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    config = read_json(folder / CONFIG)
    write_file(folder / CONFIG, json.dumps(config | shorten_names(config, model), indent=2))


def shorten_names(config: dict[str, Any], model: peft.PeftModel) -> dict[str, Any]:
    """Return the entries of PEFT's settings that name modules, as they are named in `AutoModel`.

    If only some blocks have the adapter, its modules are listed one by one: PEFT finds the number of a block
    only behind the name of a part such as `model`.
    """
    part, changed = _get_part(model), dict[str, Any]()
    for name in ("rank_pattern", "alpha_pattern"):
        changed[name] = {
            _shorten(key, part): value for key, value in (config.get(name) or {}).items()
        }
    for name in ("target_modules", "exclude_modules", "modules_to_save", "target_parameters"):
        changed[name] = _shorten_all(config.get(name), part)
    if config.get("layers_to_transform") is not None:
        names = sorted(_shorten(name, part) for name in model.base_model.targeted_module_names)
        changed |= {"target_modules": names, "layers_to_transform": None, "layers_pattern": None}
    return changed


def _get_part(model: peft.PeftModel) -> str:
    """Return the beginning of the names of the transformer's modules in a model with an output layer."""
    return f"{model.get_base_model().base_model_prefix}."


def _shorten_all(names: Any, part: str) -> Any:
    if isinstance(names, str):
        return _shorten(names, part)
    return [_shorten(name, part) for name in names] if isinstance(names, list) else names


def _shorten(name: str, part: str) -> str:
    """Return a module's name or a pattern of names without the part at its beginning."""
    for beginning in (part, part.replace(".", r"\.")):
        name = name.removeprefix(beginning)
    return name
