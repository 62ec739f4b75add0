"""Rows of the table of runs: which are shown, in what order, and what a cell says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtGui import QColor

from lora_studio.core import formatting
from lora_studio.core.runs import table
from lora_studio.core.runs.index import RunSummary
from lora_studio.core.runs.names import RunNames
from lora_studio.core.runs.table import Column
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import tell
from lora_studio.gui.plots.run_overlay import LETTERS, MOST, letter_color
from lora_studio.gui.theme import Role, color, current

_Index = QModelIndex | QPersistentModelIndex

#: Columns of the table and their names.
TITLES: dict[Column, str] = {
    "name": mark("Name"), "begun": mark("Started"), "state": mark("Status"), "model": mark("Model"),
    "data": mark("Data"), "rank": mark("Rank"), "loss": mark("Loss"), "eval": mark("Best eval loss"),
    "time": mark("Time"), "size": mark("Size"), "tags": mark("Tags"),
}  # fmt: skip
COLUMNS: tuple[Column, ...] = tuple(TITLES)
NUMBERS: tuple[Column, ...] = ("rank", "loss", "eval", "time", "size")

#: State -> words, glyph, colour. "queued" is a new run that has a place in the queue.
STATES: dict[str, tuple[str, str, Role]] = {
    "queued": (mark("Queued"), "…", "accent"),
    "new": (mark("Not started"), "○", "muted"),
    "running": (mark("Running"), "◐", "accent"),
    "paused": (mark("Paused"), "‖", "accent"),
    "interrupted": (mark("Interrupted"), "!", "warn"),
    "stopped": (mark("Canceled"), "×", "muted"),
    "failed": (mark("Failed"), "!", "error"),
    "trained": (mark("Trained"), "✓", "ok"),
    "merged": (mark("Merged"), "✓", "ok"),
    "exported": (mark("Exported"), "✓", "ok"),
    "unreadable": (mark("Unreadable"), "!", "error"),
}

#: What a search in the field above finds, whatever order the table has.
Wanted = Callable[[RunSummary], bool]


class RunModel(QAbstractTableModel):
    """All runs that match, in order. Ordering thousands takes milliseconds: once, by plain keys.

    Signals:
        ticked_changed: another set of runs is ticked.
        refused(text): a run could not be ticked, and why.
    """

    ticked_changed = Signal()
    refused = Signal(str)

    def __init__(self, parent: Any = None) -> None:
        """Empty; the newest comes first."""
        super().__init__(parent)
        self.runs: list[RunSummary] = []
        self.shown: list[RunSummary] = []
        self.names = RunNames()
        self.ticked: list[str] = []
        self.queued: dict[str, int] = {}
        self.current = ""  # the run that merging and export work on
        self.order: tuple[Column, bool] = ("begun", True)
        self._wanted: Wanted = lambda run: True

    # --- what is shown ------------------------------------------------------------------------

    def set_runs(self, runs: Sequence[RunSummary]) -> None:
        """Other runs; ticks of those that are gone go with them."""
        self.runs, self.names = list(runs), RunNames(runs)
        there = {run.folder for run in runs}
        kept = [name for name in self.ticked if name in there]
        self._arrange()
        if kept != self.ticked:
            self.ticked = kept
            self.ticked_changed.emit()

    def set_queued(self, names: Sequence[str]) -> None:
        """The runs that wait, the next first."""
        queued = {name: place for place, name in enumerate(names, start=1)}
        if queued != self.queued:
            self.queued = queued
            self._arrange()

    def set_current(self, name: str) -> None:
        """The run that merging and export work on."""
        if name != self.current:
            self.current = name
            self._repaint()

    def set_wanted(self, wanted: Wanted) -> None:
        """Which runs are shown."""
        self._wanted = wanted
        self._arrange()

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """By a column; what has no value there comes last either way."""
        self.order = (COLUMNS[column], order == Qt.SortOrder.DescendingOrder)
        self._arrange()

    def state_of(self, run: RunSummary) -> str:
        """Its state as the table says it."""
        return "queued" if run.state == "new" and run.folder in self.queued else run.state

    def row_of(self, name: str) -> int | None:
        """The row of a run, None when it is not shown."""
        return next((row for row, run in enumerate(self.shown) if run.folder == name), None)

    def _arrange(self) -> None:
        column, descending = self.order
        wanted = [run for run in self.runs if self._wanted(run)]
        shown = table.in_order(wanted, column, descending=descending)
        if [run.folder for run in shown] == [run.folder for run in self.shown]:
            self.shown = shown
            self._repaint()
            return
        self.beginResetModel()
        self.shown = shown
        self.endResetModel()

    def _repaint(self) -> None:
        if self.shown:
            last = self.index(len(self.shown) - 1, len(COLUMNS) - 1)
            self.dataChanged.emit(self.index(0, 0), last)

    # --- ticking ------------------------------------------------------------------------------

    def tick(self, names: Sequence[str], on: bool) -> None:
        """Puts runs into the plot or takes them out."""
        after = [name for name in self.ticked if name not in names]
        if on:
            known = {run.folder: run for run in self.runs}
            fresh = [name for name in names if name in known and known[name].step]
            after = [*self.ticked, *(name for name in fresh if name not in self.ticked)]
            if len(fresh) < len(names):
                self.refused.emit(tr("Runs without completed steps have no metrics to plot."))
            if len(after) > MOST:
                after = after[:MOST]
                self.refused.emit(
                    tr("You can plot up to {count} runs at once. Clear a checkbox first.").format(
                        count=MOST
                    )
                )
        if after != self.ticked:
            self.ticked = after
            self._repaint()
            self.ticked_changed.emit()

    def toggle(self, names: Sequence[str]) -> None:
        """Ticks all of them, or unticks them where all are ticked."""
        self.tick(names, not set(names) <= set(self.ticked))

    # --- Qt -----------------------------------------------------------------------------------

    def rowCount(self, parent: _Index | None = None) -> int:
        """A table has no rows below a row."""
        return 0 if parent is not None and parent.isValid() else len(self.shown)

    def columnCount(self, parent: _Index | None = None) -> int:
        """The same for every row."""
        return len(COLUMNS)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Names of the columns."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return tr(TITLES[COLUMNS[section]])
            case Qt.ItemDataRole.TextAlignmentRole:
                return _aligned(COLUMNS[section])
            case Qt.ItemDataRole.ToolTipRole:
                return tr(_HELP[COLUMNS[section]]) if COLUMNS[section] in _HELP else None
        return None

    def flags(self, index: _Index) -> Qt.ItemFlag:
        """The first column has a box to tick."""
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        return flags | Qt.ItemFlag.ItemIsUserCheckable if index.column() == 0 else flags

    def setData(self, index: _Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """A click on the box."""
        if role != Qt.ItemDataRole.CheckStateRole or index.column() != 0:
            return False
        self.toggle([self.shown[index.row()].folder])
        return True

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Words, tick and colour of a cell."""
        run, column = self.shown[index.row()], COLUMNS[index.column()]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return self._words(run, column)
            case Qt.ItemDataRole.CheckStateRole if column == "name":
                on = run.folder in self.ticked
                return Qt.CheckState.Checked if on else Qt.CheckState.Unchecked
            case Qt.ItemDataRole.TextAlignmentRole:
                return _aligned(column)
            case Qt.ItemDataRole.ForegroundRole:
                return self._tint(run, column)
            case Qt.ItemDataRole.ToolTipRole:
                return self._tip(run, column)
            case Qt.ItemDataRole.AccessibleTextRole if column == "name":
                return f"{self.names.of(run)}, {tr(STATES[self.state_of(run)][0])}"
        return None

    def _words(self, run: RunSummary, column: Column) -> str:
        if column == "state":
            state = self.state_of(run)
            said, glyph, _ = STATES[state]
            place = f" {self.queued[run.folder]}" if state == "queued" else ""
            return f"{glyph} {tr(said)}{place}"
        if column == "name":
            letter = self.letter(run.folder)
            return f"{letter}  {self.names.of(run)}" if letter else self.names.of(run)
        return table.said(run, column) or "–" * (column in NUMBERS)

    def letter(self, name: str) -> str:
        """What a ticked run is called in the plot."""
        return LETTERS[self.ticked.index(name)] if name in self.ticked else ""

    def _tip(self, run: RunSummary, column: Column) -> str | None:
        match column:
            case "name":
                here = tr("Merge and Export use this run.") if run.folder == self.current else ""
                return "\n".join(part for part in (run.folder, run.about.notes, here) if part)
            case "state":
                return tell(run.reason) or None
            case "model":
                return str(run.value("model.source"))
            case "size" if run.checkpoint_bytes:
                return tr("{size} of this is checkpoints").format(
                    size=formatting.size(run.checkpoint_bytes)
                )
        return self._words(run, column) or None

    def _tint(self, run: RunSummary, column: Column) -> Any:
        if column == "state":
            return color(STATES[self.state_of(run)][2])
        if column == "name":
            if letter := self.letter(run.folder):
                return color_of(LETTERS.index(letter))
            return color("accent" if run.folder == self.current else "text")
        return color("text" if column in ("loss", "eval") else "muted")


def color_of(index: int) -> Any:
    """The colour of a ticked run."""
    return QColor(letter_color(index)(current()))


#: What a column holds, where its name does not say enough.
_HELP: dict[Column, str] = {
    "loss": mark("Training loss at the last step, in nats per trained token"),
    "eval": mark("Lowest eval loss, in nats per trained token"),
    "time": mark("Training time, excluding pauses"),
    "size": mark("Size of the run folder, including checkpoints"),
    "data": mark("Dataset sources"),
}


def _aligned(column: Column) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignRight if column in NUMBERS else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter
