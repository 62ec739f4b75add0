"""Estimate the size of a GGUF file from the dimensions of its model, until the quantizer has computed it."""

from __future__ import annotations

from lora_studio.core.export import QUANTIZATIONS, Quantization
from lora_studio.core.model.catalog import LinearLayers
from lora_studio.core.protocol.events import ModelInspected

#: Width and vocabulary, weights of the blocks, and those of their widest layers, of Llama 3 8B, which the `bits` of quantizations are about.
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
    shape, facts = model.shape, QUANTIZATIONS[quantization]
    if shape is None or not shape.linear or facts.needs_experts:
        return round(model.parameters * facts.bits / 8)
    embedding = model.vocabulary * model.hidden_size
    head = embedding * _get_head_bits(quantization, model.hidden_size)
    table = 0.0 if shape.tied else embedding * _get_row_bits(quantization, model.hidden_size)
    added = _get_added_bits(quantization)
    blocks = sum(
        layers.parameters
        * _get_row_bits(quantization, layers.inputs, added if _is_widest(layers, model) else 0.0)
        for layers in shape.linear
    )
    counted = embedding * (1 if shape.tied else 2) + sum(each.parameters for each in shape.linear)
    others = max(0, model.parameters - counted) * (facts.main_bits + added * _WIDEST / _BLOCKS)
    return round((head + table + blocks + others) / 8) + _TOKEN_BYTES * model.vocabulary


def _get_head_bits(quantization: Quantization, width: int) -> float:
    """Return the bits per weight of the output head."""
    main = QUANTIZATIONS[quantization].main_bits
    if main >= 8:
        return main
    if width % _BLOCK_SIZE:
        return QUANTIZATIONS["Q8_0"].main_bits
    narrow = quantization.startswith("IQ") and main < 3.2
    return QUANTIZATIONS["Q5_K_M" if narrow else "Q6_K"].main_bits


def _get_row_bits(quantization: Quantization, width: int, added: float = 0.0) -> float:
    """Return the bits per weight of a layer whose rows have this width."""
    main = QUANTIZATIONS[quantization].main_bits
    has_large_blocks = "_K" in quantization or (
        quantization.startswith(("IQ", "TQ")) and quantization != "IQ4_NL"
    )
    if not has_large_blocks or width % _BLOCK_SIZE == 0:
        return main + added
    wider: dict[float, Quantization] = {6.5625: "Q8_0", 5.5: "Q5_1", 4.5: "Q5_0"}
    return QUANTIZATIONS[wider.get(main, "Q4_0")].main_bits


def _get_added_bits(quantization: Quantization) -> float:
    """Return what a mixed type has more than its main type, in bits per weight of the widest layers."""
    facts, ends = QUANTIZATIONS[quantization], _WIDTH * _VOCABULARY
    total = facts.bits * (_BLOCKS + 2 * ends)
    plain = facts.main_bits * (_BLOCKS + ends) + _get_head_bits(quantization, _WIDTH) * ends
    return (total - plain) / _WIDEST


def _is_widest(layers: LinearLayers, model: ModelInspected) -> bool:
    return model.shape is not None and layers.inputs == model.shape.intermediate_size
