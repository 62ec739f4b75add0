"""Tab goes the way the eye goes, also through parts that were made later than their neighbours."""

from __future__ import annotations

from collections.abc import Iterator

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLayout, QScrollArea, QSplitter, QStackedWidget, QTabWidget, QWidget


def follow_layout(before: QWidget, root: QWidget) -> None:
    """Makes Tab lead from `before` through everything in `root` as it is laid out.

    Qt's own order is that in which widgets were made.
    """
    for widget in _in_order(root):
        QWidget.setTabOrder(before, widget)
        before = widget


def _in_order(widget: QWidget) -> Iterator[QWidget]:
    if widget.focusPolicy() & Qt.FocusPolicy.TabFocus and widget.focusProxy() is None:
        yield widget
    for part in _parts(widget):
        yield from _in_order(part)


def _parts(widget: QWidget) -> list[QWidget]:
    match widget:
        case QTabWidget():
            corner = widget.cornerWidget()
            pages = [widget.widget(index) for index in range(widget.count())]
            found = [widget.tabBar(), *([corner] if corner else []), *pages]
        case QSplitter() | QStackedWidget():
            found = [widget.widget(index) for index in range(widget.count())]
        case QScrollArea():
            found = [widget.widget()]
        case _:
            layout = widget.layout()
            found = list(_widgets(layout)) if layout is not None else []
    return [part for part in found if part is not None]


def _widgets(layout: QLayout) -> Iterator[QWidget]:
    for index in range(layout.count()):
        item = layout.itemAt(index)
        if item is None:
            continue
        inner, widget = item.layout(), item.widget()
        if widget is not None:
            yield widget
        elif inner is not None:
            yield from _widgets(inner)
