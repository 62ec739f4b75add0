"""The index of a model whose weights are in several files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lora_studio.core import limits
from lora_studio.core.problems import InvalidContentError
from lora_studio.core.system.foreign_files import read_json

#: File that maps tensors to the files of a model in several parts.
INDEX = "model.safetensors.index.json"

_PLAIN_NAME = re.compile(r"[^/\\:\0]+\.safetensors")


def read_index(folder: Path) -> Any:
    """Return the JSON content of a model's index; raises OSError and ValueError."""
    return read_json(folder / INDEX, limits.WEIGHTS_INDEX, limits.WEIGHTS_VALUES)


def list_weight_files(folder: Path) -> list[str]:
    """Return the files that the index of a model folder lists, each once.

    Raises OSError, and InvalidContentError if one isn't a safetensors file of the folder itself: an
    index from elsewhere may name a pickle or a file outside.
    """
    content = read_index(folder)
    try:
        names = list(dict.fromkeys(content["weight_map"].values()))
    except (KeyError, AttributeError, TypeError):
        raise InvalidContentError("{file} lists no files", file=INDEX) from None
    for name in names:
        if not isinstance(name, str) or not _PLAIN_NAME.fullmatch(name):
            raise InvalidContentError(
                "{file} lists “{name}”, which isn't a safetensors file of the folder",
                file=INDEX,
                name=str(name)[:200],
            )
    return names
