"""Settings of one run or of several side by side, and the heat map of a grid search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QHeaderView,
    QTableView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core.project.project import SPECS
from lora_studio.core.runs import facts, grid_search, table
from lora_studio.core.runs import table as run_table
from lora_studio.core.runs.grid_search import GridTable
from lora_studio.core.runs.index import RunSummary
from lora_studio.core.spec import FieldFacts
from lora_studio.gui.controls.controls import format_value
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import localize_facts
from lora_studio.gui.pages.runs.table import STATES
from lora_studio.gui.plots.trace import mix_colors
from lora_studio.gui.theme import Spacing, body_font, color, get_palette, get_theme
from lora_studio.gui.widgets import tables
from lora_studio.gui.widgets.basics import label
from lora_studio.gui.widgets.tables import TableModel
from lora_studio.gui.widgets.tooltips import plain_tip


@dataclass(frozen=True)
class SettingRow:
    """A setting and its value in each run."""

    about: FieldFacts
    step: str
    values: tuple[Any, ...]
    differs: bool  # between the runs, or between a single run and the defaults


class SettingsModel(TableModel):
    """Table model with one row per setting and one column per run."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self.lines: list[SettingRow] = []
        self.heads: list[str] = []

    def show(self, runs: Sequence[RunSummary], heads: Sequence[str], *, everything: bool) -> None:
        """Set the runs; `heads` are the column titles."""
        self.beginResetModel()
        self.heads = list(heads)
        self.lines = _list_rows(runs, everything=everything)
        self.endResetModel()

    def count_rows(self) -> int:
        """Return the number of settings."""
        return len(self.lines)

    def list_titles(self) -> list[str]:
        """Return the titles of the columns: the setting and one per run."""
        return [tr("Setting"), *self.heads]

    def get_cell(self, row: int, column: int, role: int) -> Any:
        """Return name or value; differences are marked with a glyph and bold text."""
        line = self.lines[row]
        match role:
            case Qt.ItemDataRole.DisplayRole if column == 0:
                return f"{'≠ ' if line.differs else ''}{line.about.title}"
            case Qt.ItemDataRole.DisplayRole:
                return format_setting(line.about, line.values[column - 1])
            case Qt.ItemDataRole.ForegroundRole if column == 0:
                return color("accent" if line.differs else "muted")
            case Qt.ItemDataRole.FontRole if line.differs and column:
                return body_font(bold=True)
            case Qt.ItemDataRole.ToolTipRole if column == 0:
                return f"{line.step}.{line.about.name}\n{line.about.description}"
            case Qt.ItemDataRole.ToolTipRole:
                return plain_tip(table.format_value(line.values[column - 1]))
        return None


class RunSettings(QWidget):
    """Shows differing settings, or all on request."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start without runs."""
        super().__init__(parent)
        self.lines = SettingsModel(self)
        self.view = _View()
        self.view.setModel(self.lines)
        self.differences_only = QCheckBox()
        self.differences_only.setChecked(True)
        self.hint = label(role="muted", wrap=True)
        self._runs: list[RunSummary] = []
        self._heads: list[str] = []
        self.differences_only.toggled.connect(lambda _: self._fill())
        get_theme().changed.connect(self.view.viewport().update)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, Spacing.M, 0, 0)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.differences_only)
        layout.addWidget(self.hint)
        layout.addWidget(self.view, 1)
        self.show_runs([], [])

    def show_runs(self, runs: Sequence[RunSummary], heads: Sequence[str]) -> None:
        """Show the settings of one run or several."""
        if list(runs) == self._runs and list(heads) == self._heads and self.lines.heads:
            return
        self._runs, self._heads = list(runs), list(heads)
        self._fill()

    def _fill(self) -> None:
        is_single = len(self._runs) == 1
        self.differences_only.setText(
            tr("Non-default only") if is_single else tr("Differences only")
        )
        self.lines.show(self._runs, self._heads, everything=not self.differences_only.isChecked())
        empty = not self.lines.lines
        self.differences_only.setVisible(bool(self._runs))
        self.hint.setVisible(empty)
        self.view.setVisible(not empty)
        if not self._runs:
            self.hint.setText(tr("Select a run to see its settings, or several to compare them."))
        elif is_single:
            self.hint.setText(tr("All settings have their default values."))
        else:
            count = len(self._runs)
            self.hint.setText(
                tr_n(
                    "The {n} selected run has the same settings.",
                    "The {n} selected runs have the same settings.",
                    count,
                )
            )
        self.view.setAccessibleName(
            tr("Run settings") if is_single else tr("Differences between the runs")
        )
        self.view.fit()


class _View(QTableView):
    def __init__(self) -> None:
        super().__init__()
        tables.set_up_table(
            self,
            selection=QAbstractItemView.SelectionMode.ContiguousSelection,
            cells=True,
            copied=lambda index: str(index.data()).removeprefix("≠ "),
        )
        self.horizontalHeader().setMinimumSectionSize(60)

    def fit(self) -> None:
        """Fit the name column to its content; the values share the rest."""
        header, metrics = self.horizontalHeader(), self.fontMetrics()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        self.resizeColumnToContents(0)
        self.setColumnWidth(0, min(self.columnWidth(0), 26 * metrics.averageCharWidth()))
        self._share()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Share the new width among the values."""
        super().resizeEvent(event)
        self._share()

    def _share(self) -> None:
        """Give all value columns the same width, which has a minimum if there are several."""
        count = self.model().columnCount() - 1 if self.model() is not None else 0
        if count < 1:
            return
        narrowest = 12 * self.fontMetrics().averageCharWidth() + 12 if count > 2 else 0
        width = max(narrowest, (self.viewport().width() - self.columnWidth(0)) // count)
        for column in range(1, count + 1):
            self.setColumnWidth(column, width)


def format_setting(about: FieldFacts, value: Any) -> str:
    """Return the value of a setting as its page shows it, with its unit."""
    if isinstance(value, bool):
        return tr("yes") if value else tr("no")
    if isinstance(value, str) and value in about.choices:
        return about.choices[value]
    if isinstance(value, int | float):
        return f"{format_value(value, about)} {tr(about.unit) if about.unit else ''}".strip()
    parts = value if isinstance(value, list | tuple) else [value]
    is_path = about.path or about.name in ("sources", "source")
    texts = [table.format_value(part) for part in parts]
    return ", ".join(facts.get_short_name(t) if is_path else t for t in texts if t) or "–"


def _list_rows(runs: Sequence[RunSummary], *, everything: bool) -> list[SettingRow]:
    if not runs:
        return []
    rows = []
    for name, values in table.find_differences(runs, everything=True).items():
        step, field = grid_search.split_setting(name)
        compared = values if len(runs) > 1 else [facts.get_default(name), *values]
        differs = table.has_differences(compared)
        if differs or everything:
            rows.append(
                SettingRow(localize_facts(SPECS[step], field), step, tuple(values), differs)
            )
    return rows


_NAME = Qt.ItemDataRole.UserRole
#: Strength of the accent color behind the best cell; low enough for readable text.
_SHADE = 0.38
#: Height of a row of the heat map at 100 %, in pixels.
_GRID_ROW = 33


class GridView(QWidget):
    """Shows values of the first setting as rows and of the second as columns; the best cell is
    marked.

        Signals:
            chosen(names): the runs of the selected cells.
            opened(name): Enter was pressed on a run, or it was double-clicked.
    """

    chosen = Signal(list)
    opened = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start without grid searches."""
        super().__init__(parent)
        self._tables: list[GridTable] = []
        self.choice = QComboBox()
        self.choice.setAccessibleName(tr("Grid search"))
        self.table = QTableWidget()
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setTabKeyNavigation(False)
        self.table.setShowGrid(False)
        self.table.horizontalHeader().setHighlightSections(False)
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.table.verticalHeader().setHighlightSections(False)
        tables.RowHeight(self.table, _GRID_ROW)
        self.axes, self.summary = label(role="caption", wrap=True), label(wrap=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, Spacing.M, 0, 0)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.choice)
        layout.addWidget(self.axes)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.summary)
        self.choice.activated.connect(lambda _: self._fill())
        self.table.itemSelectionChanged.connect(self._on_chosen)
        self.table.itemActivated.connect(self._on_opened)
        get_theme().changed.connect(self._fill)

    def show_grids(self, tables: Sequence[GridTable]) -> None:
        """Set the grid searches of the project; the selected one stays selected."""
        if list(tables) == self._tables:
            return
        selected = self.choice.currentText()
        self._tables = list(tables)
        self.choice.clear()
        self.choice.addItems([table.name for table in tables])
        self.choice.setCurrentIndex(max(0, self.choice.findText(selected)))
        self._fill()

    @property
    def shown(self) -> GridTable | None:
        """The grid search that is shown, None if there is none."""
        index = self.choice.currentIndex()
        return self._tables[index] if 0 <= index < len(self._tables) else None

    def _fill(self) -> None:
        grid, metrics = self.shown, self.fontMetrics()
        self.table.horizontalHeader().setMinimumSectionSize(
            metrics.horizontalAdvance("★ 0.00 !") + 16
        )
        self.table.blockSignals(True)
        self.table.clear()
        if grid is not None:
            abouts = [_get_facts(setting) for setting in grid.settings]
            self.table.setRowCount(len(grid.rows))
            self.table.setColumnCount(len(grid.columns))
            self.table.setVerticalHeaderLabels([format_setting(abouts[0], v) for v in grid.rows])
            self.table.setHorizontalHeaderLabels(
                [format_setting(abouts[1], v) for v in grid.columns]
                if len(abouts) > 1
                else [_get_metric(grid)]
            )
            for row, line in enumerate(grid.cells):
                for column, run in enumerate(line):
                    self.table.setItem(row, column, _make_cell(grid, run))
            self._describe(grid, [about.title for about in abouts])
        self.table.blockSignals(False)

    def _describe(self, grid: GridTable, titles: list[str]) -> None:
        metric = _get_metric(grid)
        self.table.setAccessibleName(
            tr("{metric} by {settings}").format(metric=metric, settings=" × ".join(titles))
        )
        self.axes.setText(
            tr("{metric} by {first} (rows) and {second} (columns)").format(
                metric=metric, first=titles[0], second=titles[1]
            )
            if len(titles) > 1
            else tr("{metric} by {settings}").format(metric=metric, settings=titles[0])
        )
        if (best := grid.best) is None:
            self.summary.setText(tr("No run in this grid search has been evaluated yet."))
            return
        values = (
            f"{about.title} {format_setting(about, best.get_value(setting))}"
            for setting in grid.settings
            for about in (_get_facts(setting),)
        )
        if grid.is_by_answers:
            score = run_table.format_cell(best, "answers")
            sentence = tr("Best answers so far: {score} with {values}.")
            self.summary.setText(sentence.format(score=score, values=", ".join(values)))
            return
        self.summary.setText(
            tr("Best so far: {loss} with {values}.").format(
                loss=_format_evaluation(best), values=", ".join(values)
            )
        )

    def _on_chosen(self) -> None:
        names = [str(item.data(_NAME)) for item in self.table.selectedItems() if item.data(_NAME)]
        if names:
            self.chosen.emit(names)

    def _on_opened(self, item: QTableWidgetItem) -> None:
        if item.data(_NAME):
            self.opened.emit(str(item.data(_NAME)))


def _get_facts(setting: str) -> FieldFacts:
    step, name = grid_search.split_setting(setting)
    return localize_facts(SPECS[step], name)


def _get_metric(grid: GridTable) -> str:
    return tr("Best eval reward") if grid.is_by_reward else tr("Best eval loss")


def _format_evaluation(run: RunSummary) -> str:
    return run_table.format_cell(run, "eval") or run_table.format_cell(run, "reward")


def _make_cell(grid: GridTable, run: RunSummary | None) -> QTableWidgetItem:
    item = QTableWidgetItem()
    item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
    if run is None:
        item.setText("–")
        item.setToolTip(tr("The run with these values was deleted."))
        return item
    is_best = run is grid.best
    state = STATES[run.state]
    loss = _format_evaluation(run)
    is_finished = run.state in ("trained", "merged", "exported")
    item.setText(
        f"{'★ ' if is_best else ''}{loss}{'' if is_finished else f' {state.glyph}'}"
        if loss
        else state.glyph
    )
    item.setToolTip(plain_tip(f"{tr(state.title)}\n{run.folder}"))
    item.setData(_NAME, run.folder)
    item.setData(
        Qt.ItemDataRole.AccessibleTextRole, f"{loss or tr('not evaluated')}, {tr(state.title)}"
    )
    if is_best:
        item.setFont(body_font(bold=True))
    share = grid.share(run)
    if share is not None:
        palette = get_palette()
        item.setBackground(mix_colors(palette.accent, palette.card, _SHADE * (1 - share)))
    return item
