"""Whether the tensors of a GGUF file hold what was trained, as far as their types can tell.

Names are gguf's own map of transformers' names, values are dequantized by gguf. A tensor of 16 bits or more
must have the trained values, rounded. In a quantized one, the update must be visible: with y ≈ a·W + f·ΔW,
by least squares over a sample of rows, f is 1 up to the quantization's own error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf.constants import GGMLQuantizationType, Keys
from gguf.quants import dequantize

from lora_studio.core import limits
from lora_studio.core.messages import NO_TEXT, Text, counted, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.system.foreign_files import read_bytes, read_json
from lora_studio.engine.model import loading
from lora_studio.engine.model.gguf_header import GgufLayout, GgufTensor, drop_first_ones
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import is_caused_by_system
from lora_studio.engine.selftest.oracle.trained_tensors import TrainedModel, TrainedTensor
from lora_studio.engine.selftest.tensor_faults import MISSING, TensorFault, describe_difference

#: Values of a tensor that are compared: of one that was trained, and of another.
_CHANGED, _UNCHANGED = 1 << 20, 1 << 15

#: Share of values that may be rounded to the next number: the sum of a product's terms depends on the processor.
_NEIGHBORS = 1e-3

#: The same for 32 bits, where each value may differ by this share.
_SUMMATION = 2.0**-20

#: Standard errors within which the factor of an update must be 1, and the least deviation that counts.
_SIGMAS, _LEAST = 6.0, 0.1

#: A factor less certain than this can't be told from 0.
_VISIBLE = 0.4

#: A quantization's error may be so many times that of rounding to the steps seen in its blocks.
_COARSE = 3.0

#: Values that share a scale in the finest quantizations.
_BLOCK = 16

_FLOATS = {
    GGMLQuantizationType.F32: torch.float32,
    GGMLQuantizationType.F16: torch.float16,
    GGMLQuantizationType.BF16: torch.bfloat16,
}
_EXPERT = re.compile(r"(.*\.experts)\.(\d+)\.(.+)")
_PREFIXES = (("model.language_model.", "model."), ("language_model.model.", "model."), ("language_model.lm_head.", "lm_head."))  # fmt: skip


@dataclass
class FileJudgment:
    """The wrong keys and tensors of one file; `unseen` counts updates too small to be seen at its quantization.

    `unknown` says why its tensors can't be judged.
    """

    differences: list[Text] = field(default_factory=list)
    faults: list[TensorFault] = field(default_factory=list)
    unseen: int = 0
    unknown: Text = NO_TEXT

    def describe(self, compared: Text, quantization: str) -> Text:
        """Return what was compared, with what couldn't be judged."""
        if self.unknown:
            return text(
                "{compared}, but only with a fresh conversion: {reason}",
                compared=compared,
                reason=self.unknown,
            )
        if self.unseen:
            return counted(
                self.unseen,
                "{compared}; {n} update is too small to be seen in {quantization}",
                "{compared}; {n} updates are too small to be seen in {quantization}",
                compared=compared,
                quantization=quantization,
            )
        return compared


@dataclass(frozen=True)
class _Part:
    """A tensor of the model, and where it is in a file: `expert` of a stack, or the whole tensor."""

    trained: TrainedTensor
    name: str
    expert: int | None = None


def is_rounded_alike(wanted: torch.Tensor, actual: torch.Tensor) -> bool:
    """Return whether only the order of summation on another processor explains the difference."""
    if not wanted.is_floating_point() or not bool(torch.isfinite(actual).all()):
        return False
    one, other = wanted.double(), actual.double()
    facts = torch.finfo(wanted.dtype)
    distance = (one - other).abs()
    if wanted.dtype == torch.float32:
        return bool((distance <= _SUMMATION * (one.abs() + one.square().mean().sqrt())).all())
    step = torch.maximum(one.abs(), other.abs()) * facts.eps + facts.smallest_normal * facts.eps
    share = float((distance > 0).double().mean())
    return share <= _NEIGHBORS and bool((distance <= 1.001 * step).all())


def judge_files(
    layouts: Mapping[str, GgufLayout],
    trained: TrainedModel,
    base: Path,
    tokenizer: Path,
    job: JobContext,
    *,
    trust: bool,
    all_rows: bool = False,
) -> dict[str, FileJudgment]:
    """Return what is wrong in files of a trained model, by stage; raises ProblemError.

    `base` is the folder of the base model, `tokenizer` that of the trained tokenizer and template. Of large
    tensors, a sample of rows is judged, or `all_rows`.
    """
    spec = ModelSpec(source=str(base), trust_remote_code=trust)
    config = loading.read_config(base, spec).get_text_config()
    try:
        judgments = judge_tensors(layouts, trained, config, job, all_rows=all_rows)
        for stage, layout in layouts.items():
            judgments[stage].differences += find_key_differences(
                layout, config, tokenizer, trained.vocabulary
            )
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        if is_caused_by_system(error):
            raise
        unknown = text("{error}", error=f"{type(error).__name__}: {error}".split("\n")[0])
        return {stage: FileJudgment(unknown=unknown) for stage in layouts}
    return judgments


def judge_tensors(
    layouts: Mapping[str, GgufLayout],
    trained: TrainedModel,
    config: Any,
    job: JobContext,
    *,
    all_rows: bool = False,
) -> dict[str, FileJudgment]:
    """Return the wrong tensors of files, by stage; the model's settings are `config`.

    Each tensor is computed once for all files.
    """
    judgments = {stage: FileJudgment() for stage in layouts}
    family = FAMILIES.get(config.model_type)
    if family is None:
        unknown = text("the rules for models of type {type} aren't known", type=config.model_type)
        return {stage: FileJudgment(unknown=unknown) for stage in layouts}
    parts = list(_name_parts(trained, family, config))
    lost = [part.trained.name for part in parts if not part.name]
    if lost:
        unknown = text("gguf has no name for {tensor}", tensor=lost[0])
        return {stage: FileJudgment(unknown=unknown) for stage in layouts}
    names = {part.name for part in parts}
    factors = compute_rope_factors(config)
    for stage, layout in layouts.items():
        extra = names | {name for name in layout.tensors if name.startswith("rope_")}
        faults = judgments[stage].faults
        faults += [TensorFault(name, "missing") for name in sorted(names - layout.tensors.keys())]
        faults += [TensorFault(name, "additional") for name in layout.tensors if name not in extra]
        faults += _find_rope_faults(layout, factors)
    for number, part in enumerate(parts):
        job.check()
        job.report_progress(text("judging the GGUF files"), number, len(parts), "tensors")
        holders = {
            stage: layout for stage, layout in layouts.items() if part.name in layout.tensors
        }
        if holders:
            _judge_part(part, holders, judgments, family, config, all_rows=all_rows)
    return judgments


def _name_parts(trained: TrainedModel, family: Family, config: Any) -> Iterator[_Part]:
    """Yield where each tensor of the model is in a file; its name is "" where gguf has none."""
    architectures = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
    layers = int(config.num_hidden_layers)
    names = gguf.get_tensor_name_map(architectures[family.architecture], layers)
    for name, tensor in trained.tensors.items():
        if name.endswith(".rotary_emb.inv_freq"):
            continue
        match = _EXPERT.fullmatch(name)
        own = f"{match[1]}.{match[3]}" if match else name
        for before, after in _PREFIXES:
            own = after + own.removeprefix(before) if own.startswith(before) else own
        stored = names.get_name(own, try_suffixes=(".weight", ".bias"))
        stored = stored or names.get_name(f"model.{own}", try_suffixes=(".weight", ".bias"))
        yield _Part(tensor, stored or "", int(match[2]) if match else None)


def _find_rope_faults(layout: GgufLayout, factors: np.ndarray | None) -> list[TensorFault]:
    """Return the tensor of scaled rotary frequencies if it is wrong."""
    name = "rope_freqs.weight"
    stored = layout.tensors.get(name)
    if factors is None:
        return [TensorFault(name, "additional")] if stored is not None else []
    if stored is None:
        return [TensorFault(name, "missing")]
    actual = _read_rows(layout, stored, slice(None)).ravel()
    if actual.shape == factors.shape and np.allclose(actual, factors, rtol=1e-5):
        return []
    return [TensorFault(name, "differs", rows=1, total=1)]


def _judge_part(
    part: _Part,
    layouts: Mapping[str, GgufLayout],
    judgments: Mapping[str, FileJudgment],
    family: Family,
    config: Any,
    *,
    all_rows: bool,
) -> None:
    trained = part.trained
    shape = trained.shape
    rows = math.prod(shape[:-1])
    step = max(rows * shape[-1] // (_CHANGED if trained.changed else _UNCHANGED), 1) if shape else 1

    starts = range(min(step, max(rows, 1))) if all_rows else range(1)

    def prepare(value: torch.Tensor) -> np.ndarray:
        value = _reorder(trained.name, value.float(), family, config)
        return value.reshape(max(rows, 1), -1).numpy()

    base = prepare(trained.read_base().to(trained.dtype))
    merged = prepare(trained.read()) if trained.changed else base
    for stage, layout in layouts.items():
        stored = layout.tensors[part.name]
        held = stored.shape if part.expert is None else drop_first_ones(stored.shape[1:])
        if held != drop_first_ones(shape):
            one, other = (" × ".join(map(str, each)) for each in (stored.shape, shape))
            judgments[stage].faults.append(TensorFault(part.name, "shape", one, other))
            continue
        first = (part.expert or 0) * rows
        if stored.bytes is None or first + rows > max(stored.rows, 1):
            continue  # another comparison names it
        found: set[str] = set()
        for start in starts:
            actual = _read_rows(layout, stored, slice(first + start, first + max(rows, 1), step))
            if actual.size == 0:
                continue
            sample = base[start::step], merged[start::step]
            fault = _judge_values(part.name, actual, *sample, stored.type, trained.changed)
            if isinstance(fault, TensorFault):
                judgments[stage].faults.append(fault)
                break
            found.add(fault)
        else:
            judgments[stage].unseen += found == {"unseen"}


def _reorder(name: str, value: torch.Tensor, family: Family, config: Any) -> torch.Tensor:
    """Return the values in the order and with the offset of the file."""
    if name.endswith("norm.weight"):
        return value + family.norm_shift
    query = re.search(r"\.self_attn\.(q|k)_proj\.(weight|bias)\Z", name)
    if not family.interleaved or query is None:
        return value
    heads = config.num_attention_heads if query[1] == "q" else config.num_key_value_heads
    halves = value.reshape(heads, 2, value.shape[0] // heads // 2, *value.shape[1:])
    return halves.swapaxes(1, 2).reshape(value.shape)


def _read_rows(layout: GgufLayout, tensor: GgufTensor, rows: slice) -> np.ndarray:
    """Return dequantized rows, float32 [rows, columns]; empty for a type that gguf can't read."""
    size = tensor.bytes or 0
    raw = np.memmap(layout.file, np.uint8, mode="r", offset=tensor.start, shape=size)
    chosen = np.array(raw.reshape(max(tensor.rows, 1), -1)[rows])
    kind = GGMLQuantizationType(tensor.type)
    try:
        if kind == GGMLQuantizationType.F16:
            return np.asarray(chosen.view(np.float16), np.float32)
        return np.asarray(chosen.view(np.float32) if kind == GGMLQuantizationType.F32 else dequantize(chosen, kind), np.float32)  # fmt: skip
    except NotImplementedError:
        return np.empty((0, 0), np.float32)


def _judge_values(
    name: str, actual: np.ndarray, base: np.ndarray, merged: np.ndarray, kind: int, changed: bool
) -> TensorFault | str:
    """Return what is wrong with a sample of rows, "unseen" if its update can't be seen, or ""."""
    if not np.isfinite(actual).all():
        return TensorFault(name, "infinite")
    if not actual.any() and merged.any():
        return TensorFault(name, "zeros")
    dtype = _FLOATS.get(GGMLQuantizationType(kind))
    if dtype is not None:
        wanted = torch.from_numpy(merged).to(dtype)
        if is_rounded_alike(wanted, torch.from_numpy(actual).to(dtype)):
            return ""
        exact = wanted.float().numpy()
        rows = int((exact != actual).any(axis=1).sum())
        fit = _fit(actual, base, merged - base) if changed else None
        error = float(np.finfo(np.float16).eps) * float(np.linalg.norm(actual))
        explained = fit is not None and fit.rest <= 0.1 * fit.size * abs(fit.factor) + 2 * error
        if fit is not None and explained and abs(fit.factor - 1) > _LEAST / 5:
            return _describe_factor(name, fit.factor)
        return TensorFault(name, "differs", rows=rows, total=len(actual))
    step = _estimate_steps(actual)
    if not changed:
        fit = _fit(actual, base, np.zeros_like(base))
        return "" if _is_plausible(fit, step) else TensorFault(name, "differs", rows=len(actual), total=len(actual))  # fmt: skip
    update = merged - base
    fit = _fit(actual, base, update)
    if not _is_plausible(fit, step):
        return TensorFault(name, "differs", rows=len(actual), total=len(actual))
    if not fit.size:
        return ""
    error = _SIGMAS * math.sqrt(float((step**2 / 12 * update**2).sum(dtype=np.float64))) / fit.size**2  # fmt: skip
    if abs(fit.factor - 1) <= max(error, _LEAST):
        return "" if error < _VISIBLE else "unseen"
    return _describe_factor(name, fit.factor) if error < _VISIBLE else "unseen"


def _describe_factor(name: str, factor: float) -> TensorFault:
    if abs(factor) < 0.25:
        return TensorFault(name, "base")
    return TensorFault(name, "scaled", factor=factor)


@dataclass(frozen=True)
class _Fit:
    """y ≈ scale · W + factor · ΔW; `rest` is the norm of the remainder, `size` that of ΔW."""

    scale: float
    factor: float
    rest: float
    size: float


def _fit(actual: np.ndarray, base: np.ndarray, update: np.ndarray) -> _Fit:
    y, w, d = (each.astype(np.float64).ravel() for each in (actual, base, update))
    size = float(np.linalg.norm(d))
    columns = [w, d] if size else [w]
    gram = np.array([[float(one @ other) for other in columns] for one in columns])
    solved = np.linalg.lstsq(gram, np.array([float(one @ y) for one in columns]), rcond=None)[0]
    scale, factor = float(solved[0]), float(solved[1]) if size else 1.0
    rest = float(np.linalg.norm(y - scale * w - factor * d))
    return _Fit(scale, factor, rest, size)


def _is_plausible(fit: _Fit, step: np.ndarray) -> bool:
    """Return whether rounding to the blocks' steps explains what remains."""
    rounding = math.sqrt(float((step**2 / 12).sum(dtype=np.float64)))
    return abs(fit.scale - 1) <= 0.25 and fit.rest <= _COARSE * rounding + 1e-6


def _estimate_steps(values: np.ndarray) -> np.ndarray:
    """Return for each value the typical distance of the numbers that its block has: its quantization's step."""
    rows, columns = values.shape
    width = _BLOCK if columns % _BLOCK == 0 else columns
    ordered = np.sort(values.reshape(-1, width), axis=1)
    gaps = np.diff(ordered, axis=1)
    span = ordered[:, -1] - ordered[:, 0]
    tiny = gaps <= 1e-6 * np.maximum(span, 1e-30)[:, None]
    count = np.maximum((~tiny).sum(axis=1), 1)
    mean = np.where(tiny, 0.0, gaps).sum(axis=1) / count
    fallback = np.abs(ordered).max(axis=1)  # a block with one number
    step = np.where(mean > 0, mean, fallback)
    return np.repeat(step, width).reshape(rows, columns)


# What the keys of a GGUF file must say, from the base model's settings and the trained tokenizer.
#
# The names of the keys are gguf's, their meaning is that of its documentation (ggml, docs/gguf.md). A key
# that is absent has the value that llama.cpp assumes then.


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
    """Return every key whose value isn't that of the base's settings `config`, as far as the model's rules are known.

    `tokenizer` is the folder with the trained tokenizer and template, `vocabulary` the rows of the embedding.
    """
    family = FAMILIES.get(config.model_type)
    stated = _read(layout, Keys.General.ARCHITECTURE)
    differences: list[Text] = []
    if family is not None and stated != family.architecture:
        differences.append(describe_difference(Keys.General.ARCHITECTURE, family.architecture, stated))  # fmt: skip
    for template, value, assumed in _RULES if family is not None else ():
        key = template.format(arch=stated)
        wanted, actual = value(config), _read(layout, key)
        if wanted is None:
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
