"""Tab goes the way the eye goes, also through parts that were made later than their neighbours."""

from __future__ import annotations

from collections.abc import Iterator

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QAbstractButton,
    QLayout,
    QScrollArea,
    QSplitter,
    QStackedWidget,
    QTabWidget,
    QWidget,
)


def follow_layout(before: QWidget, root: QWidget) -> None:
    """Makes Tab lead from `before` through everything in `root` as it is laid out.

    Qt's own order is that in which widgets were made.
    """
    for widget in _in_order(root):
        QWidget.setTabOrder(before, widget)
        before = widget


def go_on(window: QWidget, forwards: bool) -> bool:
    """Gives the focus to the next, or the last, part of `window` that Tab stops at; False if none.

    WORKAROUND: Qt stops at a widget whose focus proxy is one of its parts as if it were that part:
    Tab jumps over what stands before the part, or goes back to it for ever. Here the parts alone
    are stops.
    """
    here = window.focusWidget() or window
    widget = _neighbour(here, forwards)
    while widget is not None and widget is not here:
        if _is_stop(widget, window):
            reason = (
                Qt.FocusReason.TabFocusReason if forwards else Qt.FocusReason.BacktabFocusReason
            )
            window.setAttribute(Qt.WidgetAttribute.WA_KeyboardFocusChange)
            widget.setFocus(reason)
            return True
        widget = _neighbour(widget, forwards)
    return False


def _neighbour(widget: QWidget, forwards: bool) -> QWidget | None:
    return widget.nextInFocusChain() if forwards else widget.previousInFocusChain()


def _is_stop(widget: QWidget, window: QWidget) -> bool:
    all_controls = Qt.TabFocusBehavior.TabFocusAllControls
    everything = QGuiApplication.styleHints().tabFocusBehavior() == all_controls
    needed = Qt.FocusPolicy.TabFocus if everything else Qt.FocusPolicy.StrongFocus
    return (
        widget.focusPolicy() & needed == needed
        and widget.focusProxy() is None
        and widget.isEnabled()
        and widget.window() is window
        and widget.isVisibleTo(window)
        and not _stands_back(widget)
    )


def _stands_back(widget: QWidget) -> bool:
    """Whether another button of its group is the one that is chosen: the arrow keys lead here."""
    group = widget.group() if isinstance(widget, QAbstractButton) else None
    chosen = group.checkedButton() if group is not None and group.exclusive() else None
    return chosen is not None and chosen is not widget and chosen.isEnabled()


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
