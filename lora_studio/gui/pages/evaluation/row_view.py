"""The rows of an evaluation: filters, a table, and the answers of the selected row."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, QTimer
from PySide6.QtWidgets import QComboBox, QHeaderView, QTableView, QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.results import EvaluationResults
from lora_studio.core.evaluation.row_filters import ResultFilter, RowKind, filter_rows, get_score
from lora_studio.core.evaluation.summary import EvaluationSummary
from lora_studio.gui.controls.controls import LineEdit
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.evaluation.answer_view import AnswerView
from lora_studio.gui.pages.evaluation.column_names import list_column_names
from lora_studio.gui.theme import Spacing, color, get_theme
from lora_studio.gui.widgets.basics import flow_row, label
from lora_studio.gui.widgets.columns import ResponsiveSplitter
from lora_studio.gui.widgets.plain_table import set_up_table
from lora_studio.gui.widgets.tooltips import plain_tip

_Index = QModelIndex | QPersistentModelIndex

KINDS: dict[RowKind, str] = {
    "all": mark("All rows"),
    "fixed": mark("Fixed: better than"),
    "broken": mark("Broken: worse than"),
    "different": mark("Different answer from"),
    "wrong": mark("Wrong"),
    "failed": mark("No answer"),
}

#: Kinds that compare two columns.
_COMPARING: tuple[RowKind, ...] = ("fixed", "broken", "different")
_LONGEST_QUESTION = 300


class ResultRowModel(QAbstractTableModel):
    """The filtered rows: the question, and a mark or a score for each model."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self.results: EvaluationResults | None = None
        self.items: list[EvaluationItem] = []
        self.columns: dict[str, str] = {}

    def show(self, results: EvaluationResults | None, items: list[EvaluationItem]) -> None:
        """Show items of an evaluation."""
        self.beginResetModel()
        self.results, self.items = results, items
        self.columns = list_column_names(results.plan) if results is not None else {}
        self.endResetModel()

    def rowCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008 - Qt's default
        """Return the number of rows."""
        return 0 if parent.isValid() else len(self.items)

    def columnCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008 - Qt's default
        """Return the number of columns."""
        return 0 if parent.isValid() else 1 + len(self.columns)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Return the title of a column."""
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignHCenter if section else Qt.AlignmentFlag.AlignLeft
            return side | Qt.AlignmentFlag.AlignVCenter
        if orientation != Qt.Orientation.Horizontal or role != Qt.ItemDataRole.DisplayRole:
            return None
        return tr("Question") if section == 0 else list(self.columns.values())[section - 1]

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what a cell shows."""
        item = self.items[index.row()]
        if index.column() == 0:
            if role == Qt.ItemDataRole.DisplayRole:
                return " ".join(item.question[:_LONGEST_QUESTION].split())
            if role == Qt.ItemDataRole.ToolTipRole:
                return plain_tip(item.question[:_LONGEST_QUESTION])
            return None
        if self.results is None:
            return None
        key = list(self.columns)[index.column() - 1]
        row, score = self.results.answers.get((item.id, key)), get_score(self.results, item, key)
        failed = row is not None and row.problem is not None
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return "!" if failed else format_mark(score)
            case Qt.ItemDataRole.ForegroundRole if score is not None and score <= 1:
                return color("error" if failed or score < 0.5 else "ok")
            case Qt.ItemDataRole.TextAlignmentRole:
                return Qt.AlignmentFlag.AlignCenter
            case Qt.ItemDataRole.AccessibleTextRole if score in (0.0, 1.0):
                return tr("right") if score else tr("wrong")
        return None


def format_mark(score: float | None) -> str:
    """Return ✓ or ✗ for 1 or 0, other scores with two decimals, a dash for none."""
    if score is None:
        return "–"
    if score in (0.0, 1.0):
        return "✓" if score else "✗"
    return formatting.format_float(score, ".2f" if score < 100 else ".0f")


class ResultRowView(QWidget):
    """Shows the rows of an evaluation that a filter lets through."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self._results: EvaluationResults | None = None
        self._baseline = ""
        self.kind, self.column, self.other = QComboBox(), QComboBox(), QComboBox()
        self.test_set, self.search, self.count = QComboBox(), LineEdit(), label(role="muted")
        self.rows, self.answers = ResultRowModel(self), AnswerView()
        self.table = QTableView()
        self._timer = QTimer(self, singleShot=True, interval=150)
        self._build()

    def show_results(self, results: EvaluationResults, shown: EvaluationSummary) -> None:
        """Show an evaluation, keeping the filter and the selected row where possible."""
        is_new = self._results is None or self._results.folder != results.folder
        self._results, self._baseline = results, shown.baseline
        names = list_column_names(results.plan)
        others = [key for key in names if key != shown.baseline] or list(names)
        _fill(self.column, names, others[0] if is_new else self.column.currentData())
        _fill(self.other, names, shown.baseline if is_new else self.other.currentData())
        titles = {each.key: localize(each.title) for each in results.plan.test_sets}
        _fill(self.test_set, {"": tr("All test sets")} | titles, self.test_set.currentData() or "")
        self.apply()

    def choose(self, kind: RowKind, column: str = "", other: str = "") -> None:
        """Set the filter."""
        self.kind.setCurrentIndex(self.kind.findData(kind))
        for box, key in ((self.column, column), (self.other, other)):
            if key:
                box.setCurrentIndex(box.findData(key))
        self.apply()

    def apply(self) -> None:
        """Show the rows that the filter lets through."""
        kind: RowKind = self.kind.currentData()
        self.column.setVisible(kind != "all")
        self.other.setVisible(kind in _COMPARING)
        if self._results is None:
            return
        selected = self._get_selected()
        rule = ResultFilter(
            kind,
            self.column.currentData() or "",
            self.other.currentData() or "",
            self.test_set.currentData() or "",
            self.search.text(),
        )
        items = filter_rows(self._results, rule)
        self.rows.show(self._results, items)
        self.count.setText(tr_n("{n} row", "{n} rows", len(items)))
        keep = [row for row, item in enumerate(items) if selected and item.id == selected.id]
        if items:
            self.table.selectRow(keep[0] if keep else 0)
        self._show_selected()

    def leave(self) -> None:
        """Stop the timer."""
        self._timer.stop()

    def _get_selected(self) -> EvaluationItem | None:
        row = self.table.currentIndex().row()
        return self.rows.items[row] if 0 <= row < len(self.rows.items) else None

    def _show_selected(self, *_: object) -> None:
        compared = self.other.currentData() or self._baseline
        self.answers.show_item(self._results, self._get_selected(), compared)

    def _build(self) -> None:
        for kind, title in KINDS.items():
            self.kind.addItem(tr(title), kind)
        for box, name in (
            (self.kind, tr("Filter rows")),
            (self.column, tr("Model")),
            (self.other, tr("Compare with")),
            (self.test_set, tr("Test set")),
        ):
            box.setAccessibleName(name)
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
            box.activated.connect(lambda _: self.apply())
        self.search.setPlaceholderText(tr("Search rows"))
        self.search.setAccessibleName(tr("Search rows"))
        self.search.textEdited.connect(lambda _: self._timer.start())
        self._timer.timeout.connect(self.apply)
        self.table.setModel(self.rows)
        set_up_table(self.table)
        self.table.setAccessibleName(tr("Rows"))
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.rows.modelReset.connect(self._stretch)
        self.table.selectionModel().currentRowChanged.connect(self._show_selected)
        get_theme().changed.connect(self.table.viewport().update)
        tools = flow_row(self.search, self.test_set, self.column, self.kind, self.other, self.count)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, Spacing.M, 0, 0)
        layout.setSpacing(Spacing.M)
        layout.addWidget(tools)
        layout.addWidget(ResponsiveSplitter(self.table, self.answers, (3, 2)), 1)
        self.apply()

    def _stretch(self) -> None:
        if self.rows.columnCount():
            self.table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)


def _fill(box: QComboBox, entries: dict[str, str], chosen: str) -> None:
    box.clear()
    for key, title in entries.items():
        box.addItem(title, key)
    box.setCurrentIndex(max(0, box.findData(chosen)))
