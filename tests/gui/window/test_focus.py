"""Each widget that Tab reaches shows that it has the focus, on all pages and dialogs, in both themes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QApplication, QScrollArea, QWidget
from shiboken6 import isValid

from lora_studio.gui import theme
from lora_studio.gui.widgets import tab_order
from lora_studio.gui.window import main_window
from lora_studio.gui.window.main_window import Window
from tests import screenshots

pytestmark = pytest.mark.thorough

#: Pixels around a widget in which its focus may show, and the fewest that differ; a text cursor has 16.
_AROUND, _FEWEST = 4, 30
#: The tour has the focus to itself; what is below it can't be reached.
_COVERED = ("tour",)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_focus_changes_pixels_of_every_widget(
    qapp: QApplication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: theme.Mode
) -> None:
    monkeypatch.setenv("LORA_STUDIO_ENGINE", "")  # restored at the end
    monkeypatch.setattr(main_window, "fit_to_screen", lambda _: None)
    screenshots.isolate_settings(tmp_path)
    theme.apply(qapp, mode)
    hidden: dict[str, int] = {}
    seen: set[tuple[str, str]] = set()
    for name, shown in screenshots.shots(tmp_path):
        if name not in _COVERED:
            hidden |= {f"{name}: {key}": changed for key, changed in _look(qapp, shown, seen)}
    assert len(seen) > 300, "all pages and dialogs were walked"
    assert not hidden, hidden


def _look(qapp: QApplication, shown: QWidget, seen: set[tuple[str, str]]) -> list[tuple[str, int]]:
    """Focus each stop that wasn't `seen` on the same page; return those that change too few pixels."""
    window = shown.window()
    place = type(shown).__name__
    if isinstance(shown, Window):
        shown.resize(1280, 800)
        place = shown.page_name
    window.activateWindow()
    qapp.processEvents()
    pale = []
    for stop in tab_order.list_focus_order(window):
        if not isValid(stop) or not shown.isAncestorOf(stop) or not stop.isVisible():
            continue  # replaced since the last stop
        key = (place, _describe(stop))
        if key in seen:
            continue
        seen.add(key)
        stop.setFocus(Qt.FocusReason.TabFocusReason)
        qapp.processEvents()
        if not isValid(stop) or qapp.focusWidget() is not stop:
            continue
        _scroll_to(stop)
        qapp.processEvents()
        if (changed := _count_changed(qapp, window, stop)) < _FEWEST:
            pale.append((key[1], changed))
    return pale


def _scroll_to(widget: QWidget) -> None:
    parent = widget.parentWidget()
    while parent is not None:
        if isinstance(parent, QScrollArea):
            parent.ensureWidgetVisible(widget)
        parent = parent.parentWidget()


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
    text = getattr(widget, "text", "")  # some widgets have a label of this name
    name = widget.accessibleName() or (text() if callable(text) else "")
    return f"{type(widget).__name__} {name!r} in {type(widget.parentWidget()).__name__}"
