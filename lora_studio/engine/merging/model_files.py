"""Files of a merged model besides its weights: settings, tokenizer, chat template."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from lora_studio.core import limits
from lora_studio.core.problems import Where, fail
from lora_studio.core.system.files import copy_file, write_atomic
from lora_studio.core.system.foreign_files import read_json
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.lora.adapter_files import Adapter
from lora_studio.engine.merging.plan import MergedTensor, find_tied_embedding
from lora_studio.engine.merging.weight_sources import GrownTensor
from lora_studio.engine.model import safetensors_files
from lora_studio.engine.model.folder import require_inside

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
