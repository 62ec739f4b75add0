"""Make the Tab order follow the layout instead of the order in which widgets were created."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

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


def move_focus(window: QWidget, forwards: bool) -> bool:
    """Focus the next or previous Tab stop of `window`; return False if there is none.

    The order is that of the layout; Qt's own order is that of creation.

    WORKAROUND: Qt treats a widget whose focus proxy is one of its children as if it were that child,
    so Tab skips what comes before the child, or returns to it forever. Here, only the children are
    stops.
    """
    focused = window.focusWidget() or window
    place_of = _make_position_lookup(window)
    stops = _list_stops(window, place_of)
    if not stops or stops == [focused]:
        return False
    if focused in stops:
        index = stops.index(focused) + (1 if forwards else -1)
    else:  # for example a page, which contains stops
        preceding = sum(place_of(widget) <= place_of(focused) for widget in stops)
        index = preceding if forwards else preceding - 1
    reason = Qt.FocusReason.TabFocusReason if forwards else Qt.FocusReason.BacktabFocusReason
    window.setAttribute(Qt.WidgetAttribute.WA_KeyboardFocusChange)
    stops[index % len(stops)].setFocus(reason)
    return True


def list_focus_order(window: QWidget) -> list[QWidget]:
    """Return the Tab stops from first to last."""
    return _list_stops(window, _make_position_lookup(window))


def _list_stops(window: QWidget, place_of: Callable[[QWidget], int]) -> list[QWidget]:
    stops = [widget for widget in _iter_shown(window) if _is_stop(widget)]
    return sorted(stops, key=place_of)  # widgets without a layout stay in the order of creation


def _iter_shown(widget: QWidget) -> Iterator[QWidget]:
    """Yield the widgets inside another one that aren't hidden: nine tenths are on hidden pages."""
    for child in widget.children():
        if isinstance(child, QWidget) and not child.isHidden() and not child.isWindow():
            yield child
            yield from _iter_shown(child)


def _make_position_lookup(window: QWidget) -> Callable[[QWidget], int]:
    """Return a function that gives a widget's position in the layout."""
    positions: dict[QWidget, int] = {}

    def walk(widget: QWidget) -> None:
        positions[widget] = len(positions)
        for part in _list_parts(widget):
            walk(part)

    def position(widget: QWidget) -> int:
        above: QWidget | None = widget
        while above is not None and above not in positions:
            above = above.parentWidget()
        return positions[above] if above is not None else 0

    walk(window)
    return position


def _is_stop(widget: QWidget) -> bool:
    all_controls = Qt.TabFocusBehavior.TabFocusAllControls
    everything = QGuiApplication.styleHints().tabFocusBehavior() == all_controls
    needed = Qt.FocusPolicy.TabFocus if everything else Qt.FocusPolicy.StrongFocus
    return (
        _get_focus_policy(widget) & needed == needed
        and widget.focusProxy() is None
        and widget.isEnabled()
        and not _is_skipped_in_group(widget)
    )


def _get_focus_policy(widget: QWidget) -> Qt.FocusPolicy:
    """Return the focus policy of a widget; a grouped button has the combined policy of its group.

    Once a button has had the focus, Qt removes TabFocus from the others, and doesn't restore it for a
    button that the program checks later.
    """
    policy = widget.focusPolicy()
    group = widget.group() if isinstance(widget, QAbstractButton) else None
    if group is not None and group.exclusive():
        for button in group.buttons():
            policy |= button.focusPolicy()
    return policy


def _is_skipped_in_group(widget: QWidget) -> bool:
    """Return whether another button of its group is checked, so that only arrow keys reach this one."""
    group = widget.group() if isinstance(widget, QAbstractButton) else None
    chosen = group.checkedButton() if group is not None and group.exclusive() else None
    return chosen is not None and chosen is not widget and chosen.isEnabled()


def _list_parts(widget: QWidget) -> list[QWidget]:
    parts: list[QWidget | None]
    match widget:
        case QTabWidget():
            corner = widget.cornerWidget()
            parts = [widget.tabBar(), *([corner] if corner else []), widget.currentWidget()]
        case QStackedWidget():
            parts = [widget.currentWidget()]  # nine tenths of all widgets are on other pages
        case QSplitter():
            parts = [widget.widget(index) for index in range(widget.count())]
        case QScrollArea():
            parts = [widget.widget()]
        case _:
            layout = widget.layout()
            inside = [part for part in widget.children() if isinstance(part, QWidget)]
            parts = list(_iterate_widgets(layout, inside)) if layout is not None else []
    return [part for part in parts if part is not None]


def _iterate_widgets(layout: QLayout, inside: Sequence[QWidget]) -> Iterator[QWidget]:
    """Yield the widgets that a layout and its nested layouts hold, in order.

    WORKAROUND: uses `indexOf` because `itemAt` can return a deleted item: PySide doesn't notice when Qt
    deletes an item, and Qt may create a new one at the same address ("already deleted", after pressing
    Tab for a while in lists that are refilled repeatedly).
    """
    items: list[tuple[int, QWidget | QLayout]] = [
        (index, part) for part in inside if (index := layout.indexOf(part)) >= 0
    ]
    items += [
        (layout.indexOf(part), part) for part in layout.children() if isinstance(part, QLayout)
    ]
    for _, part in sorted(items, key=lambda each: each[0]):
        if isinstance(part, QWidget):
            yield part
        else:
            yield from _iterate_widgets(part, inside)
