"""What the keys of a GGUF file must say, from the base model's settings and the trained tokenizer.

The names of the keys are gguf's, their meaning is that of its documentation (ggml, docs/gguf.md). A key
that is absent has the value that llama.cpp assumes then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf.constants import Keys

from lora_studio.core import limits
from lora_studio.core.messages import Text
from lora_studio.core.system.foreign_files import read_bytes, read_json
from lora_studio.engine.model.gguf_layout import GgufLayout
from lora_studio.engine.selftest.value_differences import MISSING, describe_difference


@dataclass(frozen=True)
class Family:
    """How llama.cpp stores a family of models.

    `architecture` is llama.cpp's name. With `interleaved`, the rows of queries and keys are ordered for rotary
    embeddings of neighboring pairs, where transformers pairs the halves of a head. `norm_shift` is added to
    the weights of the norms.
    """

    architecture: str
    interleaved: bool = False
    norm_shift: float = 0.0


#: By model_type. Those with `interleaved` are llama.cpp's architectures of LLAMA_ROPE_TYPE_NORM.
FAMILIES: dict[str, Family] = {
    "llama": Family("llama", interleaved=True),
    "mistral": Family("llama", interleaved=True),
    "mixtral": Family("llama", interleaved=True),
    "smollm3": Family("smollm3", interleaved=True),
    "granite": Family("granite", interleaved=True),
    "arcee": Family("arcee", interleaved=True),
    "qwen2": Family("qwen2"),
    "qwen2_moe": Family("qwen2moe"),
    "qwen3": Family("qwen3"),
    "qwen3_moe": Family("qwen3moe"),
    "gemma": Family("gemma", norm_shift=1.0),
    "gemma2": Family("gemma2", norm_shift=1.0),
    "gemma3_text": Family("gemma3", norm_shift=1.0),
    "phi3": Family("phi3"),
    "olmo2": Family("olmo2"),
    "starcoder2": Family("starcoder2"),
    "seed_oss": Family("seed_oss"),
}

_Value = Callable[[Any], Any]


def _attribute(*names: str) -> _Value:
    """Return what reads the first of these settings that a model has."""

    def read(config: Any) -> Any:
        values = (getattr(config, name, None) for name in names)
        return next((value for value in values if value is not None), None)

    return read


def _head_dim(config: Any) -> int:
    stated = getattr(config, "head_dim", None)
    return int(stated or config.hidden_size // config.num_attention_heads)


def _rope(name: str, kind: str = "full_attention") -> _Value:
    """Return what reads a parameter of the rotary embeddings, of the layers of one kind where they differ."""

    def read(config: Any) -> Any:
        every = getattr(config, "rope_parameters", None) or {}
        if kind != "full_attention" and kind not in every:
            return None
        return every.get(kind, every).get(name)

    return read


def _rotated(config: Any) -> int:
    share = _rope("partial_rotary_factor")(config) or getattr(config, "partial_rotary_factor", None)
    return int(_head_dim(config) * (1.0 if share is None else share))


def _scaling(config: Any) -> Any:
    """Return the kind of rotary scaling that a key names; the others are stored as a tensor."""
    kind = _rope("rope_type")(config)
    return kind if kind in ("linear", "yarn", "longrope") else "none"


def _scaling_factor(config: Any) -> Any:
    return _rope("factor")(config) if _scaling(config) in ("linear", "yarn") else None


def _window(config: Any) -> Any:
    slides = "sliding_attention" in (getattr(config, "layer_types", None) or ())
    return getattr(config, "sliding_window", None) if slides else None


def _only(architecture: str, *names: str) -> _Value:
    value = _attribute(*names)
    return lambda config: value(config) if config.model_type == architecture else None


#: Required keys have no value that llama.cpp assumes.
_REQUIRED = object()

#: Key, its value, and what llama.cpp assumes without the key: another key's value, a value or nothing.
_RULES: tuple[tuple[str, _Value, Any], ...] = (
    (Keys.LLM.BLOCK_COUNT, _attribute("num_hidden_layers", "n_layer"), _REQUIRED),
    (Keys.LLM.CONTEXT_LENGTH, _attribute("max_position_embeddings", "n_positions"), _REQUIRED),
    (Keys.LLM.EMBEDDING_LENGTH, _attribute("hidden_size", "n_embd"), _REQUIRED),
    (Keys.LLM.FEED_FORWARD_LENGTH, _attribute("intermediate_size", "n_inner"), _REQUIRED),
    (Keys.Attention.HEAD_COUNT, _attribute("num_attention_heads", "n_head"), _REQUIRED),
    (Keys.Attention.HEAD_COUNT_KV, _attribute("num_key_value_heads"), _attribute("num_attention_heads")),
    (Keys.Attention.KEY_LENGTH, _head_dim, lambda c: c.hidden_size // c.num_attention_heads),
    (Keys.Attention.VALUE_LENGTH, _head_dim, lambda c: c.hidden_size // c.num_attention_heads),
    (Keys.Attention.LAYERNORM_RMS_EPS, _attribute("rms_norm_eps"), _REQUIRED),
    (Keys.Attention.LAYERNORM_EPS, _attribute("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"), _REQUIRED),
    (Keys.Attention.SLIDING_WINDOW, _window, _REQUIRED),
    (Keys.Attention.SCALE, _only("granite", "attention_multiplier"), _REQUIRED),
    (Keys.Rope.FREQ_BASE, _rope("rope_theta"), 10000.0),
    (Keys.Rope.FREQ_BASE_SWA, _rope("rope_theta", "sliding_attention"), 10000.0),
    (Keys.Rope.DIMENSION_COUNT, _rotated, _head_dim),
    (Keys.Rope.SCALING_TYPE, _scaling, "none"),
    (Keys.Rope.SCALING_FACTOR, _scaling_factor, _REQUIRED),
    (Keys.LLM.ATTN_LOGIT_SOFTCAPPING, _attribute("attn_logit_softcapping"), _REQUIRED),
    (Keys.LLM.FINAL_LOGIT_SOFTCAPPING, _attribute("final_logit_softcapping"), _REQUIRED),
    (Keys.LLM.EXPERT_COUNT, _attribute("num_local_experts", "num_experts", "n_routed_experts"), _REQUIRED),
    (Keys.LLM.EXPERT_USED_COUNT, _attribute("num_experts_per_tok"), _REQUIRED),
    (Keys.LLM.EXPERT_FEED_FORWARD_LENGTH, _attribute("moe_intermediate_size"), _REQUIRED),
    (Keys.LLM.EMBEDDING_SCALE, _only("granite", "embedding_multiplier"), _REQUIRED),
    (Keys.LLM.RESIDUAL_SCALE, _only("granite", "residual_multiplier"), _REQUIRED),
    (Keys.LLM.LOGIT_SCALE, _only("granite", "logits_scaling"), _REQUIRED),
)  # fmt: skip

#: Keys of special tokens, by their names in tokenizer_config.json.
_SPECIAL = {
    "bos_token": Keys.Tokenizer.BOS_ID,
    "eos_token": Keys.Tokenizer.EOS_ID,
    "unk_token": Keys.Tokenizer.UNK_ID,
    "pad_token": Keys.Tokenizer.PAD_ID,
}

#: Llama 3's scaling changes wavelengths above this share of the original context, and fully those above
#: the other (transformers' defaults of the two factors).
_LOW, _HIGH = 1.0, 4.0


def find_key_differences(
    layout: GgufLayout, config: Any, tokenizer: Path, vocabulary: int
) -> list[Text]:
    """Return every key whose value isn't that of the base's settings `config`.

    `tokenizer` is the folder with the trained tokenizer and template, `vocabulary` the rows of the embedding.
    """
    family = FAMILIES.get(config.model_type)
    stated = _read(layout, Keys.General.ARCHITECTURE)
    differences: list[Text] = []
    if family is not None and stated != family.architecture:
        differences.append(describe_difference(Keys.General.ARCHITECTURE, family.architecture, stated))  # fmt: skip
    for template, value, assumed in _RULES:
        key = template.format(arch=stated)
        wanted, actual = value(config), _read(layout, key)
        if wanted is None or (family is None and actual is MISSING):
            continue
        effective = (assumed(config) if callable(assumed) else assumed) if actual is MISSING else actual  # fmt: skip
        if effective is _REQUIRED or not _is_equal(wanted, effective):
            differences.append(describe_difference(key, wanted, actual))
    key = Keys.LLM.VOCAB_SIZE.format(arch=stated)
    if (actual := _read(layout, key)) not in (MISSING, vocabulary):
        differences.append(describe_difference(key, vocabulary, actual))
    differences += _iter_template_differences(layout, tokenizer)
    return [*differences, *_iter_token_differences(layout, tokenizer, vocabulary)]


def compute_rope_factors(config: Any) -> np.ndarray | None:
    """Return what divides the frequencies of Llama 3's scaled rotary embeddings; None for other models.

    Wavelengths shorter than a quarter of the original context stay; longer ones than that context are
    divided by the factor, and those between are interpolated (Llama 3.1's `rope_scaling`).
    """
    if _rope("rope_type")(config) != "llama3":
        return None
    factor, theta = float(_rope("factor")(config)), float(_rope("rope_theta")(config))
    original = float(_rope("original_max_position_embeddings")(config) or 8192)
    low = float(_rope("low_freq_factor")(config) or _LOW)
    high = float(_rope("high_freq_factor")(config) or _HIGH)
    dimensions = _rotated(config)
    waves = 2 * math.pi * theta ** (np.arange(0, dimensions, 2) / dimensions)
    smooth = np.clip((original / waves - low) / (high - low), 0.0, 1.0)
    return np.asarray(1 / ((1 - smooth) / factor + smooth), np.float32)


def _is_equal(wanted: Any, actual: Any) -> bool:
    """Return whether two values are the same, floats as stored in 32 bits, and one value for every layer."""
    if isinstance(actual, list) and not isinstance(wanted, list):
        return bool(actual) and all(_is_equal(wanted, item) for item in actual)
    if isinstance(wanted, float) and isinstance(actual, int | float):
        return bool(np.float32(wanted) == np.float32(actual))
    return bool(wanted == actual)


def _iter_template_differences(layout: GgufLayout, tokenizer: Path) -> Iterator[Text]:
    file, settings = tokenizer / "chat_template.jinja", tokenizer / "tokenizer_config.json"
    if file.is_file():
        wanted = read_bytes(file, limits.LARGE_FILE).decode("utf-8")
    else:
        stated = read_json(settings).get("chat_template") if settings.is_file() else None
        if not isinstance(stated, str):
            return
        wanted = stated
    actual = _read(layout, Keys.Tokenizer.CHAT_TEMPLATE)
    if actual != wanted:
        yield describe_difference(Keys.Tokenizer.CHAT_TEMPLATE, wanted, actual)


def _iter_token_differences(layout: GgufLayout, tokenizer: Path, vocabulary: int) -> Iterator[Text]:
    """Yield the tokens that have another text than their ID has in training."""
    try:
        content = read_json(tokenizer / "tokenizer.json", limits.LARGE_FILE)
        settings = read_json(tokenizer / "tokenizer_config.json", limits.LARGE_FILE)
        model, added = content["model"]["vocab"], content["added_tokens"]
        pairs = model.items() if isinstance(model, dict) else zip((t for t, _ in model), range(len(model)), strict=True)  # fmt: skip
        ids: Mapping[str, int] = dict(pairs) | {each["content"]: each["id"] for each in added}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    tokens = _read(layout, Keys.Tokenizer.LIST)
    if isinstance(tokens, list):
        if len(tokens) != vocabulary:
            yield describe_difference(f"len({Keys.Tokenizer.LIST})", vocabulary, len(tokens))
        for token, index in ids.items():
            if index < len(tokens) and tokens[index] != token:
                yield describe_difference(f"{Keys.Tokenizer.LIST}[{index}]", token, tokens[index])
                break
    for name, key in _SPECIAL.items():
        stated = settings.get(name)
        text = stated.get("content") if isinstance(stated, dict) else stated
        if isinstance(text, str) and text in ids and (actual := _read(layout, key)) != ids[text]:
            yield describe_difference(key, ids[text], actual)


def _read(layout: GgufLayout, key: str) -> Any:
    """Return a value, a float as its 32 bits are written; MISSING without the key."""
    if key not in layout.values:
        return MISSING
    value = layout.read_value(key)
    return float(str(np.float32(value))) if isinstance(value, float) else value
