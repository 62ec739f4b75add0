"""Changes of the recipe to press, those that are made already marked as such."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QPushButton, QWidget

from lora_studio.core.problems import Fix
from lora_studio.gui.message_translation import tell
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.widgets.basics import FlowLayout, button, label


class FixRow(QWidget):
    """Hidden while there is nothing to change.

    Signals:
        chosen(Fix): a change that the user wants.
    """

    chosen = Signal(object)

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """`state` is the project that is changed."""
        super().__init__(parent)
        self._state = state
        self._fixes: list[Fix] = []
        self._said = label("", "caption")
        self.buttons: list[QPushButton] = []
        self._flow = FlowLayout(self)
        self._flow.addWidget(self._said)
        self.hide()
        state.value_changed.connect(self._mark)

    def show_fixes(self, fixes: Sequence[Fix], said: str = "") -> None:
        """Buttons for these changes, after a few words; the same ones as before stay as they are."""
        self.setVisible(bool(fixes))
        if not fixes:
            return
        self._said.setText(said)
        self._said.setVisible(bool(said))
        if list(fixes) != self._fixes:
            self._fixes = list(fixes)
            for old in self.buttons:
                self._flow.removeWidget(old)
                old.hide()
                old.deleteLater()
            self.buttons = [self._button(fix) for fix in self._fixes]
        self._mark()

    def _button(self, fix: Fix) -> QPushButton:
        made = button(tell(fix.label), lambda: self.chosen.emit(fix))
        self._flow.addWidget(made)
        return made

    def _mark(self, *_: object) -> None:
        for made, fix in zip(self.buttons, self._fixes, strict=True):
            is_done = all(self._state.get(step, name) == value for step, name, value in fix.changes)
            made.setEnabled(not is_done)
            made.setText(f"✓ {tell(fix.label)}" if is_done else tell(fix.label))
