"""Table of GGUF quantizations to choose from, with file sizes and self-test results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QHeaderView, QTableView, QWidget

from lora_studio.core import formatting
from lora_studio.core.export import BITS_PER_WEIGHT, COMMON, QUANTIZATIONS, Quantization
from lora_studio.core.gguf_sizes import estimate_bytes
from lora_studio.core.protocol import events
from lora_studio.gui.controls.controls import Control
from lora_studio.gui.language import mark, tr
from lora_studio.gui.theme import Spacing, color, get_theme
from lora_studio.gui.widgets import tables
from lora_studio.gui.widgets.basics import button, column, row
from lora_studio.gui.widgets.self_test_text import describe_self_test, format_badge
from lora_studio.gui.widgets.tables import LEFT, RIGHT, TableModel
from lora_studio.gui.widgets.tooltips import plain_tip

_COLUMNS = (
    mark("Quantization"),
    mark("Bits"),
    mark("Size"),
    mark("Quality loss"),
    mark("Self-test"),
)
_LOSS, _TESTED = 3, 4
NAMES: tuple[Quantization, ...] = tuple(QUANTIZATIONS)


class QuantModel(TableModel):
    """Hold one row per quantization: common, checked and written ones, or all.

    Types for mixtures of experts are among them only if the quantizer can write them for the model.

    Signals:
        checked(list[str]): the names that are checked, in the order of checking.
    """

    is_checkable = True
    checked = Signal(list)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start with the common quantizations, none checked."""
        super().__init__(parent)
        self.names: tuple[Quantization, ...] = COMMON
        self.shows_all = False
        self.chosen: list[str] = []  # in the order of checking; the first is used for Ollama
        self.model: events.ModelInspected | None = None
        self.sizes: Mapping[str, int] = {}
        self.written: dict[str, events.GgufWritten] = {}
        self.tested: dict[str, events.SelfTested] = {}

    @property
    def offered(self) -> tuple[Quantization, ...]:
        """Return the quantizations to choose from."""
        kept = {*self.sizes, *self.chosen, *self.written}
        return tuple(n for n in NAMES if not QUANTIZATIONS[n].needs_experts or n in kept)

    def refresh(self) -> None:
        """Recompute which rows are shown and repaint all cells."""
        visible = {*COMMON, *self.chosen, *self.written}
        names = tuple(name for name in self.offered if self.shows_all or name in visible)
        if names != self.names:
            self.beginResetModel()
            self.names = names
            self.endResetModel()
        self.repaint_cells()

    def toggle_row(self, row: int) -> None:
        """Check or uncheck a row; the last checked one can't be unchecked."""
        name = self.names[row]
        others = [other for other in self.chosen if other != name]
        chosen = others if name in self.chosen else [*others, name]
        if chosen:
            self.chosen = chosen
            self.refresh()
            self.checked.emit(list(chosen))

    def count_rows(self) -> int:
        """Return the number of quantizations."""
        return len(self.names)

    def list_titles(self) -> list[str]:
        """Return the titles of the columns."""
        return [tr(title) for title in _COLUMNS]

    def get_title_tip(self, column: int) -> str | None:
        """Return what the bits are."""
        return tr("Bits per weight (8B model); higher for small models") if column == 1 else None

    def get_alignment(self, column: int) -> Qt.AlignmentFlag:
        """Return the alignment of a column: numbers are on the right."""
        return RIGHT if column in (1, 2) else LEFT

    def get_cell(self, row: int, column: int, role: int) -> Any:
        """Return text, check state, color or tooltip of a cell."""
        name = self.names[row]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return self._format_cell(name, column)
            case Qt.ItemDataRole.CheckStateRole if column == 0:
                on = name in self.chosen
                return Qt.CheckState.Checked if on else Qt.CheckState.Unchecked
            case Qt.ItemDataRole.ForegroundRole:
                return self._get_color(name, column)
            case Qt.ItemDataRole.ToolTipRole if column == 4 and name in self.tested:
                return plain_tip(describe_self_test(self.tested[name]))
            case Qt.ItemDataRole.ToolTipRole if column == 2:
                return self._describe_size_source(name)
            case Qt.ItemDataRole.ToolTipRole:
                return _describe_quantization(name)
        return None

    def _format_cell(self, name: Quantization, column: int) -> str:
        match column:
            case 0:
                return name
            case 1:
                return formatting.format_float(BITS_PER_WEIGHT[name], ".1f")
            case 2 if name in self.written:
                return formatting.format_size(self.written[name].bytes)
            case 2 if name in self.sizes:
                return formatting.format_size(self.sizes[name])
            case 2 if self.sizes:
                return tr("not supported")
            case 2 if self.model is not None:
                return f"≈ {formatting.format_size(estimate_bytes(name, self.model))}"
            case 2:
                return "–"
            case 3:
                return tr(QUANTIZATIONS[name].loss)
            case _:
                return format_badge(self.tested[name]) if name in self.tested else ""

    def _describe_size_source(self, name: str) -> str:
        if name in self.written:
            return tr("File size")
        if name in self.sizes:
            return tr("Calculated by the quantizer from this model's tensor shapes")
        if self.sizes:
            return tr("llama.cpp can't write this type for this model")
        return tr("Estimated from the model's tensor sizes")

    def _get_color(self, name: Quantization, column: int) -> Any:
        if column == 4 and name in self.tested:
            return color(_COLORS[self.tested[name].verdict])
        if column == 0 or (column == 2 and name in self.written):
            return color("text")
        return color("muted")


class QuantTable(Control):
    """Choose quantizations by mouse, or with the arrow keys and Space."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Show the common quantizations without scrolling, and a button that shows all."""
        super().__init__(parent)
        self.rows = QuantModel(self)
        self.view = _View()
        self.view.setModel(self.rows)
        self.view.set_up_columns()
        self.more = button("", lambda: self.show_all(not self.rows.shows_all))
        self.setFocusProxy(self.view)
        self.setLayout(column(self.view, row(self.more, None), spacing=Spacing.S))
        self.rows.checked.connect(self._on_checked)
        self.rows.modelReset.connect(self._fit)
        get_theme().changed.connect(self._on_theme_changed)
        self.show_all(False)

    def show_all(self, on: bool) -> None:
        """Show all quantizations of llama.cpp, or only common and checked ones."""
        self.rows.shows_all = on
        self._show_count()
        self.rows.refresh()

    def _show_count(self) -> None:
        all_text = tr("Show all {count}").format(count=len(self.rows.offered))
        self.more.setText(tr("Show fewer") if self.rows.shows_all else all_text)

    def _on_theme_changed(self) -> None:
        """Repaint, and fit the text size, which is part of the theme."""
        self.rows.refresh()
        self._fit()

    def _fit(self) -> None:
        self.view.fit()
        self.view.share_width()
        self.updateGeometry()

    def show_value(self, value: Any) -> None:
        """Check the names of a list."""
        self.rows.chosen = list(value) if isinstance(value, list | tuple) else []
        self.rows.refresh()

    def set_model(self, model: events.ModelInspected | None) -> None:
        """Set the model from whose dimensions sizes are estimated."""
        self.rows.model = model
        self.rows.refresh()

    def set_sizes(self, sizes: Mapping[str, int]) -> None:
        """Set the bytes of each file as the quantizer computes them; unsupported ones are absent."""
        self.rows.sizes = sizes
        self._show_count()
        self.rows.refresh()

    def show_results(
        self, written: Sequence[events.GgufWritten], tested: Sequence[events.SelfTested]
    ) -> None:
        """Show actual sizes and self-tests of written files."""
        self.rows.written = {event.quantization: event for event in written}
        self.rows.tested = {event.stage: event for event in tested}
        self.rows.refresh()
        self.view.share_width()

    def _on_checked(self, names: list[str]) -> None:
        self.edited.emit(names)
        self.left.emit()


class _View(QTableView):
    """Let Space toggle the current row in any column."""

    _least_width = 0

    def set_up_columns(self) -> None:
        """Set up the columns; requires a model."""
        tables.set_up_table(self)
        header = self.horizontalHeader()
        header.setResizeContentsPrecision(-1)  # measure all rows, not only visible ones
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Fixed)
        for number in range(1, len(_COLUMNS)):
            header.setSectionResizeMode(
                number,
                QHeaderView.ResizeMode.Stretch
                if number == _LOSS
                else QHeaderView.ResizeMode.ResizeToContents,
            )
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.fit()

    def share_width(self) -> None:
        """Show self-tests if there are any; hide the quality loss if both don't fit."""
        model = self.model()
        if not isinstance(model, QuantModel):
            return
        header = self.horizontalHeader()
        others = [0, 1, 2, *([_TESTED] if model.tested else [])]
        used = sum(map(self._measure_column, others))
        needed = self._measure_column(_LOSS)
        cramped = bool(model.tested) and self.viewport().width() < used + needed
        least = used + (0 if model.tested else needed) + 2 * self.frameWidth()
        if least != self._least_width:
            self._least_width = least
            self.updateGeometry()
        self.setColumnHidden(_TESTED, not model.tested)
        self.setColumnHidden(_LOSS, cramped)
        header.setStretchLastSection(cramped)

    def _measure_column(self, column: int) -> int:
        """Return the width that a column needs, in pixels."""
        needed = self.horizontalHeader().sectionSizeHint(column)
        needed = max(needed, self.sizeHintForColumn(column))
        return max(needed, self.columnWidth(0)) if column == 0 else needed

    def minimumSizeHint(self) -> QSize:
        """Return the width of the columns that are never elided."""
        return super().minimumSizeHint().expandedTo(QSize(self._least_width, 0))

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Share the new width among the columns."""
        super().resizeEvent(event)
        self.share_width()

    def fit(self) -> None:
        """Set the height to that of all rows, and the width of the first column to its longest name."""
        header = self.horizontalHeader()
        # The check box of the style is wider than Qt's size hint.
        widest = max(map(self.fontMetrics().horizontalAdvance, NAMES))
        header.resizeSection(0, max(widest + 46, header.sectionSizeHint(0)))
        tables.fit_height(self, self.model().rowCount(), extra=4)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        index = self.currentIndex()
        model = self.model()
        if event.key() == Qt.Key.Key_Space and index.isValid() and isinstance(model, QuantModel):
            model.toggle_row(index.row())
        else:
            super().keyPressEvent(event)


#: Color of each verdict.
_COLORS: dict[events.Verdict, str] = {"passed": "ok", "lossy": "warn", "failed": "error"}


def _describe_quantization(name: Quantization) -> str | None:
    facts = QUANTIZATIONS[name]
    notes = []
    if facts.only_for:
        notes.append(tr("Designed for {only_for}.").format(only_for=tr(facts.only_for)))
    if facts.needs_imatrix:
        notes.append(tr("Requires an importance matrix, which is computed from the training data."))
    return " ".join(notes) or None
