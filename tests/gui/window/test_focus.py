"""Each widget that Tab reaches shows that it has the focus, in both themes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from lora_studio.gui import theme
from lora_studio.gui.frame import lazy_pages
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.window.wiring import make_window

pytestmark = pytest.mark.thorough

#: Pixels around a widget in which its focus may show, and the fewest that differ; a text cursor has 16.
_AROUND, _FEWEST = 4, 30
#: Most widgets on one page.
_MOST = 150

_PAGES = (
    "home", "model", "lora", "dataset", "training", "merging", "export", "runs", "evaluation", "playground", "settings",
)  # fmt: skip


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_focus_changes_pixels_of_every_widget(
    qtbot: QtBot, qapp: QApplication, project_folder: Path, mode: theme.Mode
) -> None:
    theme.apply(qapp, mode)
    window = make_window(Preferences(), lazy_pages.make_step_pages)
    qtbot.addWidget(window)
    window.show()
    window.resize(1280, 900)
    qtbot.waitUntil(window.isVisible)
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    window.open_project(project_folder)
    hidden: dict[str, str] = {}
    for name in _PAGES:
        window.show_page(name)
        qapp.processEvents()
        seen: set[int] = set()
        for _ in range(_MOST):
            qtbot.keyClick(qapp.focusWidget() or window, Qt.Key.Key_Tab)
            qapp.processEvents()
            widget = qapp.focusWidget()
            if widget is None or id(widget) in seen:
                break
            seen.add(id(widget))
            if (changed := _count_changed(qapp, window, widget)) < _FEWEST:
                hidden[f"{name}: {_describe(widget)}"] = str(changed)
    assert not hidden, hidden


def _count_changed(qapp: QApplication, window: QWidget, widget: QWidget) -> int:
    """Return how many pixels in and around a widget show its focus."""
    corner = widget.mapTo(window, QPoint(0, 0))
    around = QRect(corner, widget.size()).adjusted(-_AROUND, -_AROUND, _AROUND, _AROUND)
    focused = window.grab(around).toImage()
    widget.clearFocus()
    qapp.processEvents()
    plain = window.grab(around).toImage()
    widget.setFocus()
    qapp.processEvents()
    return _count_differences(focused, plain)


def _count_differences(one: QImage, other: QImage) -> int:
    if one.isNull() or other.isNull():
        return -1  # outside of the window
    if one.size() != other.size():
        return one.width() * one.height()
    one, other = (image.convertToFormat(QImage.Format.Format_RGB32) for image in (one, other))
    pixels = [bytes(image.constBits()) for image in (one, other)]
    return sum(
        pixels[0][at : at + 3] != pixels[1][at : at + 3] for at in range(0, len(pixels[0]), 4)
    )


def _describe(widget: QWidget) -> str:
    name = widget.accessibleName() or getattr(widget, "text", lambda: "")()
    return f"{type(widget).__name__} {name!r} in {type(widget.parentWidget()).__name__}"
