"""The folders with models that the user has added in the window, for whoever else lists models."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from lora_studio.core.system import paths


class _Preferences(BaseModel):
    """Of all preferences of the window, the one that is needed here."""

    model_config = ConfigDict(extra="ignore")

    model_folders: tuple[str, ...] = ()


def added() -> tuple[str, ...]:
    """The folders, in the order in which they were added; none where nothing legible is stored."""
    try:
        return _Preferences.model_validate_json(paths.window_file().read_bytes()).model_folders
    except (OSError, ValidationError):
        return ()
