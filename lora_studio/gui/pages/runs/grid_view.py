"""Heat map of the best eval loss or reward of a grid search, by the values of its settings."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core.project.project import SPECS
from lora_studio.core.runs import copies
from lora_studio.core.runs import table as run_table
from lora_studio.core.runs.grid_search import GridTable
from lora_studio.core.runs.index import RunSummary
from lora_studio.core.spec import FieldFacts
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize_facts
from lora_studio.gui.pages.runs.settings_view import format_setting
from lora_studio.gui.pages.runs.table_model import STATES
from lora_studio.gui.plots.trace import mix_colors
from lora_studio.gui.theme import Spacing, body_font, get_palette, get_theme
from lora_studio.gui.widgets.basics import label
from lora_studio.gui.widgets.tooltips import plain_tip

_NAME = Qt.ItemDataRole.UserRole
#: Strength of the accent color behind the best cell; low enough for readable text.
_SHADE = 0.38


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
        self.table.verticalHeader().setDefaultSectionSize(metrics.height() + 18)
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
                else [_get_measure(grid)]
            )
            for row, line in enumerate(grid.cells):
                for column, run in enumerate(line):
                    self.table.setItem(row, column, _make_cell(grid, run))
            self._describe(grid, [about.title for about in abouts])
        self.table.blockSignals(False)

    def _describe(self, grid: GridTable, titles: list[str]) -> None:
        measure = _get_measure(grid)
        self.table.setAccessibleName(
            tr("{measure} by {settings}").format(measure=measure, settings=" × ".join(titles))
        )
        self.axes.setText(
            tr("{measure} by {first} (rows) and {second} (columns)").format(
                measure=measure, first=titles[0], second=titles[1]
            )
            if len(titles) > 1
            else tr("{measure} by {settings}").format(measure=measure, settings=titles[0])
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
    step, name = copies.split_setting(setting)
    return localize_facts(SPECS[step], name)


def _get_measure(grid: GridTable) -> str:
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
