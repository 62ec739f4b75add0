"""Table of a run's settings, or of several runs side by side with differences marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QHeaderView,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core.project.project import SPECS
from lora_studio.core.runs import copies, facts, table
from lora_studio.core.runs.index import RunSummary
from lora_studio.core.spec import FieldFacts
from lora_studio.gui.controls.controls import format_value
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import localize_facts
from lora_studio.gui.theme import Spacing, body_font, color, get_theme
from lora_studio.gui.widgets import plain_table
from lora_studio.gui.widgets.basics import label
from lora_studio.gui.widgets.tooltips import plain_tip

_Index = QModelIndex | QPersistentModelIndex


@dataclass(frozen=True)
class SettingRow:
    """A setting and its value in each run."""

    about: FieldFacts
    step: str
    values: tuple[Any, ...]
    differs: bool  # between the runs, or between a single run and the defaults


class SettingsModel(QAbstractTableModel):
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

    def rowCount(self, parent: _Index | None = None) -> int:
        """Return the number of settings; a table has no child rows."""
        return 0 if parent is not None and parent.isValid() else len(self.lines)

    def columnCount(self, parent: _Index | None = None) -> int:
        """Return the number of columns: the name and one per run."""
        return 1 + len(self.heads)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Return the title of a column."""
        if orientation != Qt.Orientation.Horizontal or role != Qt.ItemDataRole.DisplayRole:
            left = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
            return left if role == Qt.ItemDataRole.TextAlignmentRole else None
        return self.heads[section - 1] if section else tr("Setting")

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return name or value; differences are marked with a glyph and bold text."""
        line, column = self.lines[index.row()], index.column()
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
        self.setSelectionMode(QAbstractItemView.SelectionMode.ContiguousSelection)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.setWordWrap(False)
        self.verticalHeader().hide()
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setMinimumSectionSize(60)
        plain_table.enable_copying(self, lambda index: str(index.data()).removeprefix("≠ "))

    def fit(self) -> None:
        """Fit the name column to its content; the values share the rest."""
        header, metrics = self.horizontalHeader(), self.fontMetrics()
        self.verticalHeader().setDefaultSectionSize(metrics.height() + 11)
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
        step, field = copies.split_setting(name)
        compared = values if len(runs) > 1 else [facts.get_default(name), *values]
        differs = table.has_differences(compared)
        if differs or everything:
            rows.append(
                SettingRow(localize_facts(SPECS[step], field), step, tuple(values), differs)
            )
    return rows
