"""Search, filter, table and detail of a dataset's rows, loaded on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
#: Milliseconds until a selected row is loaded, so that holding an arrow key requests few rows.
_DWELL = 60

_WHICH: tuple[Literal["all", "used", "skipped"], ...] = ("all", "used", "skipped")


@dataclass(frozen=True)
class RowFilter:
    """A filter of the table: the (source, row) pairs in `rows`, or all rows skipped for `reason`.

    `key` identifies the filter while its title and rows change.
    """

    key: str
    title: str
    rows: tuple[tuple[int, int], ...] = ()
    reason: Text = NO_TEXT


class RowBrowser(QWidget):
    """Search field, filter, table and detail view. Rows are requested page by page, and outdated answers dropped.

    Signals:
        ask(command): a request for a page of rows or for one row in full.
    """

    ask = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create an empty browser."""
        super().__init__(parent)
        self.search = LineEdit()
        self.filter = QComboBox()
        self.clear = tool_button(
            "close", tr("Clear search and filter (Esc in the search field)"), self.show_all
        )
        self.count = label(role="muted")
        self.table, self.detail = RowTable(), RowDetail()
        self._dataset: DatasetSpec | None = None
        self._new_tokens: tuple[str, ...] = ()
        self._token_dataset: DatasetSpec | None = None  # with everything that tokens depend on
        self._model: ModelSpec | None = None
        self._rows_asked = self._row_asked = ""
        self._filters: list[RowFilter] = []
        self._requested: list[RowFilter] = []  # set by a click elsewhere on the page
        self._type = QTimer(self, singleShot=True, interval=_PAUSE)
        self._dwell = QTimer(self, singleShot=True, interval=_DWELL)
        self._build()
        self._fill_filter()
        self._type.timeout.connect(self._reload)
        self._dwell.timeout.connect(self._ask_row)
        self.table.rows.wanted.connect(self._ask_rows)
        self.table.row_chosen.connect(self._on_chosen)
        self.search.textEdited.connect(lambda _: self._type.start())
        self.search.entered.connect(self._reload)
        self.search.reverted.connect(self.show_all)
        self.filter.activated.connect(lambda _: self._reload())

    def _build(self) -> None:
        self.search.setPlaceholderText(tr("Search rows"))
        self.search.setAccessibleName(tr("Search rows"))
        self.search.setToolTip(tr("Search in all rows, ignoring case (Ctrl+F)"))
        self.search.setMinimumWidth(60)
        self.search.setMaximumWidth(320)
        self.filter.setAccessibleName(tr("Filter rows"))
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

    # --- for the page -------------------------------------------------------------------------

    def set_dataset(
        self,
        dataset: DatasetSpec | None,
        first: Sequence[events.RowPreview] = (),
        *,
        rows: int = 0,
        task: Task | None = None,
        sources: int = 1,
    ) -> None:
        """Show another dataset; `first` are the first of its `rows` rows.

        Without a dataset, show only `first`, for example while the file is still being read.
        """
        self._dataset = dataset
        self._rows_asked = ""
        self.table.set_shape(task, sources=sources)
        if dataset is None:
            self._requested.clear()
            self._fill_filter()
            self.clear.setVisible(self._is_narrowed())
            self.table.rows.reset(first)
        elif self._is_narrowed():
            self._reload()
        else:
            leading_rows = [
                row
                for position, row in enumerate(first, 1)
                if (row.source, row.row) == (0, position)
            ]
            self.table.rows.reset(leading_rows, rows)
        self._show_count()

    def set_token_inputs(
        self, dataset: DatasetSpec | None, model: ModelSpec | None, new_tokens: tuple[str, ...] = ()
    ) -> None:
        """Set what tokens depend on, and load the selected row again."""
        inputs = (dataset, model, new_tokens)
        if inputs != (self._token_dataset, self._model, self._new_tokens):
            self._token_dataset, self._model, self._new_tokens = inputs
            self._dwell.start()

    def set_filters(self, filters: Sequence[RowFilter]) -> None:
        """Set additional filters; reload the rows if the selected filter was removed or changed."""
        if list(filters) == self._filters:
            return
        previous = self._get_filter()
        self._filters = list(filters)
        self._fill_filter()
        if self._get_filter() != previous:
            self._reload()

    def show_only(self, wanted: RowFilter) -> None:
        """Add a filter and show its rows."""
        if wanted not in self._list_status_filters():
            self._requested.append(wanted)
            self._fill_filter()
        self.search.clear()
        self.filter.setCurrentIndex(len(_WHICH) + self._list_status_filters().index(wanted))
        self._reload()
        self.table.setFocus()

    def show_all(self) -> None:
        """Clear search and filter."""
        self.search.clear()
        self.filter.setCurrentIndex(0)
        self._reload()

    def on_event(self, event: object) -> None:
        """Handle the answers to this browser's own requests."""
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
                self.count.setText(tr("Couldn't read the rows"))
            case events.Cancelled() if event.id == self._rows_asked:
                self.table.rows.forget_asked()

    # --- questions ----------------------------------------------------------------------------

    def _is_narrowed(self) -> bool:
        return bool(self.search.text().strip()) or self.filter.currentIndex() > 0

    def _list_status_filters(self) -> list[RowFilter]:
        return [*self._filters, *self._requested]

    def _get_filter(self) -> RowFilter | None:
        """Return the selected filter, None for all, used or skipped rows."""
        index = self.filter.currentIndex() - len(_WHICH)
        return self._list_status_filters()[index] if index >= 0 else None

    def _reload(self) -> None:
        self._type.stop()
        self.clear.setVisible(self._is_narrowed())
        if self._dataset is None:
            return
        self.table.rows.reset((), 0)
        self.count.setText(tr("Searching…"))
        self._ask_rows(0)

    def _ask_rows(self, first: int) -> None:
        if self._dataset is None:
            return
        index = self.filter.currentIndex()
        which = _WHICH[index] if 0 <= index < len(_WHICH) else "all"
        narrowing = self._get_filter()
        reason = narrowing.reason if narrowing else NO_TEXT
        question = commands.ReadRows(
            dataset=self._dataset,
            first=first,
            count=PAGE,
            search=self.search.text().strip(),
            which="skipped" if reason else which,
            reason=reason,
            only=narrowing.rows if narrowing else (),
        )
        self._rows_asked = question.id
        self.ask.emit(question)

    def _on_chosen(self, chosen: events.RowPreview | None) -> None:
        self._row_asked = ""
        self.detail.show_preview(chosen, has_model=self._model is not None)
        if chosen is not None:
            self._dwell.start()

    def _ask_row(self) -> None:
        chosen = self.table.get_selected()
        if chosen is None or self._token_dataset is None:
            return
        question = commands.ShowRow(
            dataset=self._token_dataset,
            model=self._model,
            new_tokens=self._new_tokens,
            row=chosen.row,
            source=chosen.source,
        )
        self._row_asked = question.id
        self.ask.emit(question)

    # --- display ------------------------------------------------------------------------------

    def _show_count(self) -> None:
        count = self.table.rows.rowCount()
        self.count.setText(tr_n("{n} row", "{n} rows", count) if count or self._dataset else "")

    def _fill_filter(self) -> None:
        selected_key = self.filter.currentData()
        self.filter.clear()
        for key, title in zip(_WHICH, (tr("All rows"), tr("Used"), tr("Skipped")), strict=True):
            self.filter.addItem(title, key)
        for special in self._list_status_filters():
            self.filter.addItem(special.title, special.key)
        self.filter.setCurrentIndex(max(0, self.filter.findData(selected_key)))
