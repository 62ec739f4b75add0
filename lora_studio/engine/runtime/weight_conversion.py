"""Weights that are converted while they are loaded, such as to 4 bits: a lack of memory ends it at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import core_model_loading

from lora_studio.engine.runtime.failures import is_out_of_memory

#: The function of transformers that collects errors.
_COLLECT = "log_conversion_errors"


@contextmanager
def raise_lack_of_memory() -> Iterator[None]:
    """Let a lack of memory leave the loading of a model.

    WORKAROUND: transformers collects the errors of all conversions and raises another one at the end. That one
    doesn't say that memory ran out, so a model that is too large would count as unreadable, and nothing would
    fall back to the CPU.
    """
    collect: Any = getattr(core_model_loading, _COLLECT, None)
    if collect is None:  # another version
        yield
        return

    @contextmanager
    def collect_others(*arguments: Any, **named: Any) -> Iterator[None]:
        lack: Exception | None = None
        with collect(*arguments, **named):
            try:
                yield
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                lack = error
        if lack is not None:
            raise lack

    setattr(core_model_loading, _COLLECT, collect_others)
    try:
        yield
    finally:
        setattr(core_model_loading, _COLLECT, collect)
