"""Folders with models on this computer: those added in the window, and LM Studio's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from lora_studio.core import limits
from lora_studio.core.problems import InvalidContentError
from lora_studio.core.system import paths
from lora_studio.core.system.foreign_files import read_bytes, read_json


class _Preferences(BaseModel):
    """The only window preference that is needed here."""

    model_config = ConfigDict(extra="ignore")

    model_folders: tuple[str, ...] = ()


def list_added_folders() -> tuple[str, ...]:
    """Return the added folders in order; none if the preferences are missing or unreadable."""
    try:
        return _Preferences.model_validate_json(read_bytes(paths.get_window_file())).model_folders
    except (OSError, ValidationError):
        return ()


#: LM Studio's models folder, since 2025 and before, below the user's home.
_LM_STUDIO = (".lmstudio/models", ".cache/lm-studio/models")


def list_lm_studio_folders() -> list[Path]:
    """Return LM Studio's models folders that exist, the newer first."""
    return [
        folder for name in _LM_STUDIO if (folder := paths.expand_home(Path("~")) / name).is_dir()
    ]


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
