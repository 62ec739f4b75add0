"""Folders with models on this computer: those added in the window, and LM Studio's."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from lora_studio.core.system import paths
from lora_studio.core.system.foreign_files import read_bytes


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
