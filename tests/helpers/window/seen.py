"""Find visual faults of a window: cut text, controls without a name or out of reach."""

from __future__ import annotations

import re
from collections.abc import Iterator

from PySide6.QtCore import QModelIndex, QRect, Qt
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractScrollArea,
    QAbstractSlider,
    QAbstractSpinBox,
    QCheckBox,
    QComboBox,
    QGroupBox,
    QHeaderView,
    QLabel,
    QLineEdit,
    QMainWindow,
    QPlainTextEdit,
    QPushButton,
    QRadioButton,
    QScrollArea,
    QScrollBar,
    QStackedLayout,
    QTabBar,
    QTableView,
    QTextEdit,
    QToolButton,
    QWidget,
)

from lora_studio.gui.frame.rail import RailButton
from lora_studio.gui.pages.dataset.row_browser import RowTable
from lora_studio.gui.pages.page import AppPage, StepPage
from lora_studio.gui.widgets import tab_order
from lora_studio.gui.widgets.docs_viewer import DocsViewer
from lora_studio.gui.widgets.glyph import ElidedLabel
from tests.helpers.window import seen

#: Tolerance for rounding, in pixels.
_SLACK = 2
_INTERACTIVE = (
    QAbstractButton, QLineEdit, QComboBox, QAbstractItemView, QPlainTextEdit, QTextEdit,
    QAbstractSlider, QAbstractSpinBox, QTabBar,
)  # fmt: skip
_PAGES = (StepPage, AppPage)


def shown(root: QWidget) -> Iterator[QWidget]:
    """Yield every visible descendant, except the internals of compound widgets."""
    for widget in root.findChildren(QWidget):
        if widget.isVisible() and widget.width() > 1 and widget.height() > 1:
            yield widget


def cut_texts(root: QWidget) -> list[str]:
    """Return texts of labels and buttons that don't fit."""
    faults = []
    for widget in shown(root):
        if isinstance(widget, ElidedLabel) or isinstance(widget.parentWidget(), ElidedLabel):
            continue  # elided on purpose, with the full text in the tooltip
        if isinstance(widget, QLabel) and widget.text() and _is_cut(widget):
            faults.append(f"label “{widget.text()[:70]}” {_size(widget)}")
        elif isinstance(widget, QPushButton | QCheckBox | QRadioButton) and widget.text():
            need, have = widget.minimumSizeHint(), widget.size()
            if need.width() > have.width() + _SLACK or need.height() > have.height() + _SLACK:
                faults.append(
                    f"button “{widget.text()[:70]}” {_size(widget)}, {need.width()} needed"
                )
        elif isinstance(widget, RailButton) and widget.sizeHint().width() > widget.width() + _SLACK:
            faults.append(f"rail “{widget.text()}”")
    return faults


def cut_cells(root: QWidget) -> list[str]:
    """Return headers of tables that don't fit, and cells that are elided without a tooltip."""
    faults = []
    for view in shown(root):
        if isinstance(view, QTableView) and not isinstance(view, RowTable):  # its detail has all
            header = view.horizontalHeader()
            if header.isVisible():
                faults += _cut_headers(view, header)
            faults += _elided_cells(view)
    return faults


def _cut_headers(view: QTableView, header: QHeaderView) -> Iterator[str]:
    for column in range(header.count()):
        have, need = header.sectionSize(column), header.sectionSizeHint(column)
        if have and have + _SLACK < need:
            title = view.model().headerData(column, Qt.Orientation.Horizontal)
            yield f"header “{title}” in {have}, {need} needed"


def _elided_cells(view: QTableView) -> Iterator[str]:
    model = view.model()
    for row in range(min(30, model.rowCount())):
        for column in range(model.columnCount()):
            index = model.index(row, column)
            have, need = view.visualRect(index).width(), view.sizeHintForIndex(index).width()
            tip = index.data(Qt.ItemDataRole.ToolTipRole)
            if not view.isColumnHidden(column) and not tip and have + _SLACK < need:
                yield f"cell “{index.data()}” in {have}, {need} needed"


def squeezed(root: QWidget) -> list[str]:
    """Return widgets that are smaller than what they contain needs."""
    faults = []
    for widget in shown(root):
        layout = widget.layout()
        if layout is None or isinstance(layout, QStackedLayout):
            continue  # which reports the largest of its pages
        if isinstance(widget.parentWidget(), QMainWindow):
            continue
        need = layout.minimumSize()
        if need.height() > widget.height() + _SLACK or need.width() > widget.width() + _SLACK:
            faults.append(
                f"{path(widget)} {_size(widget)}, {need.width()} × {need.height()} needed"
            )
    return faults


def too_wide(root: QWidget) -> list[str]:
    """Return pages that extend beyond the edge, and other areas that do so without a scroll bar."""
    off = Qt.ScrollBarPolicy.ScrollBarAlwaysOff
    return [
        f"{path(area)} needs {area.widget().minimumSizeHint().width()} of {area.viewport().width()}"
        for area in shown(root)
        if isinstance(area, QScrollArea)
        and (area.horizontalScrollBarPolicy() == off or isinstance(area.parentWidget(), _PAGES))
        and area.widget() is not None
        and area.widget().width() > area.viewport().width() + _SLACK
    ]


def _is_cut(label: QLabel) -> bool:
    if label.textFormat() == Qt.TextFormat.RichText or label.pixmap().width():
        return False
    room = label.contentsRect()
    flags = Qt.TextFlag.TextWordWrap if label.wordWrap() else Qt.TextFlag(0)
    wide = QRect(0, 0, room.width() if label.wordWrap() else 100_000, 100_000)
    need = label.fontMetrics().boundingRect(wide, int(flags), label.text())
    return need.width() > room.width() + _SLACK or need.height() > room.height() + _SLACK


def _size(widget: QWidget) -> str:
    return f"in {widget.width()} × {widget.height()}"


def nameless(root: QWidget) -> list[str]:
    """Return focusable widgets without an accessible name."""
    return [
        path(widget)
        for widget in shown(root)
        if (_is_control(widget) or _scrolls_by_key(widget))
        and not (widget.accessibleName() or _own_words(widget))
    ]


def out_of_reach(root: QWidget) -> list[str]:
    """Return enabled controls that Tab doesn't reach; a group of buttons counts as one."""
    stops = set(tab_order.list_focus_order(root.window()))
    return [
        path(widget)
        for widget in shown(root)
        if _is_control(widget)
        and widget.isEnabled()
        and not stops.intersection((widget, widget.focusProxy(), *_list_group(widget)))
    ]


def _list_group(widget: QWidget) -> list[QAbstractButton]:
    """Return the buttons of which Tab reaches one, and the arrow keys the others."""
    if not isinstance(widget, QAbstractButton):
        return []
    if (group := widget.group()) is not None:
        return group.buttons() if group.exclusive() else []
    parent = widget.parentWidget()
    alone = not widget.autoExclusive() or parent is None
    return [] if alone else [x for x in parent.findChildren(QRadioButton) if x.parent() is parent]


def _scrolls_by_key(widget: QWidget) -> bool:
    takes_focus = widget.focusPolicy() & Qt.FocusPolicy.TabFocus and widget.focusProxy() is None
    return isinstance(widget, QAbstractScrollArea) and bool(takes_focus)


def _is_control(widget: QWidget) -> bool:
    if not isinstance(widget, _INTERACTIVE) or isinstance(widget, QHeaderView | QScrollBar):
        return False
    parent = widget.parentWidget()
    inside = isinstance(parent, QComboBox | QAbstractSpinBox | QTabBar | QAbstractItemView)
    is_header = isinstance(parent, QAbstractScrollArea | QLineEdit)
    return not inside and not (is_header and isinstance(widget, QAbstractButton))


def _own_words(widget: QWidget) -> str:
    if isinstance(widget, QAbstractButton):
        return widget.text() or (widget.toolTip() if isinstance(widget, QToolButton) else "")
    buddies = [label for label in widget.window().findChildren(QLabel) if label.buddy() is widget]
    return buddies[0].text() if buddies else ""


def path(widget: QWidget) -> str:
    """Return the classes of a widget and of what contains it."""
    names = []
    at: QWidget | None = widget
    while at is not None and len(names) < 4:
        names.append(type(at).__name__)
        at = at.parentWidget()
    text = widget.text() if isinstance(widget, QAbstractButton) else ""
    return " in ".join(names) + (f" “{text}”" if text else "")


#: Names of which points are a part: files, addresses, versions, and modules.
_NAMES = re.compile(
    r"\S*(?:://|/|\\|[A-Za-z_]\.|\.[A-Za-z_])\S*"  # addresses, paths, file names
    r"|\bv?\d+\.\d+\.\d+\S*"  # versions and addresses of computers
    r"|\b[A-Za-z][\w-]*?-?v?\d+\.\d+\S*"  # Llama-3.2-3B, llama3.2
    r"|\b(?:Ollama|Python|CUDA|PyTorch|llama\.cpp|Driver|Treiber|Apache\S*|ab|vor|bis|ohne|oder)"
    r" \d+\.\d+(?:,? \d+\.\d+)*"
    r"|\b\d+\.\d+(?= oder neuer)"
)
_DECIMAL = re.compile(r"(?<![\d.])\d+\.\d+(?![\d.])")
#: Where a sentence of a worker ends, or begins after what the window adds.
_SENTENCES = re.compile(r"(?<=[.!?])\s+|\n+|\s+[·–—]\s+|(?<=\)): ")
#: Words that no German sentence has.
_ENGLISH = re.compile(
    r"\b(the|of|is|are|with|your|you|for|this|that|from|have|has|which|when|or|by|and|"
    r"(?:can|could|does|do|is|are|was)n['’]t)\b",
)


def decimal_points(root: QWidget) -> list[str]:
    """Return texts with a number that has a decimal point."""
    return [
        f"“{text[:90]}” of {seen.path(widget)}"
        for widget, text in texts(root)
        if _DECIMAL.search(_NAMES.sub(" ", text))
    ]


def english_texts(root: QWidget, others: str = "") -> list[str]:
    """Return texts that have an English word, except sentences that `others` contains, too.

    `others` is what the workers of a test say, and the rows of its dataset.
    """
    return [
        f"“{text[:90]}” of {seen.path(widget)}"
        for widget, text in texts(root)
        if any(
            _ENGLISH.search(_NAMES.sub(" ", sentence)) and sentence.strip(" .") not in others
            for sentence in _SENTENCES.split(text)
        )
        and not isinstance(widget.window(), DocsViewer)  # in English in every language
    ]


def texts(root: QWidget) -> Iterator[tuple[QWidget, str]]:
    """Yield the texts that the program itself shows, and their tooltips."""
    for widget in seen.shown(root):
        shown = [widget.toolTip(), widget.statusTip()]
        if isinstance(widget, QLabel | QAbstractButton):
            shown.append(widget.text())
        elif isinstance(widget, QGroupBox):
            shown.append(widget.title())
        elif isinstance(widget, QLineEdit):
            shown += [widget.text(), widget.placeholderText()]
        elif isinstance(widget, QComboBox):
            shown += [widget.itemText(number) for number in range(min(30, widget.count()))]
        elif isinstance(widget, QTabBar):
            shown += [widget.tabText(number) for number in range(widget.count())]
        elif isinstance(widget, QAbstractItemView) and not isinstance(widget, QHeaderView):
            shown += _cells(widget)
        yield from ((widget, text) for text in shown if text)


def _cells(view: QAbstractItemView) -> Iterator[str]:
    """Yield the texts of the first rows of a view, with its headers."""
    model = view.model()
    if model is None:
        return
    root = view.rootIndex() if view.rootIndex().isValid() else QModelIndex()
    columns = model.columnCount(root) if isinstance(view, QTableView) else 1
    for row in range(min(20, model.rowCount(root))):
        for column in range(columns):
            for role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
                yield str(model.index(row, column, root).data(role) or "")
    if isinstance(view, QTableView):
        for column in range(columns):
            yield str(model.headerData(column, Qt.Orientation.Horizontal) or "")
