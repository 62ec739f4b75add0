"""Imports of large libraries without what they do at the side."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any


@contextmanager
def speed_up_imports() -> Iterator[None]:
    """Imports torch; what is imported within this takes about half as long as otherwise.

    Nobody looks for cycles meanwhile, which imports hardly make, and functions that a library hands to
    torch.compile as it is imported are compiled when they are first called. bitsandbytes has some, and
    the compiler that is loaded for them is 500 modules and 40 MB, which most trainings never need.
    """
    gc.disable()
    try:
        import torch

        at_once = torch.compile
        torch.compile = _when_called(at_once)
        try:
            yield
        finally:
            torch.compile = at_once
    finally:
        gc.enable()


def _when_called(at_once: Callable[..., Any]) -> Any:
    """torch.compile for functions, which does its work with the first call of each."""

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
