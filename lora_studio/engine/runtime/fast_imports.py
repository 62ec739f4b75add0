"""Faster imports of large libraries."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any


@contextmanager
def speed_up_imports() -> Iterator[None]:
    """Import torch, and halve the time of imports inside the block.

    The garbage collector is off, since imports create few cycles, and functions that a library
    passes to torch.compile at import are compiled at their first call. bitsandbytes has some, and
    the compiler that they load is 500 modules and 40 MB, which most trainings never need.
    """
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
