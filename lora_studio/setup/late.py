"""A library that is imported when something of it is used: the window starts without it."""

from __future__ import annotations

import importlib
from typing import Any


class LazyModule:
    """Stands for a module; its first use imports it."""

    def __init__(self, name: str) -> None:
        """`name` is that of the module."""
        self._name = name

    def __getattr__(self, name: str) -> Any:
        """What the module has."""
        return getattr(importlib.import_module(self._name), name)
