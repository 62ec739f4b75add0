"""Find faults in the language of what a German window shows: decimal points and English sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator

from PySide6.QtCore import QModelIndex, Qt
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QComboBox,
    QGroupBox,
    QHeaderView,
    QLabel,
    QLineEdit,
    QTabBar,
    QTableView,
    QWidget,
)

from lora_studio.gui.widgets.docs_viewer import DocsViewer
from tests.helpers.window import seen

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
