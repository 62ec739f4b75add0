"""A row of buttons that apply fixes to the project; applied fixes are checked."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QPushButton, QWidget

from lora_studio.core.problems import Fix
from lora_studio.gui.message_translation import localize
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.widgets.basics import FlowLayout, button, label


class FixRow(QWidget):
    """Shows a button per fix; hidden while there are none.

    Signals:
        chosen(Fix): apply a change to the project.
    """

    chosen = Signal(object)

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Follow the settings of the project in `state`."""
        super().__init__(parent)
        self._state = state
        self._fixes: list[Fix] = []
        self._caption = label("", "caption")
        self.buttons: list[QPushButton] = []
        self._flow = FlowLayout(self)
        self._flow.addWidget(self._caption)
        self.hide()
        state.value_changed.connect(self._check_applied)

    def show_fixes(self, fixes: Sequence[Fix], caption: str = "") -> None:
        """Show buttons for the fixes after a caption; unchanged fixes keep their buttons."""
        self.setVisible(bool(fixes))
        if not fixes:
            return
        self._caption.setText(caption)
        self._caption.setVisible(bool(caption))
        if list(fixes) != self._fixes:
            self._fixes = list(fixes)
            for fix_button in self.buttons:
                self._flow.removeWidget(fix_button)
                fix_button.hide()
                fix_button.deleteLater()
            self.buttons = [self._add_button(fix) for fix in self._fixes]
        self._check_applied()

    def _add_button(self, fix: Fix) -> QPushButton:
        fix_button = button(localize(fix.label), lambda: self.chosen.emit(fix))
        self._flow.addWidget(fix_button)
        return fix_button

    def _check_applied(self, *_: object) -> None:
        for fix_button, fix in zip(self.buttons, self._fixes, strict=True):
            applied = all(self._state.get(step, name) == value for step, name, value in fix.changes)
            fix_button.setEnabled(not applied)
            fix_button.setText(f"✓ {localize(fix.label)}" if applied else localize(fix.label))
