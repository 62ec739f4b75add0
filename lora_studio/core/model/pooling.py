"""How an embedding model pools, as the files that sentence-transformers writes and reads say it."""

from __future__ import annotations

from pathlib import Path

from lora_studio.core.system.foreign_files import read_json

#: The files with which sentence-transformers describes a model, and one of its modules.
MODULES = "modules.json"
POOLING_CONFIG = "config.json"


def read_pooling(folder: Path) -> dict[str, object] | None:
    """Return the settings of a model's pooling module, None for a model that isn't an embedding model."""
    try:
        modules = read_json(folder / MODULES)
        path = next(str(each["path"]) for each in modules if str(each["type"]).endswith("Pooling"))
        settings = read_json(folder / Path(path).name / POOLING_CONFIG)
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None
    return settings if isinstance(settings, dict) else None


def list_pooling_modes(settings: dict[str, object]) -> list[str]:
    """Return what a pooling module combines: `lasttoken`, `mean_tokens`, …; usually one."""
    prefix = "pooling_mode_"
    return [name.removeprefix(prefix) for name, on in settings.items() if name.startswith(prefix) and on]  # fmt: skip
