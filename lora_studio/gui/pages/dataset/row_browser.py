"""Search, filter, table and detail of the rows of a dataset; asks a worker for what is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import QComboBox, QVBoxLayout, QWidget

from lora_studio.core.dataset.spec import DatasetSpec, Task
from lora_studio.core.messages import NO_TEXT, Text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import commands, events
from lora_studio.gui.controls.controls import LineEdit
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.pages.dataset.row_detail import RowDetail
from lora_studio.gui.pages.dataset.row_model import PAGE
from lora_studio.gui.pages.dataset.row_table import RowTable
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import label, row, tool_button
from lora_studio.gui.widgets.columns import make_splitter

#: Milliseconds without typing before a search begins.
_PAUSE = 300
#: Milliseconds a row has to stay chosen before it is looked at: arrow keys held down ask little.
_DWELL = 60

Pairs = tuple[tuple[int, int], ...]
#: A filter: its name, and either rows as (source, row) or the reason why rows are left out.
Narrowing = tuple[str, Pairs, Text]
_WHICH: tuple[Literal["all", "used", "skipped"], ...] = ("all", "used", "skipped")


class RowBrowser(QWidget):
    """Rows are asked for by pages; answers to older questions are dropped.

    Signals:
        ask(command): a page of rows or one row in full is wanted.
    """

    ask = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Empty until there is a dataset."""
        super().__init__(parent)
        self.search = LineEdit()
        self.filter = QComboBox()
        self.clear = tool_button("close", tr("Show all rows (Esc in the search)"), self.show_all)
        self.count = label(role="muted")
        self.table, self.detail = RowTable(), RowDetail()
        self._dataset: DatasetSpec | None = None
        self._detailed: DatasetSpec | None = None  # with everything that tokens rest on
        self._model: ModelSpec | None = None
        self._rows_asked = self._row_asked = ""
        self._filters: list[Narrowing] = []
        self._asked_for: list[Narrowing] = []  # by a click elsewhere
        self._type = QTimer(self, singleShot=True, interval=_PAUSE)
        self._dwell = QTimer(self, singleShot=True, interval=_DWELL)
        self._build()
        self._fill_filter()
        self._type.timeout.connect(self._start_again)
        self._dwell.timeout.connect(self._ask_row)
        self.table.rows.wanted.connect(self._ask_rows)
        self.table.row_chosen.connect(self._chosen)
        self.search.textEdited.connect(lambda _: self._type.start())
        self.search.entered.connect(self._start_again)
        self.search.reverted.connect(self.show_all)
        self.filter.activated.connect(lambda _: self._start_again())

    def _build(self) -> None:
        self.search.setPlaceholderText(tr("Search rows"))
        self.search.setAccessibleName(tr("Search rows"))
        self.search.setToolTip(tr("Finds rows that hold these words, upper or lower case (Ctrl+F)"))
        self.search.setMinimumWidth(60)
        self.search.setMaximumWidth(320)
        self.filter.setAccessibleName(tr("Which rows"))
        self.filter.setMinimumWidth(130)
        self.filter.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.filter.setMinimumContentsLength(10)
        self.clear.hide()
        split = make_splitter(Qt.Orientation.Horizontal, self.table, self.detail, (1, 1))
        split.setSizes([500, 500])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, Spacing.M, 0, 0)
        layout.setSpacing(Spacing.M)
        tools = row(self.search, self.filter, self.clear, None, self.count)
        tools.setStretch(0, 1)
        layout.addLayout(tools)
        layout.addWidget(split, 1)

    # --- from outside -------------------------------------------------------------------------

    def set_dataset(
        self,
        dataset: DatasetSpec | None,
        first: Sequence[events.RowPreview] = (),
        *,
        rows: int = 0,
        task: Task | None = None,
        sources: int = 1,
    ) -> None:
        """Another dataset; `first` are its first rows of `rows`.

        Without a dataset only those can be shown, as while the file is still being read.
        """
        self._dataset = dataset
        self._rows_asked = ""
        self.table.set_shape(task, sources=sources)
        if dataset is None:
            self._asked_for.clear()
            self._fill_filter()
            self.clear.setVisible(self._is_narrowed())
            self.table.rows.restart(first)
        elif self._is_narrowed():
            self._start_again()
        else:
            known = [
                row for place, row in enumerate(first, 1) if (row.source, row.row) == (0, place)
            ]
            self.table.rows.restart(known, rows)
        self._show_count()

    def set_tokens_of(self, dataset: DatasetSpec | None, model: ModelSpec | None) -> None:
        """What the tokens of a row rest on; the row that is chosen is looked at anew."""
        if (dataset, model) != (self._detailed, self._model):
            self._detailed, self._model = dataset, model
            self._dwell.start()

    def set_filters(self, filters: Sequence[Narrowing]) -> None:
        """Further filters; rows are asked for anew where the chosen one is gone or another."""
        if list(filters) == self._filters:
            return
        before = self._narrowing()
        self._filters = list(filters)
        self._fill_filter()
        if self._narrowing() != before:
            self._start_again()

    def show_only(self, name: str, pairs: Pairs = (), reason: Text = NO_TEXT) -> None:
        """Shows the rows of a finding, or those left out for a reason."""
        wanted = (name, pairs, reason)
        if wanted not in self._special():
            self._asked_for.append(wanted)
            self._fill_filter()
        self.search.clear()
        self.filter.setCurrentIndex(len(_WHICH) + self._special().index(wanted))
        self._start_again()
        self.table.setFocus()

    def show_all(self) -> None:
        """Takes search and filter away."""
        self.search.clear()
        self.filter.setCurrentIndex(0)
        self._start_again()

    def on_event(self, event: object) -> None:
        """Takes the answers to its own questions."""
        match event:
            case events.RowsRead() if event.id == self._rows_asked:
                self.table.rows.put(event.first, event.matching, event.rows)
                self._show_count()
            case events.RowShown() if event.id == self._row_asked:
                self.detail.show_row(event, has_model=self._model is not None)
            case events.Failed() if event.id == self._row_asked:
                self.detail.show_problem(event.problem)
            case events.Failed() if event.id == self._rows_asked:
                self.table.rows.forget_asked()
                self.count.setText(tr("Rows could not be read"))
            case events.Cancelled() if event.id == self._rows_asked:
                self.table.rows.forget_asked()

    # --- questions ----------------------------------------------------------------------------

    def _is_narrowed(self) -> bool:
        return bool(self.search.text().strip()) or self.filter.currentIndex() > 0

    def _special(self) -> list[Narrowing]:
        return [*self._filters, *self._asked_for]

    def _narrowing(self) -> Narrowing | None:
        """The filter that is chosen, None for all, used or skipped rows."""
        index = self.filter.currentIndex() - len(_WHICH)
        return self._special()[index] if index >= 0 else None

    def _start_again(self) -> None:
        self._type.stop()
        self.clear.setVisible(self._is_narrowed())
        if self._dataset is None:
            return
        self.table.rows.restart((), 0)
        self.count.setText(tr("Looking…"))
        self._ask_rows(0)

    def _ask_rows(self, first: int) -> None:
        if self._dataset is None:
            return
        index = self.filter.currentIndex()
        which = _WHICH[index] if 0 <= index < len(_WHICH) else "all"
        _, only, reason = self._narrowing() or ("", (), NO_TEXT)
        question = commands.ReadRows(
            dataset=self._dataset,
            first=first,
            count=PAGE,
            search=self.search.text().strip(),
            which="skipped" if reason else which,
            reason=reason,
            only=only,
        )
        self._rows_asked = question.id
        self.ask.emit(question)

    def _chosen(self, chosen: events.RowPreview | None) -> None:
        self._row_asked = ""
        self.detail.show_preview(chosen, has_model=self._model is not None)
        if chosen is not None:
            self._dwell.start()

    def _ask_row(self) -> None:
        chosen = self.table.chosen()
        if chosen is None or self._detailed is None:
            return
        question = commands.ShowRow(
            dataset=self._detailed, model=self._model, row=chosen.row, source=chosen.source
        )
        self._row_asked = question.id
        self.ask.emit(question)

    # --- what is shown ------------------------------------------------------------------------

    def _show_count(self) -> None:
        count = self.table.rows.rowCount()
        self.count.setText(tr_n("{n} row", "{n} rows", count) if count or self._dataset else "")

    def _fill_filter(self) -> None:
        before = self.filter.currentText()
        self.filter.clear()
        self.filter.addItems([tr("All rows"), tr("Used"), tr("Skipped")])
        self.filter.addItems([name for name, _, _ in self._special()])
        place = self.filter.findText(before)
        self.filter.setCurrentIndex(max(0, place))
