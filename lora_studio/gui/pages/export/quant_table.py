"""Which GGUF files to write: several can be ticked; afterwards their sizes and self-tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtGui import QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QHeaderView, QTableView, QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.export import BITS_PER_WEIGHT, COMMON, QUANTIZATIONS, Quantization
from lora_studio.core.protocol import events
from lora_studio.gui.controls.controls import Control
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.message_translation import tell
from lora_studio.gui.text_size import Size
from lora_studio.gui.theme import Spacing, color, theme
from lora_studio.gui.widgets import plain_table
from lora_studio.gui.widgets.basics import button, row

_Index = QModelIndex | QPersistentModelIndex
_COLUMNS = (
    mark("Quantisation"),
    mark("Bits"),
    mark("Size"),
    mark("Expected loss"),
    mark("Self-test"),
)
_LOSS, _TESTED = 3, 4
NAMES: tuple[Quantization, ...] = tuple(QUANTIZATIONS)


def estimated_bytes(quantization: Quantization, parameters: int) -> int:
    """Size of a GGUF file in bytes: parameters times bits per weight, vocabulary aside."""
    return round(parameters * BITS_PER_WEIGHT[quantization] / 8)


class QuantModel(QAbstractTableModel):
    """One row per quantisation: those most used and those that are ticked or made, or all.

    Signals:
        ticked(list[str]): the names that are ticked now.
    """

    ticked = Signal(list)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Nothing is ticked, no size is known."""
        super().__init__(parent)
        self.names: tuple[Quantization, ...] = COMMON
        self.everything = False
        self.chosen: list[str] = []  # in the order of ticking: Ollama gets the first
        self.parameters: int | None = None
        self.sizes: Mapping[str, int] = {}
        self.written: dict[str, events.GgufWritten] = {}
        self.tested: dict[str, events.SelfTested] = {}

    def changed(self) -> None:
        """Everything may look different now."""
        wanted = {*COMMON, *self.chosen, *self.written}
        names = tuple(name for name in NAMES if self.everything or name in wanted)
        if names != self.names:
            self.beginResetModel()
            self.names = names
            self.endResetModel()
        last = self.index(len(names) - 1, len(_COLUMNS) - 1)
        self.dataChanged.emit(self.index(0, 0), last)

    def toggle(self, row: int) -> None:
        """Ticks or unticks a row; the last tick stays, for nothing is no export."""
        name = self.names[row]
        kept = [other for other in self.chosen if other != name]
        after = kept if name in self.chosen else [*kept, name]
        if after:
            self.chosen = after
            self.changed()
            self.ticked.emit(list(after))

    def rowCount(self, parent: _Index | None = None) -> int:
        """A table has no rows below a row."""
        return 0 if parent is not None and parent.isValid() else len(self.names)

    def columnCount(self, parent: _Index | None = None) -> int:
        """The same for every row."""
        return len(_COLUMNS)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Names of the columns."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _aligned(section)
        if role == Qt.ItemDataRole.ToolTipRole and section == 1:
            return tr("Bits per weight")
        return tr(_COLUMNS[section]) if role == Qt.ItemDataRole.DisplayRole else None

    def flags(self, index: _Index) -> Qt.ItemFlag:
        """The first column has a box to tick."""
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        return flags | Qt.ItemFlag.ItemIsUserCheckable if index.column() == 0 else flags

    def setData(self, index: _Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """A click on the box."""
        if role != Qt.ItemDataRole.CheckStateRole or index.column() != 0:
            return False
        self.toggle(index.row())
        return True

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Words, tick and colour of a cell."""
        name, column = self.names[index.row()], index.column()
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return self._words(name, column)
            case Qt.ItemDataRole.CheckStateRole if column == 0:
                on = name in self.chosen
                return Qt.CheckState.Checked if on else Qt.CheckState.Unchecked
            case Qt.ItemDataRole.TextAlignmentRole:
                return _aligned(column)
            case Qt.ItemDataRole.ForegroundRole:
                return self._tint(name, column)
            case Qt.ItemDataRole.ToolTipRole if column == 4 and name in self.tested:
                return in_words(self.tested[name])
            case Qt.ItemDataRole.ToolTipRole if column == 2:
                return self._origin(name)
            case Qt.ItemDataRole.ToolTipRole:
                return _note(name)
        return None

    def _words(self, name: Quantization, column: int) -> str:
        match column:
            case 0:
                return name
            case 1:
                return f"{BITS_PER_WEIGHT[name]:.1f}"
            case 2 if name in self.written:
                return formatting.size(self.written[name].bytes)
            case 2 if name in self.sizes:
                return formatting.size(self.sizes[name])
            case 2 if self.sizes:
                return tr("not possible")
            case 2 if self.parameters is not None:
                return f"≈ {formatting.size(estimated_bytes(name, self.parameters))}"
            case 2:
                return "–"
            case 3:
                return tr(QUANTIZATIONS[name].loss)
            case _:
                return badge(self.tested[name]) if name in self.tested else ""

    def _origin(self, name: str) -> str:
        """Where a size comes from."""
        if name in self.written:
            return tr("The size of the file")
        if name in self.sizes:
            return tr("By the quantiser itself, from the shapes of this model")
        if self.sizes:
            return tr("The rows of this model's weights do not fit this type's blocks")
        return tr("By rule of thumb, from the number of parameters")

    def _tint(self, name: Quantization, column: int) -> Any:
        if column == 4 and name in self.tested:
            return color(_TINTS[self.tested[name].verdict])
        if column == 0 or (column == 2 and name in self.written):
            return color("text")
        return color("muted")


class QuantTable(Control):
    """A table to tick quantisations in, by mouse or by arrow keys and Space."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Shows its rows without scrolling; the rest on demand."""
        super().__init__(parent)
        self.rows = QuantModel(self)
        self.view = _View()
        self.view.setModel(self.rows)
        self.view.lay_out()
        self.more = button("", lambda: self.show_everything(not self.rows.everything))
        self.setFocusProxy(self.view)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.view)
        layout.addLayout(row(self.more, None))
        self.rows.ticked.connect(self._ticked)
        self.rows.modelReset.connect(self._fit)
        theme().changed.connect(self.rows.changed)
        self.show_everything(False)

    def show_everything(self, on: bool) -> None:
        """All that llama.cpp offers, or those most used and those that are ticked."""
        self.rows.everything = on
        self.more.setText(
            tr("Show fewer") if on else tr("Show all {count}").format(count=len(NAMES))
        )
        self.rows.changed()

    def _fit(self) -> None:
        self.view.fit()
        self.view.divide()
        self.updateGeometry()

    def show_value(self, value: Any) -> None:
        """Ticks the names of a list."""
        self.rows.chosen = list(value) if isinstance(value, list | tuple) else []
        self.rows.changed()

    def set_parameters(self, parameters: int | None) -> None:
        """Parameters of the model, for the estimated sizes."""
        self.rows.parameters = parameters
        self.rows.changed()

    def set_sizes(self, sizes: Mapping[str, int]) -> None:
        """Bytes of each file as the quantiser computes them; those it cannot make are left out."""
        self.rows.sizes = sizes
        self.rows.changed()

    def show_results(
        self, written: Sequence[events.GgufWritten], tested: Sequence[events.SelfTested]
    ) -> None:
        """Real sizes and self-tests of the files that were written."""
        self.rows.written = {event.quantization: event for event in written}
        self.rows.tested = {event.stage: event for event in tested}
        self.rows.changed()
        self.view.divide()

    def _ticked(self, names: list[str]) -> None:
        self.edited.emit(names)
        self.left.emit()


class _View(QTableView):
    """Space ticks whatever column is current."""

    def lay_out(self) -> None:
        """Column widths; needs the model."""
        plain_table.set_up(self)
        header = self.horizontalHeader()
        header.setResizeContentsPrecision(-1)  # by all rows, not by those in view
        # The style's box to tick is wider than Qt reckons with.
        widest = max(map(self.fontMetrics().horizontalAdvance, NAMES))
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Fixed)
        header.resizeSection(0, widest + 46)
        for column in range(1, len(_COLUMNS)):
            header.setSectionResizeMode(
                column,
                QHeaderView.ResizeMode.Stretch
                if column == _LOSS
                else QHeaderView.ResizeMode.ResizeToContents,
            )
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.fit()

    def divide(self) -> None:
        """Shows self-tests where there are any; the loss that was expected gives way to them."""
        model = self.model()
        if not isinstance(model, QuantModel):
            return
        header = self.horizontalHeader()
        others = [0, 1, 2, *([_TESTED] if model.tested else [])]
        taken = sum(max(self.sizeHintForColumn(n), header.sectionSizeHint(n)) for n in others)
        wanted = max(self.sizeHintForColumn(_LOSS), header.sectionSizeHint(_LOSS))
        cramped = bool(model.tested) and self.viewport().width() < taken + wanted
        self.setColumnHidden(_TESTED, not model.tested)
        self.setColumnHidden(_LOSS, cramped)
        header.setStretchLastSection(cramped)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Another width divides anew."""
        super().resizeEvent(event)
        self.divide()

    def fit(self) -> None:
        """As high as its rows are together."""
        rows = self.model().rowCount()
        self.setFixedHeight(
            self.horizontalHeader().sizeHint().height() + Size.grown(plain_table.ROW) * rows + 4
        )

    def keyPressEvent(self, event: QKeyEvent) -> None:
        index = self.currentIndex()
        model = self.model()
        if event.key() == Qt.Key.Key_Space and index.isValid() and isinstance(model, QuantModel):
            model.toggle(index.row())
        else:
            super().keyPressEvent(event)


#: Colour of each verdict, and the glyph that goes with it.
_TINTS: dict[events.Verdict, str] = {"passed": "ok", "lossy": "warn", "failed": "error"}
_GLYPHS: dict[events.Verdict, str] = {"passed": "✓", "lossy": "⚠", "failed": "✗"}


def badge(event: events.SelfTested) -> str:
    """A self-test in short: `✓ top-1 98.7 %, KL 0.004`."""
    kl = f"{event.kl:.2g}".replace("e-0", "e-")
    return f"{_GLYPHS[event.verdict]} top-1 {formatting.percent(event.top1)}, KL {kl}"


def _limits(event: events.SelfTested) -> str:
    """What it had to reach, and why that; or why no figure counts."""
    if event.top1_limit is None or event.kl_limit is None:
        return tell(event.basis)
    least = tr("at least {top1} and at most {kl:.3g} nats").format(
        top1=formatting.percent(event.top1_limit), kl=event.kl_limit
    )
    return f"{least}: {tell(event.basis)}" if event.basis else least


def in_words(event: events.SelfTested) -> str:
    """A self-test in full."""
    same = tr("token for token the same ids") if event.tokens_equal else tr("other token ids")
    verdict = {
        "passed": tr("Passed"),
        "lossy": tr("What was trained, but at a loss,"),
        "failed": tr("Failed"),
    }[event.verdict]
    cause = (
        " " + tr("The likeliest cause: {cause}.").format(cause=tell(event.cause))
        if event.cause
        else ""
    )
    return tr(
        "{verdict} against base + adapter on {conversations} with {positions}: the likeliest token agrees at {top1}, KL {kl:.3g} nats ({limits}), {same}.{cause}"
    ).format(
        verdict=verdict,
        conversations=tr_n("{n} conversation", "{n} conversations", event.conversations),
        positions=tr_n("{n} answer token", "{n} answer tokens", event.positions),
        top1=formatting.percent(event.top1),
        limits=_limits(event),
        kl=event.kl,
        same=same,
        cause=cause,
    )


def _note(name: Quantization) -> str | None:
    """What to know before ticking it."""
    facts = QUANTIZATIONS[name]
    notes = (
        [tr("Made for {only_for}.").format(only_for=tr(facts.only_for))] if facts.only_for else []
    )
    if facts.needs_imatrix:
        notes.append(tr("Needs an importance matrix, which is computed from the training data."))
    return " ".join(notes) or None


def _aligned(column: int) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignRight if column in (1, 2) else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter
