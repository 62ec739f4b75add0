"""Tab reaches every control of every page."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QButtonGroup,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)
from pytestqt.qtbot import QtBot

from lora_studio.core.problems import Problem
from lora_studio.gui.widgets import tab_order
from lora_studio.gui.window.main_window import Window


class _Window(QWidget):
    """Three choices, then a button before the line edit that is the focus proxy of both."""

    def __init__(self) -> None:
        super().__init__()
        self.choices = [QRadioButton(str(number)) for number in range(3)]
        self.group = QButtonGroup(self)
        for choice in self.choices:
            self.group.addButton(choice)
        self.choices[1].setChecked(True)
        self.held = QWidget()
        self.tool, self.line, self.after = QPushButton(), QLineEdit(), QPushButton()
        inside = QVBoxLayout(self.held)
        inside.addWidget(self.tool)
        inside.addWidget(self.line)
        self.held.setFocusProxy(self.line)
        layout = QVBoxLayout(self)
        for part in (*self.choices, self.held, self.after):
            layout.addWidget(part)

    def focusNextPrevChild(self, forwards: bool) -> bool:
        return tab_order.move_focus(self, forwards)


def _focus_path(qtbot: QtBot, window: QWidget, key: Qt.Key) -> list[QWidget]:
    """Return the widgets that the key visits until it reaches one a second time."""
    way: list[QWidget] = []
    while (here := window.focusWidget()) is not None and here not in way:
        way.append(here)
        qtbot.keyClick(here, key)
    return way


def test_tab_reaches_a_button_before_a_focus_proxy(qtbot: QtBot) -> None:
    window = _Window()
    qtbot.addWidget(window)
    window.show()
    window.choices[1].setFocus()
    way = _focus_path(qtbot, window, Qt.Key.Key_Tab)
    assert way == [window.choices[1], window.tool, window.line, window.after]
    assert _focus_path(qtbot, window, Qt.Key.Key_Backtab) == [way[0], *reversed(way[1:])]


@pytest.mark.slow
def test_tab_order_survives_repeated_rebuilds_of_the_strip(
    window: Window, project_folder: Path
) -> None:
    window.open_project(project_folder)
    for number in range(12):
        for name in ("home", "model", "runs", "settings"):
            window.show_page(name)
            problems = [
                Problem(code="lora.odd", what=f"It is odd, {number} {name}.", remedy="Mend it.")
                for _ in range(number % 3)
            ]
            window.state.report("odd", problems)
            assert window.rail.button(name) in tab_order.list_focus_order(window)
