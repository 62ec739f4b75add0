"""Files of a merged model besides its weights: settings, tokenizer, chat template."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from lora_studio.core import limits
from lora_studio.core.messages import text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.system.files import copy_file, write_atomic
from lora_studio.core.system.foreign_files import read_json
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.lora.adapter_files import Adapter
from lora_studio.engine.merging.plan import (
    GrownTensor,
    MergedTensor,
    WeightSource,
    find_tied_embedding,
)
from lora_studio.engine.model import safetensors_files
from lora_studio.engine.model.folder import require_inside
from lora_studio.engine.model.safetensors_files import StoredTensor
from lora_studio.engine.runtime.channel import JobContext

#: Where sentence-transformers keeps the settings of an embedding model's pooling.
POOLING = "1_Pooling/config.json"
#: Files of a tokenizer. With one of its own in the adapter, the base's are not mixed into it.
_TOKENIZER = ("tokenizer", "special_tokens", "added_tokens", "vocab", "merges", "chat_template")


def copy(base: Path, adapter: Path, target: Path) -> None:
    """Copy everything but the weights: settings and code from the base, tokenizer from the adapter."""
    own_tokenizer = (adapter / "tokenizer_config.json").is_file()
    for file in _iter_small_files(base):
        of_tokenizer = file.name.startswith(_TOKENIZER) and file.suffix != ".model"
        if not (own_tokenizer and of_tokenizer) and not (target / file.name).exists():
            copy_file(file, target / file.name)
    if own_tokenizer:
        for file in _iter_small_files(adapter):
            if file.name != adapter_files.CONFIG:
                copy_file(file, target / file.name)
    copy_pooling(adapter if (adapter / POOLING).is_file() else base, target)


def copy_pooling(source: Path, target: Path) -> None:
    """Copy how an embedding model pools; the file that names its modules is copied with the others."""
    if (source / POOLING).is_file():
        (target / POOLING).parent.mkdir(exist_ok=True)
        copy_file(require_inside(source / POOLING), target / POOLING)


def write_added_tokens(adapter: Adapter, target: Path) -> None:
    """Name the new tokens of an adapter in `added_tokens.json` of a merged model, if it has any.

    WORKAROUND: transformers 5 writes them to tokenizer.json alone, which llama.cpp's converter doesn't read
    for a SentencePiece model: its GGUF file had a placeholder instead of each
    (conversion/base.py, `_create_vocab_sentencepiece`).
    """
    indices = {index for rows in adapter.rows.values() for index in rows.indices}
    if not indices or not (target / "tokenizer.model").is_file():
        return
    added = read_json(target / "tokenizer.json", limits.LARGE_FILE)["added_tokens"]
    named = {token["content"]: token["id"] for token in added if token["id"] in indices}
    write_atomic(target / "added_tokens.json", json.dumps(named, ensure_ascii=False) + "\n")


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy the files of a tokenizer, and no others."""
    for file in _iter_small_files(source):
        if file.name.startswith(_TOKENIZER):
            copy_file(file, target / file.name)


def _iter_small_files(folder: Path) -> Iterator[Path]:
    suffixes = {".json", ".jinja", ".txt", ".model", ".py", ".tiktoken"}
    for file in sorted(folder.iterdir()):
        plain = not file.name.endswith(".index.json") and file.name != "config.json"
        if (
            file.is_file()
            and plain
            and (file.suffix in suffixes or file.name.startswith("LICENSE"))
        ):
            yield require_inside(file)


def write_config(
    base: Path,
    target: Path,
    dtype: torch.dtype | None,
    outputs: Sequence[MergedTensor],
    *,
    untied: bool,
    labels: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write the model's settings, updated for weights that the merge changed and `labels` of a classifier."""
    file = target / "config.json"
    before = read_config(target if file.is_file() else base)
    config = update_settings(before, dtype, outputs, untied=untied) | dict(labels)
    write_atomic(file, json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def update_settings(
    before: dict[str, Any],
    dtype: torch.dtype | None,
    outputs: Sequence[MergedTensor],
    *,
    untied: bool,
) -> dict[str, Any]:
    """Update the base model's settings `before` for the merged model and return them."""
    config = before
    config.pop("quantization_config", None)
    embedding = find_tied_embedding([output.name for output in outputs])
    grown = (o.source for o in outputs if isinstance(o.source, GrownTensor) or (o.name == embedding and o.replaced))  # fmt: skip
    rows = next((source.shape[0] for source in grown), None)
    for part in (config, config.get("text_config")):
        if not isinstance(part, dict):
            continue
        if dtype is not None:
            part["torch_dtype" if "torch_dtype" in part else "dtype"] = (
                safetensors_files.get_dtype_name(dtype)
            )
        if rows is not None and "vocab_size" in part:
            part["vocab_size"] = rows
    if untied:
        config["tie_word_embeddings"] = False
    return config


def stop_at_turn_end(merged: Path, *, trust: bool) -> None:
    """Make generation stop at the token that ends an answer, which a base model doesn't know.

    A base model trained with ChatML learns to write <|im_end|>; its own settings end at the
    end-of-text token alone, so the merged model would continue after its answer.
    """
    if not (merged / "tokenizer_config.json").is_file():
        return
    from lora_studio.engine.generation import turn_boundaries
    from lora_studio.engine.model import loading  # transformers takes seconds to import

    tokenizer = loading.load_tokenizer(merged, trust=trust)
    if not tokenizer.is_fast:
        return
    file = merged / "generation_config.json"
    known = read_config(merged)
    settings = {name: known[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id") if known.get(name) is not None}  # fmt: skip
    if file.is_file():
        settings = read_json(file)
    before = settings.get("eos_token_id")
    ids = list(before) if isinstance(before, list) else [] if before is None else [before]
    missing = [
        end for end in turn_boundaries.create_turn_end_criteria(tokenizer).ids if end not in ids
    ]
    if missing:
        settings["eos_token_id"] = ids + missing
        write_atomic(file, json.dumps(settings, indent=2) + "\n")


def read_config(folder: Path) -> dict[str, Any]:
    """Return the settings of a model; raises ProblemError when the folder has none."""
    try:
        content: dict[str, Any] = read_json(folder / "config.json")
    except (OSError, ValueError) as error:
        raise fail(
            "model.no_config",
            "{folder} is not a complete model: its config.json can't be read.",
            "Choose a folder with config.json, weights, and tokenizer.",
            where=Where(step="model", field="source", file=str(folder)),
            folder=str(folder),
        ) from error
    return content


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
    job.log(text("Merging into the cached 16-bit original: {name}.", name=name))
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
