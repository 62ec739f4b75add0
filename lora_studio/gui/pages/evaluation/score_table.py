"""The table of scores: a row for each measure of each test set, a column for each model."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QAbstractTableModel, QEvent, QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtGui import QFont, QResizeEvent
from PySide6.QtWidgets import QHeaderView, QTableView, QWidget

from lora_studio.core import formatting
from lora_studio.core.evaluation import summary
from lora_studio.core.evaluation.results import EvaluationResults
from lora_studio.core.evaluation.summary import EvaluationSummary, MeanScore
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.evaluation.column_names import list_column_names
from lora_studio.gui.theme import color, get_theme
from lora_studio.gui.widgets.plain_table import set_up_table
from lora_studio.gui.widgets.tooltips import plain_tip

_Index = QModelIndex | QPersistentModelIndex

#: Columns before those of the models: test set, measure, rows.
_FIXED = 3
#: A mark with each finding, so that color isn't needed to tell them apart.
_MARKS = {"better": "▲", "worse": "▼", "unclear": "", "too_few": ""}
_COLORS = {"better": "ok", "worse": "error", "unclear": "text", "too_few": "muted"}


class ScoreModel(QAbstractTableModel):
    """Means with their intervals; those that differ from the baseline are marked.

    If the columns don't fit, the table is stacked: each measure of a test set has a heading, and each model has
    a row below it.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self.results: EvaluationResults | None = None
        self.summary: EvaluationSummary | None = None
        self.lines: list[tuple[str, str]] = []  # test set and measure
        self.columns: dict[str, str] = {}
        self.is_stacked = False
        self._titles: dict[str, str] = {}

    def set_stacked(self, is_stacked: bool) -> None:
        """Show a line for each model instead of a column."""
        if is_stacked != self.is_stacked:
            self.beginResetModel()
            self.is_stacked = is_stacked
            self.endResetModel()

    def list_headings(self) -> list[int]:
        """Return the rows that are headings of a stacked table."""
        return list(range(0, self.rowCount(), 1 + len(self.columns))) if self.is_stacked else []

    def show(self, results: EvaluationResults, shown: EvaluationSummary) -> None:
        """Show an evaluation."""
        self.beginResetModel()
        self.results, self.summary = results, shown
        self.lines = [(key, name) for key, names in shown.measures.items() for name in names]
        self.columns = list_column_names(results.plan)
        self._titles = {report.key: localize(report.title) for report in results.facts.test_sets}
        self._titles |= {
            each.key: localize(each.title)
            for each in results.plan.test_sets
            if not self._titles.get(each.key)
        }
        self.endResetModel()

    def rowCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008 - Qt's default
        """Return the number of measures."""
        height = 1 + len(self.columns) if self.is_stacked else 1
        return 0 if parent.isValid() else height * len(self.lines)

    def columnCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008 - Qt's default
        """Return the number of columns."""
        width = 2 if self.is_stacked else _FIXED + len(self.columns)
        return 0 if parent.isValid() else width

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Return the title of a column."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            titles = [tr("Test set"), tr("Measure"), tr("Rows"), *self.columns.values()]
            return (tr("Model"), tr("Score"))[section] if self.is_stacked else titles[section]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return self._align(section)
        return None

    def _align(self, column: int) -> Qt.AlignmentFlag:
        is_left = column < (1 if self.is_stacked else 2)
        side = Qt.AlignmentFlag.AlignLeft if is_left else Qt.AlignmentFlag.AlignRight
        return side | Qt.AlignmentFlag.AlignVCenter

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what a cell shows."""
        if self.summary is None:
            return None
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return self._align(index.column())
        if self.is_stacked:
            return self._get_stacked(index.row(), index.column(), role)
        test_set, measure = self.lines[index.row()]
        number = index.column()
        if number < _FIXED:
            return self._get_fixed(test_set, measure, number, role)
        return self._get_score(test_set, measure, list(self.columns)[number - _FIXED], role)

    def _get_stacked(self, row: int, column: int, role: int) -> Any:
        """Return a cell of a stacked table: of a heading, a model, or its score."""
        line, offset = divmod(row, 1 + len(self.columns))
        test_set, measure = self.lines[line]
        if offset:
            key = list(self.columns)[offset - 1]
            if column:
                return self._get_score(test_set, measure, key, role)
            return self.columns[key] if role == Qt.ItemDataRole.DisplayRole else None
        if role == Qt.ItemDataRole.ForegroundRole:
            return color("muted")
        if role != Qt.ItemDataRole.DisplayRole or column:
            return None
        parts = [self._get_fixed(test_set, measure, number, role) or "" for number in range(2)]
        return "  ·  ".join([*parts, tr_n("{n} row", "{n} rows", self._count_rows(test_set, measure))])  # fmt: skip

    def _get_score(self, test_set: str, measure: str, key: str, role: int) -> Any:
        """Return the score of a model."""
        assert self.summary is not None
        verdict = self.summary.verdicts.get((test_set, measure, key))
        match role:
            case Qt.ItemDataRole.DisplayRole:
                mean = self.summary.means.get((test_set, measure, key))
                mark = _MARKS[verdict.finding] if verdict is not None else ""
                return f"{mark} {format_mean(measure, mean)}".strip()
            case Qt.ItemDataRole.ForegroundRole if verdict is not None:
                return color(_COLORS[verdict.finding])
            case Qt.ItemDataRole.ToolTipRole | Qt.ItemDataRole.AccessibleDescriptionRole:
                return plain_tip(localize(verdict.sentence)) if verdict is not None else None
            case Qt.ItemDataRole.FontRole if verdict is not None and _MARKS[verdict.finding]:
                bold = QFont()
                bold.setWeight(QFont.Weight.DemiBold)
                return bold
        return None

    def _get_fixed(self, test_set: str, measure: str, number: int, role: int) -> str | None:
        if role != Qt.ItemDataRole.DisplayRole or self.summary is None:
            return None
        if number == 0:
            return self._titles.get(test_set, test_set)
        if number == 1:
            return localize(summary.format_measure(measure))
        return formatting.format_number(self._count_rows(test_set, measure))

    def _count_rows(self, test_set: str, measure: str) -> int:
        assert self.summary is not None
        means = [self.summary.means.get((test_set, measure, key)) for key in self.columns]
        return max((mean.rows for mean in means if mean), default=0)


def format_mean(measure: str, mean: MeanScore | None) -> str:
    """Return a mean with its interval: `84 % (78–89)`, a dash if it isn't known."""
    if mean is None:
        return "–"
    low, high = mean.interval.low, mean.interval.high
    shown = [summary.format_score(measure, end).removesuffix(" %") for end in (low, high)]
    return f"{summary.format_score(measure, mean.mean)} ({shown[0]}–{shown[1]})"


class ScoreTable(QTableView):
    """Shows the scores; a tooltip says what a cell shows against the baseline."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self.scores = ScoreModel(self)
        self.setModel(self.scores)
        set_up_table(self)
        self._needed = 0  # the width of the table that isn't stacked
        self.setAccessibleName(tr("Scores"))
        self.horizontalHeader().setMinimumSectionSize(60)
        get_theme().changed.connect(self.viewport().update)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Give the measures the remaining width, if there is any."""
        super().resizeEvent(event)
        self._fit_columns()

    def changeEvent(self, event: QEvent) -> None:
        """Measure again with another text size."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._measure()

    def _measure(self) -> None:
        """Find out how wide a column per model would be."""
        self.scores.set_stacked(False)
        header = self.horizontalHeader()
        columns = range(self.scores.columnCount())
        self._needed = sum(
            max(self.sizeHintForColumn(n), header.sectionSizeHint(n)) for n in columns
        )
        self._fit_columns()

    def _fit_columns(self) -> None:
        """Stack the table if it is too narrow for a column per model."""
        fits = self._needed <= self.viewport().width()
        self.scores.set_stacked(not fits)
        self.clearSpans()
        for row in self.scores.list_headings():
            self.setSpan(row, 0, 1, 2)
        header, mode = self.horizontalHeader(), QHeaderView.ResizeMode
        for number in range(self.scores.columnCount()):
            stretches = number == (1 if fits else 0)
            header.setSectionResizeMode(
                number, mode.Stretch if stretches else mode.ResizeToContents
            )

    def show_results(self, results: EvaluationResults, shown: EvaluationSummary) -> None:
        """Show an evaluation, keeping the selected row."""
        row = self.currentIndex().row()
        self.scores.show(results, shown)
        self._measure()
        if 0 <= row < self.scores.rowCount():
            self.selectRow(row)
