"""The files with which sentence-transformers describes an embedding model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lora_studio.core.system.foreign_files import read_json

Pooling = Literal["last", "mean"]

#: The modes of sentence-transformers' pooling, and those that can be trained here.
_ALL_MODES = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")  # fmt: skip
_MODES: dict[Pooling, str] = {"last": "lasttoken", "mean": "mean_tokens"}

_MODULES, _POOLING_CONFIG = "modules.json", "config.json"


@dataclass(frozen=True)
class EmbeddingOutput:
    """How the hidden states of a text become its vector; texts have at most `max_length` tokens."""

    pooling: Pooling
    dimensions: int
    max_length: int


def read_pooling(folder: Path) -> dict[str, object] | None:
    """Return the settings of a model's pooling module, None for a model that isn't an embedding model."""
    try:
        modules = read_json(folder / _MODULES)
        path = next(str(each["path"]) for each in modules if str(each["type"]).endswith("Pooling"))
        settings = read_json(folder / Path(path).name / _POOLING_CONFIG)
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None
    return settings if isinstance(settings, dict) else None


def list_pooling_modes(settings: dict[str, object]) -> list[str]:
    """Return what a pooling module combines: `lasttoken`, `mean_tokens`, …; usually one."""
    prefix = "pooling_mode_"
    return [name.removeprefix(prefix) for name, on in settings.items() if name.startswith(prefix) and on]  # fmt: skip


def parse_pooling(modes: Sequence[str]) -> Pooling | None:
    """Return the pooling that a model's modes combine to, None for one that can't be trained here."""
    return next((pooling for pooling, mode in _MODES.items() if modes == [mode]), None)


def write_modules(folder: Path, output: EmbeddingOutput) -> None:
    """Write the files that let sentence-transformers load a model's folder as an embedding model."""
    kinds = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(kinds)
    ]
    files = {
        _MODULES: modules,
        f"1_Pooling/{_POOLING_CONFIG}": {
            "word_embedding_dimension": output.dimensions,
            **{f"pooling_mode_{mode}": mode == _MODES[output.pooling] for mode in _ALL_MODES},
            "include_prompt": True,
        },
        "sentence_bert_config.json": {"max_seq_length": output.max_length, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"},
    }  # fmt: skip
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content, indent=2), "utf-8")
