"""Tab reaches every control of every page, and comes back to where it began."""

from __future__ import annotations

from pathlib import Path

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
    """Three choices, then a button before the line that takes the focus for both."""

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


def _way(qtbot: QtBot, window: QWidget, key: Qt.Key) -> list[QWidget]:
    """Where the key leads until it is where it was before."""
    way: list[QWidget] = []
    while (here := window.focusWidget()) is not None and here not in way:
        way.append(here)
        qtbot.keyClick(here, key)
    return way


def test_tab_stops_at_what_stands_before_the_part_that_takes_the_focus(qtbot: QtBot) -> None:
    window = _Window()
    qtbot.addWidget(window)
    window.show()
    window.choices[1].setFocus()
    way = _way(qtbot, window, Qt.Key.Key_Tab)
    assert way == [window.choices[1], window.tool, window.line, window.after]
    assert _way(qtbot, window, Qt.Key.Key_Backtab) == [way[0], *reversed(way[1:])]


def test_tab_goes_on_through_lines_that_are_filled_again_and_again(
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
            assert window.rail.button(name) in tab_order.focus_order(window)
