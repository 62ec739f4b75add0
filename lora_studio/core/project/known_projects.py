"""Which projects this user has opened, and what they were allowed to ask for.

The record is in the user's configuration. A project that isn't in it comes from elsewhere; one that
asks for more than before was changed elsewhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from lora_studio.core import limits
from lora_studio.core.project.access_requests import AccessRequest
from lora_studio.core.project.project import Draft
from lora_studio.core.system import paths
from lora_studio.core.system.files import write_atomic
from lora_studio.core.system.foreign_files import raise_unless_damaged, read_json


def is_known(project_file: Path) -> bool:
    """Return whether the user has created, saved or accepted the project at this path."""
    return _get_key(project_file) in _read()


def list_new(draft: Draft, requests: Iterable[AccessRequest]) -> list[AccessRequest]:
    """Return those of a project's requests that the user hasn't accepted yet."""
    accepted = _read().get(_get_key(draft.path), []) if draft.path else []
    return [request for request in requests if request.key not in accepted]


def is_accepted(request: AccessRequest) -> bool:
    """Return whether the user has accepted a request of any project."""
    return any(request.key in accepted for accepted in _read().values())


def list_accepted(folder: Path) -> set[str]:
    """Return the keys of what the user has accepted for the projects in a folder, with absolute paths."""
    accepted: set[str] = set()
    for path, keys in _read().items():
        if Path(path).parent == folder:
            accepted |= {_make_absolute(key, folder) for key in keys if isinstance(key, str)}
    return accepted


def _make_absolute(key: str, folder: Path) -> str:
    kind, _, target = key.partition(" ")
    if kind not in ("read", "write"):
        return key
    return f"{kind} {os.path.normpath(folder / paths.expand_home(Path(target)))}"


def accept(draft: Draft, requests: Iterable[AccessRequest]) -> None:
    """Record a project with the requests that the user was shown or has made; it may do nothing else.

    The caller lists them once, shows them, and passes the same ones: what the project asks for also depends
    on the disk, and may have changed meanwhile. Nothing happens if the record can't be stored.
    """
    if draft.path is None:
        return
    key = _get_key(draft.path)
    accepted = [request.key for request in requests]
    try:
        known = _read(raise_unless_damaged)
        if known.get(key) == accepted:
            return
        known.pop(key, None)
        known[key] = accepted
        write_atomic(
            _get_file(), json.dumps(dict(list(known.items())[-limits.KNOWN_PROJECTS :]), indent=1)
        )
    except OSError:
        return  # asking again is better than not opening the project


def _read(on_error: Callable[[Exception], None] = lambda _: None) -> dict[str, list[str]]:
    """Return the accepted requests by path; {} if there are none or the file can't be used.

    `on_error` gets the error of a file that exists but can't be read.
    """
    try:
        content = read_json(_get_file())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        on_error(error)
        return {}
    if not isinstance(content, dict):
        return {}
    return {path: keys for path, keys in content.items() if isinstance(keys, list)}


def _get_key(project_file: Path) -> str:
    return str(project_file.resolve())


def _get_file() -> Path:
    return paths.get_config_folder() / "known_projects.json"
