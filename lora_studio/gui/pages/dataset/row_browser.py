"""Search, filter, table and detail of a dataset's rows, loaded on demand; one row as a conversation."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from PySide6.QtCore import (
    QModelIndex,
    QObject,
    Qt,
    QTimer,
    Signal,
)
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QComboBox,
    QHeaderView,
    QSplitter,
    QTableView,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core import formatting
from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.messages import NO_TEXT, Text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Problem
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.events import RowPreview
from lora_studio.core.tasks.samples import Message, TaskName
from lora_studio.core.tasks.table import TASKS
from lora_studio.core.tasks.task import Task
from lora_studio.gui.controls.controls import LineEdit
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.message_translation import localize, localize_problem
from lora_studio.gui.theme import Size, Spacing, color
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
from lora_studio.gui.widgets.tables import LEFT, RIGHT, TableModel
from lora_studio.gui.widgets.token_view import TokenView
from lora_studio.gui.widgets.tooltips import plain_tip

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
        task: TaskName | None = None,
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

    def set_shape(self, task: TaskName | None, *, sources: int) -> None:
        """Set the columns for a task; the source column is shown only with several sources."""
        self.rows.set_task(task)
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
        is_hidden = narrow or not self.rows.headings[1]
        if self.isColumnHidden(ANSWER) != is_hidden:
            self.setColumnHidden(ANSWER, is_hidden)
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


#: Rows per request: enough to fill the screen before the next page is needed.
PAGE = 100
#: Maximum number of cached pages: 64 × 100 rows of about 1 kB, a few megabytes for any dataset.
_KEPT = 64
#: Milliseconds without scrolling before rows are requested, so that dragging requests few.
_REST = 40
#: Maximum number of characters of a cell; a column is never wider.
_LETTERS = 300
_UNREAD = "…"

NUMBER, SOURCE, QUESTION, ANSWER = range(4)


class RowModel(TableModel):
    """Number, source, prompt and answer of each row; "…" until its page is loaded.

    Signals:
        wanted(int): load the page that begins at this row; one page at a time.
    """

    wanted = Signal(int)

    def __init__(self, parent: QObject | None = None) -> None:
        """Create a model without rows."""
        super().__init__(parent)
        self._pages: OrderedDict[int, tuple[RowPreview, ...]] = OrderedDict()
        self._count = 0
        self.headings = Task.headings
        self._looked_at = 0  # the row that was painted last
        self._asked: int | None = None
        self._rest = QTimer(self, singleShot=True, interval=_REST)
        self._rest.timeout.connect(self._request_shown)

    # --- contents -----------------------------------------------------------------------------

    def reset(self, rows: Sequence[RowPreview] = (), count: int | None = None) -> None:
        """Drop all rows; `rows` are the first of `count` rows, if known.

        An incomplete page is loaded when it is shown.
        """
        self.beginResetModel()
        self._rest.stop()
        self._asked = None
        self._count = len(rows) if count is None else count
        pages = range(0, len(rows), PAGE)
        self._pages = OrderedDict(
            (start // PAGE, tuple(rows[start : start + PAGE])) for start in pages
        )
        self._looked_at = 0
        self.endResetModel()

    def put(self, first: int, count: int, rows: Sequence[RowPreview]) -> None:
        """Store a page that was requested; `count` is the number of matching rows."""
        self._asked = None
        page = first // PAGE
        if count != self._count:
            self.beginResetModel()
            self._count = count
            self._store_page(page, rows)
            self.endResetModel()
            return
        self._store_page(page, rows)
        if rows:
            last = first + len(rows) - 1
            self.dataChanged.emit(self.index(first, 0), self.index(last, self.columnCount() - 1))
        self._rest.start()  # the view may have scrolled meanwhile

    def forget_asked(self) -> None:
        """Drop the pending request, whose page won't arrive."""
        self._asked = None

    def set_task(self, task: TaskName | None) -> None:
        """Set the names of the columns."""
        self.headings = TASKS[task].headings if task is not None else Task.headings
        self.headerDataChanged.emit(Qt.Orientation.Horizontal, QUESTION, ANSWER)

    def row_at(self, index: int) -> RowPreview | None:
        """Return a row, None while it isn't loaded."""
        page = self._pages.get(index // PAGE)
        offset = index % PAGE
        return page[offset] if page is not None and offset < len(page) else None

    def index_of(self, source: int, number: int) -> int | None:
        """Return the index of a row among those loaded, None if it isn't loaded."""
        for page, rows in self._pages.items():
            for offset, preview in enumerate(rows):
                if (preview.source, preview.row) == (source, number):
                    return page * PAGE + offset
        return None

    def index_of_first_used(self) -> int:
        """Return the index of the first row that isn't skipped among those loaded, 0 if all are."""
        for page, rows in sorted(self._pages.items()):
            for offset, preview in enumerate(rows):
                if not preview.fault:
                    return page * PAGE + offset
        return 0

    # --- Qt -----------------------------------------------------------------------------------

    def count_rows(self) -> int:
        """Return the number of matching rows, loaded or not."""
        return self._count

    def list_titles(self) -> list[str]:
        """Return the titles of the columns."""
        return [tr(name) if name else "" for name in (mark("Row"), mark("Source"), *self.headings)]

    def get_alignment(self, column: int) -> Qt.AlignmentFlag:
        """Return the alignment of a column: numbers are on the right."""
        return RIGHT if column <= SOURCE else LEFT

    def get_cell(self, row: int, column: int, role: int) -> Any:
        """Return the text of a cell; a skipped row shows its reason, in gray."""
        preview, is_text = self.row_at(row), role == Qt.ItemDataRole.DisplayRole
        if preview is None:
            self._request_missing(row)
            muted = role == Qt.ItemDataRole.ForegroundRole
            return color("muted") if muted else _UNREAD if is_text else None
        if role == Qt.ItemDataRole.ForegroundRole:
            return color("muted") if preview.fault or column < QUESTION else None
        if role == Qt.ItemDataRole.ToolTipRole:
            if not preview.fault:
                return None
            return plain_tip(tr("Skipped: {reason}").format(reason=localize(preview.fault)))
        return _format_cell(preview, column) if is_text else None

    # --- helpers ------------------------------------------------------------------------------

    def _request_missing(self, index: int) -> None:
        self._looked_at = index
        if not self._rest.isActive():
            self._rest.start()

    def _request_shown(self) -> None:
        """Request the page that was shown last, unless another one is pending."""
        page = self._looked_at // PAGE
        missing = self._looked_at < self._count and self.row_at(self._looked_at) is None
        if self._asked is None and missing:
            self._asked = page
            self.wanted.emit(page * PAGE)

    def _store_page(self, page: int, rows: Sequence[RowPreview]) -> None:
        self._pages[page] = tuple(rows)
        self._pages.move_to_end(page)
        while len(self._pages) > _KEPT:
            self._pages.popitem(last=False)


def _format_cell(row: RowPreview, column: int) -> str:
    match column:
        case 0:
            return formatting.format_number(row.row)
        case 1:
            return formatting.format_number(row.source + 1)
        case 2:
            if row.text:
                return _to_line(row.text)
            prompt = _to_line(_find_first(row.messages, "user"))
            return prompt or (
                f"⚠ {localize(row.fault)}" if row.fault else _to_line(_find_first(row.messages, ""))
            )
        case _:
            return _get_answer(row)


def _get_answer(row: RowPreview) -> str:
    if row.fault:
        return f"⚠ {localize(row.fault)}" if _find_first(row.messages, "user") else ""
    if row.chosen:
        return _to_line(_get_last(row.chosen))
    mark = {None: "", True: "✓ ", False: "✗ "}[row.label]
    return mark + _to_line(_get_last(row.messages))


def _find_first(messages: Sequence[Message], role: str) -> str:
    return next((m.content for m in messages if not role or m.role == role), "")


def _get_last(messages: Sequence[Message]) -> str:
    answers = [message.content for message in messages if message.role == "assistant"]
    return answers[-1] if answers else ""


def _to_line(text: str) -> str:
    return " ".join(text[:_LETTERS].split())


_ROLES = {
    "system": mark("System"),
    "user": mark("User"),
    "assistant": mark("Assistant"),
    "tool": mark("Tool"),
}


class MessagesView(RichText):
    """A column of messages, each with its role."""

    def __init__(self, name: str = "") -> None:
        """Create an empty view; `name` is its accessible name."""
        self._messages: tuple[Message, ...] = ()
        self._plain = ""
        super().__init__(self._paint, name or tr("Conversation"))

    def show_messages(self, messages: Sequence[Message], text: str = "") -> None:
        """Replace the messages; `text` is the content of a plain-text row."""
        if (tuple(messages), text) != (self._messages, self._plain):
            self._messages, self._plain = tuple(messages), text
            self._paint()

    def text(self) -> str:
        """Return the content as plain text."""
        return self.toPlainText()

    def _paint(self) -> None:
        cursor = self.start_document()
        caption = Size.CAPTION
        for message in self._messages:
            above = 0 if self.document().isEmpty() else Spacing.L
            tint = "accent" if message.role == "assistant" else "muted"
            heading = make_text_format(tint, size=caption, bold=True)
            add_paragraph(cursor, make_block_format(above, 2), _format_heading(message), heading)
            if message.thinking:
                quoted = make_block_format(0, Spacing.XS, Spacing.M)
                add_paragraph(
                    cursor, quoted, tr("Reasoning"), make_text_format("muted", size=caption)
                )
                add_paragraph(
                    cursor, quoted, message.thinking, make_text_format("muted", italic=True)
                )
            if message.content:
                add_paragraph(
                    cursor, make_block_format(), message.content, make_text_format("text")
                )
            for call in message.tool_calls:
                arguments = json.dumps(call.arguments, ensure_ascii=False)
                call_text = tr("Tool call: {name}({arguments})").format(
                    name=call.name, arguments=arguments
                )
                add_paragraph(
                    cursor,
                    make_block_format(Spacing.XS),
                    call_text,
                    make_text_format("text", mono=True),
                )
        if self._plain:
            add_paragraph(cursor, make_block_format(), self._plain, make_text_format("text"))
        self.moveCursor(cursor.MoveOperation.Start)


class ChatView(QWidget):
    """Shows a row: its messages, both answers of a preference pair, and why the row is skipped."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create an empty view."""
        super().__init__(parent)
        self.fault = StatusLabel()
        self.verdict = StatusLabel()
        self.messages = MessagesView()
        self.chosen, self.rejected = (
            MessagesView(tr("Chosen answer")),
            MessagesView(tr("Rejected answer")),
        )
        self.raw_hint = label(tr("The Raw tab shows what the file contains."), "muted", wrap=True)
        self._pair = QSplitter()
        self._pair.setChildrenCollapsible(False)
        for name, part in ((tr("Chosen"), self.chosen), (tr("Rejected"), self.rejected)):
            self._pair.addWidget(with_title(name, part))
        self._pair.setHandleWidth(Spacing.S)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, Spacing.S, 0, 0)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.fault)
        layout.addWidget(self.verdict)
        layout.addWidget(self.raw_hint)
        layout.addWidget(self.messages, 1)
        layout.addWidget(self._pair, 1)
        layout.addStretch(0)
        self.setFocusProxy(self.messages)
        self.show_row(None)

    def show_row(self, row: RowPreview | None) -> None:
        """Show another row, or none."""
        paired = row is not None and bool(row.chosen or row.rejected)
        self.messages.show_messages(row.messages if row else (), row.text if row else "")
        self.chosen.show_messages(row.chosen if row else ())
        self.rejected.show_messages(row.rejected if row else ())
        has_text = row is not None and bool(row.messages or row.text)
        # A skipped row may have nothing to show but the reason; its values are in the Raw tab.
        self.messages.setVisible(has_text or not (paired or (row is not None and row.fault)))
        self.raw_hint.setVisible(not has_text and not paired and bool(row and row.fault))
        self._pair.setVisible(paired)
        self.fault.setVisible(bool(row and row.fault))
        self.fault.set_status(
            tr("Skipped: {reason}").format(reason=localize(row.fault or "")) if row else "", "warn"
        )
        labeled = row.label if row else None
        self.verdict.setVisible(labeled is not None)
        good = tr("This answer is labeled good.") if labeled else tr("This answer is labeled bad.")
        self.verdict.set_status(good, "ok" if labeled else "muted", "check" if labeled else "minus")

    def text(self) -> str:
        """Return the content as plain text, the chosen and rejected answers after the prompt."""
        parts = (self.messages, self.chosen, self.rejected)
        return "\n".join(part.text() for part in parts if part.text())


def _format_heading(message: Message) -> str:
    name = f"  ·  {message.name}" if message.name else ""
    trained = f"  ·  {tr('trained')}" if message.trained else ""
    return tr(_ROLES[message.role]) + name + trained
