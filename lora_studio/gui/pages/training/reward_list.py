"""Editor of the rewards of a recipe."""

from __future__ import annotations

from typing import Any

from PySide6.QtWidgets import QWidget

from lora_studio.gui.controls.controls import Control


class RewardList(Control):
    """Editor of a list of rewards, as plain values."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create an empty list."""
        super().__init__(parent)
        self._value: list[dict[str, Any]] = []

    def show_value(self, value: Any) -> None:
        """Show rewards; anything that isn't a reward is left out."""
        items = value if isinstance(value, list | tuple) else ()
        self._value = [item for item in items if isinstance(item, dict)]
