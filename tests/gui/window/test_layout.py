"""The window fits the screen that it opens on."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QRect, QSize
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from lora_studio.gui.window import main_window


class FramedWindow(QWidget):
    """A window with a title bar of 36 pixels and a border of 4 on a screen of 1280 × 800."""

    room = QRect(0, 24, 1280, 776)  # without the panel of the desktop

    def frameGeometry(self) -> QRect:
        return self.geometry().adjusted(-4, -36, 4, 4)

    def move(self, *position: int) -> None:  # type: ignore[override]  # the position of the frame
        super().move(position[0] + 4, position[1] + 36)

    def screen(self) -> FramedWindow:  # type: ignore[override]
        return self

    def availableGeometry(self) -> QRect:
        return self.room


@pytest.mark.parametrize(
    ("before", "size"),
    [
        pytest.param(QRect(0, 0, 1280, 800), QSize(1272, 736), id="as-large-as-the-screen"),
        pytest.param(QRect(4, 60, 1000, 700), QSize(1000, 700), id="fits"),
        pytest.param(QRect(900, 500, 1000, 700), QSize(1000, 700), id="partly-outside"),
        pytest.param(QRect(-500, -300, 1400, 700), QSize(1272, 700), id="too-wide"),
    ],
)
def test_window_is_moved_inside_the_screen(qtbot: QtBot, before: QRect, size: QSize) -> None:
    window = FramedWindow()
    qtbot.addWidget(window)
    window.setGeometry(before)
    main_window.fit_to_screen(window)
    assert window.size() == size
    assert window.room.contains(window.frameGeometry())
