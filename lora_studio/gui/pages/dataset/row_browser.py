"""Search, filter, table and detail of a dataset's rows, loaded on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import QModelIndex, Qt, QTimer, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QComboBox, QHeaderView, QTableView, QTabWidget, QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.dataset.spec import DatasetSpec, Task
from lora_studio.core.messages import NO_TEXT, Text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Problem
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.events import RowPreview
from lora_studio.gui.controls.controls import LineEdit
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.message_translation import localize_problem
from lora_studio.gui.pages.dataset.conversation import ChatView
from lora_studio.gui.pages.dataset.row_model import ANSWER, NUMBER, PAGE, QUESTION, SOURCE, RowModel
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets import tables
from lora_studio.gui.widgets.basics import column, label, row, tool_button, with_title
from lora_studio.gui.widgets.columns import make_splitter
from lora_studio.gui.widgets.glyph import StatusLabel
from lora_studio.gui.widgets.rich_text import (
    RichText,
    add_paragraph,
    make_block_format,
    make_text_format,
)
from lora_studio.gui.widgets.token_view import TokenView

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


_NO_MODEL = mark("Select a model to see the tokens of this row.")
_NO_TOKENS = mark("This row is skipped, so it isn't tokenized.")
_WAITING = mark("Tokenizing…")


class RowDetail(QTabWidget):
    """Conversation, Tokens and Raw tabs."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create the tabs, empty."""
        super().__init__(parent)
        self.chat, self.tokens, self.rejected = ChatView(), TokenView(), TokenView()
        self.raw = RichText(self._paint_raw, tr("Raw row"))
        self._raw = ""
        self.problem = StatusLabel()
        self._rejected = with_title(tr("Rejected"), self.rejected)
        self._chosen = label(tr("Chosen"), "label")
        tokens = QWidget()
        inside = QVBoxLayout(tokens)
        inside.setContentsMargins(0, Spacing.S, 0, 0)
        inside.setSpacing(Spacing.XS)
        inside.addWidget(self.problem)
        inside.addWidget(self._chosen)
        inside.addWidget(self.tokens, 1)
        inside.addWidget(self._rejected, 1)
        raw = QWidget()
        raw.setLayout(column(self.raw))
        self.addTab(self.chat, tr("Conversation"))
        self.addTab(tokens, tr("Tokens"))
        self.addTab(raw, tr("Raw"))
        self.setMinimumWidth(240)
        self.tabBar().setAccessibleName(tr("Row view"))
        self.show_preview(None, has_model=False)

    def show_preview(self, row: events.RowPreview | None, *, has_model: bool) -> None:
        """Show a preview of a row until the worker has tokenized it."""
        self.chat.show_row(row)
        waiting = (
            tr(_NO_TOKENS) if row and row.fault else tr(_WAITING) if has_model else tr(_NO_MODEL)
        )
        self._show_tokens((), (), waiting)
        self.problem.hide()
        self._raw = ""
        self._paint_raw()

    def show_row(self, shown: events.RowShown, *, has_model: bool) -> None:
        """Show all of a row."""
        self.chat.show_row(shown.row)
        empty = tr(_NO_TOKENS) if shown.row.fault else tr(_NO_MODEL) if not has_model else ""
        self._show_tokens(shown.tokens, shown.rejected_tokens, empty)
        self.problem.setVisible(bool(shown.problems))
        self.problem.set_status("\n".join(localize_problem(p) for p in shown.problems), "warn")
        self._raw = shown.raw
        self._paint_raw()

    def show_problem(self, problem: Problem) -> None:
        """Show why the row couldn't be tokenized; the preview remains."""
        self._show_tokens((), (), tr("No tokens to show."))
        self.problem.show()
        self.problem.set_status(localize_problem(problem), "warn")

    def _show_tokens(
        self, tokens: tuple[events.Token, ...], rejected: tuple[events.Token, ...], empty: str
    ) -> None:
        self.tokens.show_tokens(tokens, empty)
        self.rejected.show_tokens(rejected)
        self._chosen.setVisible(bool(rejected))
        self._rejected.setVisible(bool(rejected))

    def _paint_raw(self) -> None:
        cursor = self.raw.start_document()
        add_paragraph(cursor, make_block_format(), self._raw, make_text_format("text", mono=True))
        self.raw.moveCursor(cursor.MoveOperation.Start)


#: Minimum width in pixels for the answer column; the detail view shows the answer, too.
_NARROW = 560


class RowTable(QTableView):
    """A table that is fast with millions of rows, because column widths don't depend on them.

    Signals:
        row_chosen(RowPreview | None): the row to show in detail.
    """

    row_chosen = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create the table; mouse or arrow keys select one row at a time."""
        super().__init__(parent)
        self.rows = RowModel(self)
        self._has_answers = True
        self._wanted: tuple[int, int] | None = None  # (source, row) to select after a reset
        self.setModel(self.rows)
        tables.set_up_table(self)
        self.setAccessibleName(tr("Rows of the dataset"))
        self.setMinimumWidth(200)
        header = self.horizontalHeader()
        header.setMinimumSectionSize(48)
        for section, stretched in ((NUMBER, 0), (SOURCE, 0), (QUESTION, 1), (ANSWER, 1)):
            mode = QHeaderView.ResizeMode.Stretch if stretched else QHeaderView.ResizeMode.Fixed
            header.setSectionResizeMode(section, mode)
        self.set_shape(None, sources=1)
        self.selectionModel().currentRowChanged.connect(self._on_row_chosen)
        self.rows.modelReset.connect(self._choose_again)
        self.rows.dataChanged.connect(self._on_rows_loaded)

    def set_shape(self, task: Task | None, *, sources: int) -> None:
        """Set the columns for a task; the source column is shown only with several sources."""
        self.rows.set_task(task)
        self._has_answers = task != "text"
        self.setColumnHidden(SOURCE, sources < 2)
        self._fit()

    def get_selected(self) -> RowPreview | None:
        """Return the selected row if it is loaded."""
        index = self.currentIndex()
        return self.rows.row_at(index.row()) if index.isValid() else None

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Show the columns that fit."""
        super().resizeEvent(event)
        self._fit()

    # --- helpers ------------------------------------------------------------------------------

    def _fit(self) -> None:
        narrow = self.viewport().width() < _NARROW
        if self.isColumnHidden(ANSWER) != (narrow or not self._has_answers):
            self.setColumnHidden(ANSWER, narrow or not self._has_answers)
        digits = formatting.format_number(max(999, self.rows.rowCount()))
        header = self.horizontalHeader()
        width = self.fontMetrics().horizontalAdvance(digits) + 24
        width = max(width, header.sectionSizeHint(NUMBER))
        for section, needed_width in ((NUMBER, width), (SOURCE, header.sectionSizeHint(SOURCE))):
            if not self.isColumnHidden(section) and self.columnWidth(section) != needed_width:
                self.setColumnWidth(section, needed_width)

    def _on_row_chosen(self, index: QModelIndex) -> None:
        row = self.rows.row_at(index.row()) if index.isValid() else None
        if row is not None:
            self._wanted = (row.source, row.row)
        self.row_chosen.emit(row)

    def _choose_again(self) -> None:
        """Select the previously selected row after a reset, or else the first that isn't skipped."""
        self._fit()
        if not self.rows.rowCount():
            self.row_chosen.emit(None)
            return
        index = self.rows.index_of(*self._wanted) if self._wanted else None
        if index is None:
            index = self.rows.index_of_first_used()
        self.selectRow(index)
        self._on_row_chosen(self.rows.index(index, 0))

    def _on_rows_loaded(self, first: QModelIndex, last: QModelIndex) -> None:
        """Show the selected row if it is among those just loaded."""
        current = self.currentIndex()
        if current.isValid() and first.row() <= current.row() <= last.row():
            self._on_row_chosen(current)
