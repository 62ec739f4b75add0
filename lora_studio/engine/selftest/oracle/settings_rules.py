"""What the small files of a merged model must say, from the base's and the adapter's alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from lora_studio.core import limits
from lora_studio.core.lora.adapters import CLASSIFIES
from lora_studio.core.messages import Text, text
from lora_studio.core.system.foreign_files import read_bytes, read_json
from lora_studio.engine.model.safetensors_files import get_dtype_name
from lora_studio.engine.selftest.oracle.trained_tensors import TrainedModel
from lora_studio.engine.selftest.tensor_faults import iter_differences

#: Files that make up a tokenizer; all of them come from the same folder.
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json", "vocab.json", "merges.txt")  # fmt: skip

#: Settings of a classifier, which its adapter brings.
_OF_LABELS = ("architectures", "id2label", "label2id", "pad_token_id")

#: Settings that say who wrote the file; the data type is compared on its own.
_COSMETIC = ("transformers_version", "_name_or_path", "dtype", "torch_dtype", "quantization_config")


def find_differences(
    base: Path, adapter: Path, merged: Path, trained: TrainedModel, dtype: torch.dtype | None
) -> list[Text]:
    """Return every setting and tokenizer file that isn't what the base and the first adapter give.

    `dtype` was requested for the merged model, None for that of the base. Files that can't be read are left
    to the comparison of files.
    """
    try:
        before, after = (read_json(folder / "config.json") for folder in (base, merged))
        differences = [
            text("{file}: {difference}", file="config.json", difference=each)
            for each in _iter_settings(before, after, adapter, trained, dtype)
        ]
        differences += _iter_tokenizer_files(base, adapter, merged)
        differences += [
            text("{file}: {difference}", file="generation_config.json", difference=each)
            for each in _iter_generation(base, merged)
        ]
        return differences
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _iter_settings(
    base: dict[str, Any],
    merged: dict[str, Any],
    adapter: Path,
    trained: TrainedModel,
    dtype: torch.dtype | None,
) -> Iterator[Text]:
    expected, actual = ({k: v for k, v in one.items() if k not in _COSMETIC} for one in (base, merged))  # fmt: skip
    for part in (expected, expected.get("text_config")):
        if isinstance(part, dict) and part.get("vocab_size", trained.vocabulary) < trained.vocabulary:  # fmt: skip
            part["vocab_size"] = trained.vocabulary
    if trained.is_untied:
        expected["tie_word_embeddings"] = False
    if read_json(adapter / "adapter_config.json").get("task_type") == CLASSIFIES:
        brought = read_json(adapter / "config.json")
        expected |= {key: brought[key] for key in _OF_LABELS if key in brought}
    nested = (part for one in (expected, actual) for part in one.values() if isinstance(part, dict))
    for part in nested:
        for key in _COSMETIC:
            part.pop(key, None)
    yield from iter_differences(expected, actual)
    before, after = (one.get("dtype", one.get("torch_dtype")) for one in (base, merged))
    wanted = before if dtype is None else get_dtype_name(dtype)
    if wanted is not None and after != wanted:
        yield from iter_differences(wanted, after, "dtype")


def _iter_tokenizer_files(base: Path, adapter: Path, merged: Path) -> Iterator[Text]:
    source = adapter if (adapter / "tokenizer_config.json").is_file() else base
    for name in _TOKENIZER:
        wanted, actual = (
            read_bytes(folder / name, limits.LARGE_FILE) if (folder / name).is_file() else None
            for folder in (source, merged)
        )
        if wanted != actual:
            yield text("{file} is a different file than in training", file=name)


def _iter_generation(base: Path, merged: Path) -> Iterator[Text]:
    """Yield the settings of generation that changed, but for more tokens that end an answer."""
    pair = [
        read_json(folder / "generation_config.json")
        if (folder / "generation_config.json").is_file()
        else {}
        for folder in (base, merged)
    ]
    if not pair[0]:
        return
    before, after = (one.pop("eos_token_id", None) for one in pair)
    ends = before if isinstance(before, list) else [before]
    kept = after if isinstance(after, list) else [after]
    for one in pair:
        one.pop("transformers_version", None)
    yield from iter_differences(*pair)
    if before is not None and not set(ends) <= set(kept):
        yield from iter_differences(before, after, "eos_token_id")
