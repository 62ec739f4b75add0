"""Table model for datasets of any size: a worker loads pages of rows on demand."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import (
    QObject,
    Qt,
    QTimer,
    Signal,
)

from lora_studio.core import formatting
from lora_studio.core.dataset.spec import Message, Task
from lora_studio.core.protocol.events import RowPreview
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.theme import color
from lora_studio.gui.widgets.tables import LEFT, RIGHT, TableModel
from lora_studio.gui.widgets.tooltips import plain_tip

#: Rows per request: enough to fill the screen before the next page is needed.
PAGE = 100
#: Maximum number of cached pages: 64 × 100 rows of about 1 kB, a few megabytes for any dataset.
_KEPT = 64
#: Milliseconds without scrolling before rows are requested, so that dragging requests few.
_REST = 40
#: Maximum number of characters of a cell; a column is never wider.
_LETTERS = 300
_WAITING = "…"

NUMBER, SOURCE, QUESTION, ANSWER = range(4)
_NAMES: dict[Task, tuple[str, str]] = {
    "sft": (mark("Prompt"), mark("Answer")),
    "text": (mark("Text"), ""),
    "preference": (mark("Prompt"), mark("Chosen")),
    "kto": (mark("Prompt"), mark("Answer")),
    "grpo": (mark("Prompt"), mark("Reference")),
    "embedding": (mark("Query"), mark("Text to find")),
    "classification": (mark("Text"), mark("Label")),
}


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
        self._names = _NAMES["sft"]
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

    def set_task(self, task: Task | None) -> None:
        """Set the names of the columns."""
        self._names = _NAMES[task or "sft"]
        self.headerDataChanged.emit(Qt.Orientation.Horizontal, QUESTION, ANSWER)

    def row_at(self, index: int) -> RowPreview | None:
        """Return a row, None while it isn't loaded."""
        page = self._pages.get(index // PAGE)
        offset = index % PAGE
        return page[offset] if page is not None and offset < len(page) else None

    def index_of(self, source: int, number: int) -> int | None:
        """Return the index of a row among those loaded, None if it isn't loaded."""
        for page, rows in self._pages.items():
            for offset, row in enumerate(rows):
                if (row.source, row.row) == (source, number):
                    return page * PAGE + offset
        return None

    def index_of_first_used(self) -> int:
        """Return the index of the first row that isn't skipped among those loaded, 0 if all are."""
        for page, rows in sorted(self._pages.items()):
            for offset, row in enumerate(rows):
                if not row.fault:
                    return page * PAGE + offset
        return 0

    # --- Qt -----------------------------------------------------------------------------------

    def count_rows(self) -> int:
        """Return the number of matching rows, loaded or not."""
        return self._count

    def list_titles(self) -> list[str]:
        """Return the titles of the columns."""
        return [tr(name) if name else "" for name in (mark("Row"), mark("Source"), *self._names)]

    def get_alignment(self, column: int) -> Qt.AlignmentFlag:
        """Return the alignment of a column: numbers are on the right."""
        return RIGHT if column <= SOURCE else LEFT

    def get_cell(self, row: int, column: int, role: int) -> Any:
        """Return the text of a cell; a skipped row shows its reason, in gray."""
        preview, is_text = self.row_at(row), role == Qt.ItemDataRole.DisplayRole
        if preview is None:
            self._request_missing(row)
            muted = role == Qt.ItemDataRole.ForegroundRole
            return color("muted") if muted else _WAITING if is_text else None
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
