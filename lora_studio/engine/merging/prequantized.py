"""Dequantize a base model that is available only quantized with bitsandbytes."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lora_studio.core.messages import text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.protocol import events
from lora_studio.engine.merging.model_files import read_config
from lora_studio.engine.merging.weight_sources import WeightSource
from lora_studio.engine.model import safetensors_files
from lora_studio.engine.model.safetensors_files import StoredTensor
from lora_studio.engine.runtime.channel import JobContext

_METHOD = "bitsandbytes"
_SUFFIX = re.compile(r"-(unsloth-)?bnb-(4|8)bit\Z", re.IGNORECASE)


@dataclass(frozen=True)
class PackedWeight:
    """A weight stored in 4 or 8 bits and read in 16.

    `parts` are the packed values and their metadata, by the suffix after the weight's own name.
    """

    name: str
    parts: tuple[tuple[str, StoredTensor], ...]
    shape: tuple[int, ...]
    dtype: str

    @property
    def floating(self) -> bool:
        """Return True: the dequantized values are floating-point numbers."""
        return True

    @property
    def length(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def read_rows(self, first: int, last: int) -> torch.Tensor:
        """Return a copy of some rows.

        The whole tensor is dequantized once and cached until the next one, because blocks of the
        quantization don't end where rows do.
        """
        return _unpack(self)[first:last].clone()


def unpack_tensors(base: Path, tensors: dict[str, StoredTensor]) -> Mapping[str, WeightSource]:
    """Return the tensors of a model, packed ones in 16 bits; raises ProblemError for other formats."""
    settings = _read_settings(base)
    if not settings:
        return tensors
    if settings.get("quant_method") != _METHOD:
        raise fail(
            "merging.quantized_base",
            "The base model is quantized with {method}, and adapters can't be merged into it.",
            "Choose the original 16-bit model as the base of the merge.",
            where=Where(step="model", field="source", file=str(base)),
            method=str(settings.get("quant_method")),
        )
    sources: dict[str, WeightSource] = {}
    parts_by_weight: dict[str, dict[str, StoredTensor]] = {}
    for name, tensor in tensors.items():
        module, of_weight, part = name.partition(".weight.")
        if of_weight:
            parts_by_weight.setdefault(f"{module}.weight", {})[part] = tensor
    for name, tensor in tensors.items():
        if name.endswith(".weight"):
            parts = parts_by_weight.get(name, {})
            scale = tensors.get(name.removesuffix("weight") + "SCB")
            if scale is not None:
                parts = {"SCB": scale}
            sources[name] = _create_packed(base, name, tensor, parts) if parts else tensor
        elif not name.endswith((".SCB", ".weight_format")) and ".weight." not in name:
            sources[name] = tensor
    return sources


def dequantization_warning(base: Path) -> Problem | None:
    """Return a warning that merging into this base loses precision; None when it doesn't."""
    if not _read_settings(base):
        return None
    return warning(
        "merging.dequantized_base",
        "The base model is quantized with bitsandbytes. It is dequantized to 16 bits, and the "
        "precision lost in quantization is not recovered.",
        "For a better merged model, choose the original 16-bit model as the base.",
        where=Where(step="model", field="source", file=str(base)),
    )


def measure_rounding(weights: torch.Tensor, spec: ModelSpec) -> float:
    """Return Σ (w₄ − w)² for the weights as training had them, in 4 bits."""
    from bitsandbytes import functional

    packed, state = functional.quantize_4bit(
        weights.contiguous(),
        quant_type=spec.quant_type,
        blocksize=64,
        compress_statistics=spec.double_quant,
    )
    return float(((functional.dequantize_4bit(packed, state) - weights) ** 2).sum(dtype=torch.float64))  # fmt: skip


def other_precision_warning(share: float, tensors: int) -> Problem:
    """Return the warning for an adapter that was trained on 4-bit weights and is merged into 16-bit ones."""
    return warning(
        "merging.other_precision",
        "The adapter was trained on the base model in 4 bits, and is merged into its 16-bit weights. Both differ by "
        "{share:percent} of the adapter's update, measured on rows of {tensors} tensors, so answers can change.",
        "The self-test measures how much. If it is too much, train in 16 bits, or on a model that is stored in "
        "4 bits: merged into that, the weights stay as they were in training.",
        where=Where(step="merging", field="base"),
        share=share,
        tensors=tensors,
    )


def find_original(base: Path, spec: ModelSpec, job: JobContext) -> Path:
    """Return the 16-bit original of a quantized base if it is in the Hub's cache, else the base.

    The Hub names quantized versions after the original with a suffix; shapes must agree as well.
    """
    if not _read_settings(base) or spec.kind != "hub":
        return base
    name = _SUFFIX.sub("", spec.source)
    if name == spec.source:
        return base
    from huggingface_hub import try_to_load_from_cache

    config_file = try_to_load_from_cache(name, "config.json")
    if not isinstance(config_file, str):
        return base
    folder = Path(config_file).parent
    try:
        original = safetensors_files.read_index(folder, job.check)
    except ProblemError:
        return base  # only its small files are cached
    packed = unpack_tensors(base, safetensors_files.read_index(base, job.check))
    shapes = {key: value.shape for key, value in original.items()}
    if _read_settings(folder) or any(
        shapes.get(key) != value.shape for key, value in packed.items()
    ):
        return base
    job.emit(events.Log(text=text("Merging into the cached 16-bit original: {name}.", name=name)))
    return folder


def _read_settings(base: Path) -> dict[str, Any]:
    settings: dict[str, Any] = read_config(base).get("quantization_config") or {}
    return settings


def _create_packed(
    base: Path, name: str, tensor: StoredTensor, parts: dict[str, StoredTensor]
) -> PackedWeight:
    stored = (("", tensor), *parts.items())
    if "SCB" in parts:  # only the model's settings tell what it was before
        config = read_config(base)
        before = config.get("dtype") or config.get("torch_dtype") or "float16"
        return PackedWeight(name, stored, tensor.shape, _get_dtype(str(before)))
    state = _read_state(parts)
    return PackedWeight(name, stored, tuple(state["shape"]), _get_dtype(state["dtype"]))


def _read_state(parts: dict[str, StoredTensor]) -> dict[str, Any]:
    """Return shape and data type of a 4-bit weight, stored as JSON in a tensor of bytes."""
    stored = next(value for key, value in parts.items() if key.startswith("quant_state."))
    state: dict[str, Any] = json.loads(bytes(stored.read().tolist()))
    return state


def _get_dtype(name: str) -> str:
    return safetensors_files.get_format_name(getattr(torch, name))


@functools.lru_cache(maxsize=1)
def _unpack(packed: PackedWeight) -> torch.Tensor:
    """Return the weight as bitsandbytes computes it: from 4 bits in 16, from 8 bits in 32."""
    from bitsandbytes import functional

    parts = {key: stored.read() for key, stored in packed.parts}
    values = parts.pop("")
    if "SCB" in parts:
        # One scale for each row: w = q · s / 127 (Dettmers et al. 2022, LLM.int8()).
        return functional.int8_vectorwise_dequant(values, parts["SCB"].float())
    state = functional.QuantState.from_dict(parts, device=torch.device("cpu"))
    return functional.dequantize_4bit(values, state)
