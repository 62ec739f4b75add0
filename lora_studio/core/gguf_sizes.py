"""Estimate the size of a GGUF file from the dimensions of its model, until the quantizer has computed it."""

from __future__ import annotations

from lora_studio.core.export import BITS_PER_WEIGHT, QUANTIZATIONS, Quantization
from lora_studio.core.model.catalog import LinearLayers
from lora_studio.core.protocol.events import ModelInspected

#: Bits per weight of llama.cpp's types, with the scales of their blocks (ggml-common.h).
_BITS: dict[str, float] = {
    "F32": 32, "BF16": 16, "F16": 16, "Q8_0": 8.5, "Q6_K": 6.5625, "Q5_1": 6, "Q5_K": 5.5, "Q5_0": 5.5, "Q4_1": 5,
    "Q4_K": 4.5, "Q4_0": 4.5, "IQ4_NL": 4.5, "IQ4_XS": 4.25, "Q3_K": 3.4375, "IQ3_S": 3.4375, "IQ3_XXS": 3.0625,
    "Q2_K": 2.625, "IQ2_S": 2.5625, "IQ2_XS": 2.3125, "Q2_0": 2.25, "IQ2_XXS": 2.0625, "TQ2_0": 2.0625,
    "IQ1_M": 1.75, "TQ1_0": 1.6875, "IQ1_S": 1.5625, "Q1_0": 1.125,
}  # fmt: skip

#: The type of most weights where the name of the quantization doesn't say it.
_MAIN_TYPES = {"IQ3_M": "IQ3_S", "IQ3_XS": "IQ3_XXS", "IQ2_M": "IQ2_S", "IQ2_S": "IQ2_XS"}

#: Width and vocabulary, weights of the blocks, and those of their widest layers, of Llama 3 8B, which `BITS_PER_WEIGHT` is about.
_WIDTH, _VOCABULARY, _BLOCKS, _WIDEST = 4096, 128_256, 6_979_321_856, 1_879_048_192

#: Values in a block of most types with fewer than 8 bits; a row of another length is stored in a wider type.
_BLOCK_SIZE = 256

#: Bytes of the vocabulary in the header, per token: its text, its type, and its merge.
_TOKEN_BYTES = 35


def estimate_bytes(quantization: Quantization, model: ModelInspected) -> int:
    """Return the approximate size of a GGUF file in bytes.

    llama.cpp stores the output head, or the embedding that is tied to it, with more bits than the blocks, and
    rows that don't fill its blocks in a wider type: in small models, most of the weights. What a mixed type such as
    Q4_K_M adds to its main type is taken from Llama 3 8B, and counted in the layers that read the inner width.
    """
    shape = model.shape
    main = _get_main_type(quantization)
    needs_experts = QUANTIZATIONS[quantization].needs_experts
    if shape is None or not shape.linear or needs_experts or main not in _BITS:
        return round(model.parameters * BITS_PER_WEIGHT[quantization] / 8)
    embedding = model.vocabulary * model.hidden_size
    head = embedding * _get_head_bits(main, model.hidden_size)
    table = 0.0 if shape.tied else embedding * _get_row_bits(main, model.hidden_size)
    added = _get_added_bits(quantization, main)
    blocks = sum(
        layers.parameters
        * _get_row_bits(main, layers.inputs, added if _is_widest(layers, model) else 0.0)
        for layers in shape.linear
    )
    counted = embedding * (1 if shape.tied else 2) + sum(each.parameters for each in shape.linear)
    others = max(0, model.parameters - counted) * (_BITS[main] + added * _WIDEST / _BLOCKS)
    return round((head + table + blocks + others) / 8) + _TOKEN_BYTES * model.vocabulary


def _get_main_type(quantization: Quantization) -> str:
    name: str = _MAIN_TYPES.get(quantization, quantization)
    return name if name in _BITS else name[:-2]  # Q4_K_M is mostly Q4_K


def _get_head_bits(main: str, width: int) -> float:
    """Return the bits per weight of the output head."""
    if _BITS[main] >= 8:
        return _BITS[main]
    if width % _BLOCK_SIZE:
        return _BITS["Q8_0"]
    return _BITS["Q5_K" if main.startswith("IQ") and _BITS[main] < 3.2 else "Q6_K"]


def _get_row_bits(main: str, width: int, added: float = 0.0) -> float:
    """Return the bits per weight of a layer whose rows have this width."""
    has_large_blocks = main.endswith("_K") or (main[0] in "IT" and main != "IQ4_NL")
    if not has_large_blocks or width % _BLOCK_SIZE == 0:
        return _BITS[main] + added
    wider = {"Q6_K": "Q8_0", "Q5_K": "Q5_1", "Q4_K": "Q5_0"}
    return _BITS[wider.get(main, "Q4_0")]


def _get_added_bits(quantization: Quantization, main: str) -> float:
    """Return what a mixed type has more than its main type, in bits per weight of the widest layers."""
    ends = _WIDTH * _VOCABULARY
    total = BITS_PER_WEIGHT[quantization] * (_BLOCKS + 2 * ends)
    plain = _BITS[main] * (_BLOCKS + ends) + _get_head_bits(main, _WIDTH) * ends
    return (total - plain) / _WIDEST


def _is_widest(layers: LinearLayers, model: ModelInspected) -> bool:
    return model.shape is not None and layers.inputs == model.shape.intermediate_size
