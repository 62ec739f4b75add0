"""Paths of the user's data, cache and configuration, and of the program's resources."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import platformdirs

from lora_studio.core.problems import fail

_APP = "lora-studio"


def _get_user_folder(variable: str, default: str) -> Path:
    """Return a per-user folder, which an environment variable may move (tests, other disks).

    Raises ProblemError if it is below a home folder that the system doesn't know.
    """
    try:
        return Path(os.environ.get(variable) or default).expanduser()
    except RuntimeError as error:
        raise fail(
            "system.no_home",
            "Your home folder is unknown: HOME isn't set, and the system has no entry for your account.",
            "Set HOME to a folder that you can write to, or {variable} to the folder itself.",
            variable=variable,
        ) from error


def expand_home(path: Path) -> Path:
    """Return a path with `~` expanded, or the path itself if the user is unknown."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def get_data_folder() -> Path:
    """Return the folder of the sample project and other data that a user would miss."""
    return _get_user_folder("LORA_STUDIO_DATA", platformdirs.user_data_dir(_APP, appauthor=False))


def get_projects_folder() -> Path:
    """Return the folder for new projects: where people look for their files, unless the data folder was moved."""
    if os.environ.get("LORA_STUDIO_DATA"):
        return get_data_folder() / "projects"
    return get_documents_folder() / "LoRA Studio"


def get_documents_folder() -> Path:
    """Return the user's folder for documents, which may not exist yet."""
    return Path(platformdirs.user_documents_dir())


def get_cache_folder() -> Path:
    """Return the folder of files that can be downloaded or computed again, such as the built-in
    model."""
    return _get_user_folder("LORA_STUDIO_CACHE", platformdirs.user_cache_dir(_APP, appauthor=False))


def get_config_folder() -> Path:
    """Return the folder of the window's preferences and the list of recent projects."""
    return _get_user_folder(
        "LORA_STUDIO_CONFIG", platformdirs.user_config_dir(_APP, appauthor=False)
    )


def get_folder_variables() -> dict[str, str]:
    """Return the variables that move the user's folders, as absolute paths for a process with another current folder."""
    moved = {
        "LORA_STUDIO_DATA": get_data_folder,
        "LORA_STUDIO_CACHE": get_cache_folder,
        "LORA_STUDIO_CONFIG": get_config_folder,
        "LORA_STUDIO_LOGS": get_log_folder,
    }
    return {name: str(get().absolute()) for name, get in moved.items() if os.environ.get(name)}


def get_window_file() -> Path:
    """Return the file with the window's preferences."""
    return get_config_folder() / "window.json"


def get_log_folder() -> Path:
    """Return the folder of logs of workers without a run."""
    return _get_user_folder("LORA_STUDIO_LOGS", platformdirs.user_log_dir(_APP, appauthor=False))


def get_resources_folder() -> Path:
    """Return the resources folder of a checkout, a wheel or a frozen app; raises FileNotFoundError."""
    package = Path(__file__).resolve().parents[2]
    frozen = Path(getattr(sys, "_MEIPASS", package))
    for candidate in (package / "resources", package.parent / "resources", frozen / "resources"):
        if (candidate / "sample").is_dir():
            return candidate
    raise FileNotFoundError(f"The resources folder is missing beside {package}.")
