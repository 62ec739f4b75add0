"""Estimate whether training a listed model would fit a device, before anything is downloaded."""

from __future__ import annotations

import bisect
import math
import re
from dataclasses import dataclass, replace

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.memory import adapter_size, advice
from lora_studio.core.memory.estimate import estimate
from lora_studio.core.memory.plan import FitSettings, MemoryPlan
from lora_studio.core.memory.rows import RowStatistics
from lora_studio.core.model.catalog import LinearLayers, ModelEntry, ModelOutline, ModelShape
from lora_studio.core.model.spec import ModelSpec, Precision
from lora_studio.core.protocol.events import Device, ModelInspected
from lora_studio.core.training.spec import TrainingSpec

#: Parameters, layers and width of well-known decoders: typical dimensions for a model of which only
#: the size is known.
_USUAL = (
    (135_000_000, 30, 576), (500_000_000, 24, 896), (1_240_000_000, 16, 2048),
    (3_210_000_000, 28, 3072), (8_030_000_000, 32, 4096), (14_800_000_000, 48, 5120),
    (32_800_000_000, 64, 5120), (70_600_000_000, 80, 8192), (405_000_000_000, 126, 16384),
)  # fmt: skip
_VOCABULARY = 128_256

#: Models below this size usually tie the input and output embeddings.
_TIED_BELOW = 4_000_000_000

#: Architectures of mixtures of experts. A model on the Hub has no further description in a list.
_MIXTURE = re.compile(
    r"moe|mixtral|qwen3_?next|gpt.?oss|deepseek_?v?[23]|llama.?4|dbrx|jamba", re.IGNORECASE
)

#: Precisions to try, the best first.
_TRIED: tuple[Precision, ...] = ("auto", "8bit", "4bit")


@dataclass(frozen=True)
class ModelFit:
    """Bytes that training needs at `precision`, and bytes that the device has free.

    `precision` is the most exact one that fits, or else 4-bit. `eased`: with micro-batches of one
    row and recomputed activations, which is also the engine's fallback.
    """

    precision: Precision
    needed: int
    available: int
    eased: bool = False

    @property
    def fits(self) -> bool:
        """Whether the total fits in memory."""
        return self.needed <= self.available

    @property
    def share(self) -> float:
        """Needed memory divided by available memory; above 1 if it does not fit."""
        return self.needed / self.available if self.available else math.inf


def build_default_settings(device: Device) -> FitSettings:
    """Return the default settings, with rows of the maximum sequence length."""
    from lora_studio.core.dataset.spec import DatasetSpec

    limit = DatasetSpec().max_length
    rows = RowStatistics(heaviest={1: (limit,)}, longest=limit)
    return FitSettings(ModelSpec(), LoraSpec(), TrainingSpec(), rows, limit, device)


def estimate_fit(entry: ModelEntry, settings: FitSettings) -> ModelFit | None:
    """Return whether training on a model fits; None if its size is unknown."""
    inspected = resolve_outline(entry)
    if inspected is None:
        return None
    result = None
    for precision in _TRIED:
        if precision != "auto" and inspected.prequantized:
            break
        model = settings.model.model_copy(update={"precision": precision})
        sized = inspected.model_copy(
            update={"adapter": adapter_size.count_parameters(inspected, settings.lora)}
        )
        outputs = settings.training.count_head_outputs(settings.rows.task, settings.rows.labels)
        sized = adapter_size.with_head(sized, outputs)
        plan = MemoryPlan(**vars(settings) | {"model": model}, inspected=sized)
        for candidate in (plan, with_least_memory(plan)):
            needed = estimate(candidate).total
            result = ModelFit(precision, needed, settings.device.free_bytes, candidate is not plan)
            if result.fits:
                return result
    return result


def with_least_memory(plan: MemoryPlan) -> MemoryPlan:
    """Return the recipe with the same effective batch and the least memory."""
    least = advice.with_micro_batch(plan, 1)
    recomputing = least.training.model_copy(update={"gradient_checkpointing": "on"})
    return replace(least, training=recomputing)


def resolve_outline(entry: ModelEntry) -> ModelInspected | None:
    """Return the model's dimensions for the estimate: those in its configuration, or those typical
    for its size; None without a size.
    """
    parameters = entry.parameters
    outline = _complete_outline(entry.outline, parameters)
    if not parameters or not outline.hidden_size:
        return None
    shape = _build_llama_shape(outline)
    if _MIXTURE.search(entry.architecture):
        shape = _stack_experts(shape, parameters - 2 * outline.vocabulary * outline.hidden_size)
    shape = _limit_shape(shape, parameters)
    return ModelInspected(
        source=entry.source,
        folder="",
        architecture=entry.architecture,
        parameters=parameters,
        layers=outline.layers,
        hidden_size=outline.hidden_size,
        vocabulary=outline.vocabulary,
        context=outline.context or None,
        stored_dtype=entry.stored,
        license=entry.license or None,
        has_chat_template=True,
        prequantized=_find_packed_precision(entry),
        weight_bytes={},
        linear_names=tuple(layer.name for layer in shape.linear),
        shape=shape,
    )


def get_fit_sort_key(result: ModelFit | None) -> int:
    """Return a sort key: models that fit, then those that don't, then unknown ones."""
    return 2 if result is None else 0 if result.fits else 1


def _find_packed_precision(entry: ModelEntry) -> str | None:
    """Return the quantized precision that training keeps; a GGUF file is dequantized to 16-bit."""
    if entry.source.lower().endswith(".gguf") or entry.location == "ollama":
        return None
    for bits in ("4", "8"):
        if entry.stored.startswith(f"{bits}-bit"):
            return f"{bits}bit"
    return "4bit" if entry.stored == "bitsandbytes" else None


def _complete_outline(outline: ModelOutline, parameters: int | None) -> ModelOutline:
    if outline.hidden_size and outline.layers:
        return outline.model_copy(
            update={
                "intermediate_size": outline.intermediate_size or 4 * outline.hidden_size,
                "heads": outline.heads or max(1, outline.hidden_size // 128),
                "kv_heads": outline.kv_heads or outline.heads or 1,
                "vocabulary": outline.vocabulary or _VOCABULARY,
            }
        )
    if not parameters:
        return outline
    sizes = [size for size, _, _ in _USUAL]
    index = min(bisect.bisect_left(sizes, parameters), len(_USUAL) - 1)
    size, layers, width = _USUAL[index]
    # Interpolate: layers and width both grow with about the cube root of the size.
    scale = (parameters / size) ** (1 / 3)
    width = max(64, round(width * scale / 64) * 64)
    layers = max(1, round(layers * scale))
    heads, kv_heads = max(1, width // 128), max(1, width // 512)
    # The parameters that remain after embeddings and attention are the gated MLP's: three matrices
    # per layer.
    embeddings = _VOCABULARY * width * (1 if parameters < _TIED_BELOW else 2)
    attention = layers * 2 * width * (width + width * kv_heads // heads)
    inner = (parameters - embeddings - attention) // (3 * layers * width)
    return ModelOutline(
        layers=layers,
        hidden_size=width,
        intermediate_size=max(width, inner),
        heads=heads,
        kv_heads=kv_heads,
        vocabulary=_VOCABULARY,
    )


def _build_llama_shape(known: ModelOutline) -> ModelShape:
    """Return a block shaped like Llama's: q, k, v, o and a gated MLP (Touvron et al. 2023)."""
    head = known.hidden_size // known.heads if known.heads else known.hidden_size
    width, inner, keys = known.hidden_size, known.intermediate_size, known.kv_heads * head
    attention, mlp = ".model.layers.self_attn", ".model.layers.mlp"
    widths = (
        ("q_proj", width, width, attention), ("k_proj", width, keys, attention),
        ("v_proj", width, keys, attention), ("o_proj", width, width, f"{attention}.o_proj"),
        ("gate_proj", width, inner, mlp), ("up_proj", width, inner, mlp),
        ("down_proj", inner, width, f"{mlp}.down_proj"),
    )  # fmt: skip
    return ModelShape(
        intermediate_size=inner,
        heads=known.heads,
        kv_heads=known.kv_heads,
        head_size=head,
        norm_width=2 * width,
        plain_gates=True,
        linear=tuple(
            LinearLayers(name=name, inputs=i, outputs=o, count=known.layers, reads=reads)
            for name, i, o, reads in widths
        ),
    )


def _stack_experts(shape: ModelShape, parameters: int) -> ModelShape:
    """Return the shape with all of a block's weights but those of attention in stacked experts.

    transformers has a tensor for all experts of a block, which bitsandbytes doesn't quantize. `parameters` are
    those of all blocks.
    """
    attention = tuple(layer for layer in shape.linear if layer.is_in_attention)
    experts = max(0, parameters - sum(layer.parameters for layer in attention))
    return shape.model_copy(update={"linear": attention, "expert_parameters": experts})


def _limit_shape(shape: ModelShape, parameters: int) -> ModelShape:
    """Return the shape with no more weights in its layers than the model has in total."""
    total = sum(layer.parameters for layer in shape.linear)
    if total <= parameters:
        return shape
    fewer = tuple(
        layer.model_copy(update={"outputs": max(1, layer.outputs * parameters // total)})
        for layer in shape.linear
    )
    return shape.model_copy(update={"linear": fewer})
