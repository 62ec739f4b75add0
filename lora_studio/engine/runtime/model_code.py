"""Python code that a model's folder includes, in the process that runs it.

transformers imports code from wherever a configuration refers to: the folder, another one, the cache of the Hub, or
its own copies of earlier times. Here it gets a private copy of exactly the bytes that the user allowed, and nothing
else, whatever the configurations say and whatever has changed in the folder since.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

from lora_studio.core.model import remote_code
from lora_studio.core.model.remote_code import ModelCode
from lora_studio.core.system.files import create_folder
from lora_studio.core.system.programs import create_private_folder
from lora_studio.engine.runtime import fast_imports


class _Package(NamedTuple):
    """A private copy: its path below transformers' folder of modules, and its files."""

    path: str
    files: frozenset[str]


#: Path of a model's folder -> the copy of its allowed code.
_allowed: dict[str, _Package] = {}


def is_allowed(folder: Path, *, requested: bool) -> bool:
    """Return whether the code of a model may run; `requested` is the project's setting.

    If so, transformers can import a copy of it, and the copy can import every package: some models need those that
    this process hides. Raises ProblemError as `remote_code.read_allowed`, and OSError if the copy can't be written.
    """
    from transformers import dynamic_module_utils

    restrict(dynamic_module_utils)
    model_code = remote_code.read_allowed(folder, requested=requested)
    if model_code is None:
        return False
    allow(folder, model_code, dynamic_module_utils)
    fast_imports.show_rarely_used_packages()
    return True


def restrict(loader: Any) -> None:
    """Make `loader`, transformers' dynamic_module_utils, import allowed code only, and never ask on stdin."""
    loader.get_cached_module_file = _get_module_file
    loader.TIME_OUT_REMOTE_CODE = 0
    if generation := sys.modules.get("transformers.generation.utils"):
        generation.get_cached_module_file = _get_module_file  # type: ignore[attr-defined]  # imported by name


def allow(folder: Path, model_code: ModelCode, loader: Any) -> None:
    """Copy the code of a model to where `loader` imports it from; raises OSError."""
    name = f"code_{model_code.code.digest}"
    package = _Package(
        f"{loader.TRANSFORMERS_DYNAMIC_MODULE_NAME}/{name}", frozenset(model_code.contents)
    )
    loader.HF_MODULES_CACHE = str(_get_modules_folder())
    if package not in _allowed.values():
        loader.create_dynamic_module(package.path)
        for file, content in model_code.contents.items():
            target = Path(loader.HF_MODULES_CACHE, package.path, file)
            create_folder(target.parent)
            # The package itself is transformers' own: a model's __init__.py isn't for this way of importing it.
            if file != "__init__.py":
                target.write_bytes(content)
        importlib.invalidate_caches()
    _allowed[_normalize(folder)] = package


def _get_module_file(source: str | os.PathLike[str], module_file: str, *_: Any, **__: Any) -> str:
    """Replace transformers' get_cached_module_file: return a module in a copy, or raise PermissionError."""
    from transformers import dynamic_module_utils as loader

    package = _allowed.get(_normalize(source))
    if package is None or module_file not in package.files:
        raise PermissionError(f"The code {module_file} of {source} isn't allowed to run.")
    path = Path(package.path, module_file)
    loader.check_imports(Path(loader.HF_MODULES_CACHE, path))
    return str(path)


@functools.cache
def _get_modules_folder() -> Path:
    return create_private_folder()


def _normalize(folder: str | os.PathLike[str]) -> str:
    return os.path.abspath(folder)  # noqa: PTH100 - links stay, as in what transformers is given
