"""What the Evaluate page shows of results: scores, and the rows with their answers."""

from __future__ import annotations

import difflib
import re
from typing import Any

from PySide6.QtCore import (
    QEvent,
    Qt,
    QTimer,
)
from PySide6.QtGui import QFont, QResizeEvent, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QComboBox, QHeaderView, QTableView, QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.evaluation import summary
from lora_studio.core.evaluation.columns import Column
from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.plan import EvaluationPlan
from lora_studio.core.evaluation.results import EvaluationResults, ItemResult, Judgment
from lora_studio.core.evaluation.summary import (
    EvaluationSummary,
    MeanScore,
    ResultFilter,
    RowKind,
    filter_rows,
    get_score,
)
from lora_studio.gui.controls.controls import LineEdit
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.message_translation import localize, localize_problem
from lora_studio.gui.theme import Size, Spacing, color, get_theme
from lora_studio.gui.widgets.basics import flow_row, label
from lora_studio.gui.widgets.columns import ResponsiveSplitter
from lora_studio.gui.widgets.rich_text import (
    RichText,
    add_paragraph,
    make_block_format,
    make_text_format,
)
from lora_studio.gui.widgets.tables import LEFT, RIGHT, TableModel, set_up_table
from lora_studio.gui.widgets.tooltips import plain_tip

#: Columns before those of the models: test set, metric, rows.
_FIXED = 3
#: A mark with each finding, so that color isn't needed to tell them apart.
_MARKS = {"better": "▲", "worse": "▼", "unclear": "", "too_few": ""}
_COLORS = {"better": "ok", "worse": "error", "unclear": "text", "too_few": "muted"}


class ScoreModel(TableModel):
    """Means with their intervals; those that differ from the baseline are marked.

    If the columns don't fit, the table is stacked: each metric of a test set has a heading, and each model has
    a row below it.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self.results: EvaluationResults | None = None
        self.summary: EvaluationSummary | None = None
        self.lines: list[tuple[str, str]] = []  # test set and metric
        self.columns: dict[str, str] = {}
        self.is_stacked = False
        self._titles: dict[str, str] = {}

    def set_stacked(self, is_stacked: bool) -> None:
        """Show a line for each model instead of a column."""
        if is_stacked != self.is_stacked:
            self.beginResetModel()
            self.is_stacked = is_stacked
            self.endResetModel()

    def list_headings(self) -> list[int]:
        """Return the rows that are headings of a stacked table."""
        return list(range(0, self.rowCount(), 1 + len(self.columns))) if self.is_stacked else []

    def show(self, results: EvaluationResults, shown: EvaluationSummary) -> None:
        """Show an evaluation."""
        self.beginResetModel()
        self.results, self.summary = results, shown
        self.lines = [(key, name) for key, names in shown.metrics.items() for name in names]
        self.columns = list_column_names(results.plan)
        self._titles = {report.key: localize(report.title) for report in results.facts.test_sets}
        self._titles |= {
            each.key: localize(each.title)
            for each in results.plan.test_sets
            if not self._titles.get(each.key)
        }
        self.endResetModel()

    def count_rows(self) -> int:
        """Return the number of metrics, or of headings and models."""
        return (1 + len(self.columns) if self.is_stacked else 1) * len(self.lines)

    def list_titles(self) -> list[str]:
        """Return the titles of the columns."""
        if self.is_stacked:
            return [tr("Model"), tr("Score")]
        return [tr("Test set"), tr("Metric"), tr("Rows"), *self.columns.values()]

    def get_alignment(self, column: int) -> Qt.AlignmentFlag:
        """Return the alignment of a column: numbers are on the right."""
        return LEFT if column < (1 if self.is_stacked else 2) else RIGHT

    def get_cell(self, row: int, column: int, role: int) -> Any:
        """Return what a cell shows."""
        if self.is_stacked:
            return self._get_stacked(row, column, role)
        test_set, metric = self.lines[row]
        if column < _FIXED:
            return self._get_fixed(test_set, metric, column, role)
        return self._get_score(test_set, metric, list(self.columns)[column - _FIXED], role)

    def _get_stacked(self, row: int, column: int, role: int) -> Any:
        """Return a cell of a stacked table: of a heading, a model, or its score."""
        line, offset = divmod(row, 1 + len(self.columns))
        test_set, metric = self.lines[line]
        if offset:
            key = list(self.columns)[offset - 1]
            if column:
                return self._get_score(test_set, metric, key, role)
            return self.columns[key] if role == Qt.ItemDataRole.DisplayRole else None
        if role == Qt.ItemDataRole.ForegroundRole:
            return color("muted")
        if role != Qt.ItemDataRole.DisplayRole or column:
            return None
        parts = [self._get_fixed(test_set, metric, number, role) or "" for number in range(2)]
        return "  ·  ".join([*parts, tr_n("{n} row", "{n} rows", self._count_rows(test_set, metric))])  # fmt: skip

    def _get_score(self, test_set: str, metric: str, key: str, role: int) -> Any:
        """Return the score of a model."""
        assert self.summary is not None
        verdict = self.summary.verdicts.get((test_set, metric, key))
        match role:
            case Qt.ItemDataRole.DisplayRole:
                mean = self.summary.means.get((test_set, metric, key))
                mark = _MARKS[verdict.finding] if verdict is not None else ""
                return f"{mark} {format_mean(metric, mean)}".strip()
            case Qt.ItemDataRole.ForegroundRole if verdict is not None:
                return color(_COLORS[verdict.finding])
            case Qt.ItemDataRole.ToolTipRole | Qt.ItemDataRole.AccessibleDescriptionRole:
                return plain_tip(localize(verdict.sentence)) if verdict is not None else None
            case Qt.ItemDataRole.FontRole if verdict is not None and _MARKS[verdict.finding]:
                bold = QFont()
                bold.setWeight(QFont.Weight.DemiBold)
                return bold
        return None

    def _get_fixed(self, test_set: str, metric: str, number: int, role: int) -> str | None:
        if role != Qt.ItemDataRole.DisplayRole or self.summary is None:
            return None
        if number == 0:
            return self._titles.get(test_set, test_set)
        if number == 1:
            return localize(summary.format_metric(metric))
        return formatting.format_number(self._count_rows(test_set, metric))

    def _count_rows(self, test_set: str, metric: str) -> int:
        assert self.summary is not None
        means = [self.summary.means.get((test_set, metric, key)) for key in self.columns]
        return max((mean.rows for mean in means if mean), default=0)


def format_mean(metric: str, mean: MeanScore | None) -> str:
    """Return a mean with its interval: `84 % (78–89)`, a dash if it isn't known."""
    if mean is None:
        return "–"
    low, high = mean.interval.low, mean.interval.high
    shown = [summary.format_score(metric, end).removesuffix(" %") for end in (low, high)]
    return f"{summary.format_score(metric, mean.mean)} ({shown[0]}–{shown[1]})"


class ScoreTable(QTableView):
    """Shows the scores; a tooltip says what a cell shows against the baseline."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self.scores = ScoreModel(self)
        self.setModel(self.scores)
        set_up_table(self)
        self._needed = 0  # the width of the table that isn't stacked
        self.setAccessibleName(tr("Scores"))
        self.horizontalHeader().setMinimumSectionSize(60)
        get_theme().changed.connect(self.viewport().update)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Give the metrics the remaining width, if there is any."""
        super().resizeEvent(event)
        self._fit_columns()

    def changeEvent(self, event: QEvent) -> None:
        """Measure again with another text size."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._measure()

    def _measure(self) -> None:
        """Find out how wide a column per model would be."""
        self.scores.set_stacked(False)
        header = self.horizontalHeader()
        columns = range(self.scores.columnCount())
        self._needed = sum(
            max(self.sizeHintForColumn(n), header.sectionSizeHint(n)) for n in columns
        )
        self._fit_columns()

    def _fit_columns(self) -> None:
        """Stack the table if it is too narrow for a column per model."""
        fits = self._needed <= self.viewport().width()
        self.scores.set_stacked(not fits)
        self.clearSpans()
        for row in self.scores.list_headings():
            self.setSpan(row, 0, 1, 2)
        header, mode = self.horizontalHeader(), QHeaderView.ResizeMode
        for number in range(self.scores.columnCount()):
            stretches = number == (1 if fits else 0)
            header.setSectionResizeMode(
                number, mode.Stretch if stretches else mode.ResizeToContents
            )

    def show_results(self, results: EvaluationResults, shown: EvaluationSummary) -> None:
        """Show an evaluation, keeping the selected row."""
        row = self.currentIndex().row()
        self.scores.show(results, shown)
        self._measure()
        if 0 <= row < self.scores.rowCount():
            self.selectRow(row)


_LONGEST = 28


def format_column(column: Column) -> str:
    """Return the name of a column: its title, or what it is; a quantization is its own name."""
    return localize(column.label)


def list_column_names(plan: EvaluationPlan) -> dict[str, str]:
    """Return the names of all columns by their keys, shortened in the middle."""
    names = {column.key: format_column(column) for column in plan.columns}
    return {key: _shorten(name) for key, name in names.items()}


def _shorten(name: str) -> str:
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST // 2]}…{name[-(_LONGEST // 2 - 1) :]}"


KINDS: dict[RowKind, str] = {
    "all": mark("All rows"),
    "fixed": mark("Fixed: better than"),
    "broken": mark("Broken: worse than"),
    "different": mark("Different answer from"),
    "wrong": mark("Wrong"),
    "failed": mark("No answer"),
}

#: Kinds that compare two columns.
_COMPARING: tuple[RowKind, ...] = ("fixed", "broken", "different")
_LONGEST_QUESTION = 300


class ResultRowModel(TableModel):
    """The filtered rows: the question, and a mark or a score for each model."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self.results: EvaluationResults | None = None
        self.items: list[EvaluationItem] = []
        self.columns: dict[str, str] = {}

    def show(self, results: EvaluationResults | None, items: list[EvaluationItem]) -> None:
        """Show items of an evaluation."""
        self.beginResetModel()
        self.results, self.items = results, items
        self.columns = list_column_names(results.plan) if results is not None else {}
        self.endResetModel()

    def count_rows(self) -> int:
        """Return the number of items."""
        return len(self.items)

    def list_titles(self) -> list[str]:
        """Return the titles of the columns."""
        return [tr("Question"), *self.columns.values()]

    def get_alignment(self, column: int) -> Qt.AlignmentFlag:
        """Return the alignment of a column: marks are in the middle."""
        return Qt.AlignmentFlag.AlignCenter if column else LEFT

    def get_cell(self, row: int, column: int, role: int) -> Any:
        """Return what a cell shows."""
        item = self.items[row]
        if column == 0:
            if role == Qt.ItemDataRole.DisplayRole:
                return " ".join(item.question[:_LONGEST_QUESTION].split())
            if role == Qt.ItemDataRole.ToolTipRole:
                return plain_tip(item.question[:_LONGEST_QUESTION])
            return None
        if self.results is None:
            return None
        key = list(self.columns)[column - 1]
        answer = self.results.answers.get((item.id, key))
        score = get_score(self.results, item, key)
        failed = answer is not None and answer.problem is not None
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return "!" if failed else format_mark(score)
            case Qt.ItemDataRole.ForegroundRole if score is not None and score <= 1:
                return color("error" if failed or score < 0.5 else "ok")
            case Qt.ItemDataRole.AccessibleTextRole if score in (0.0, 1.0):
                return tr("right") if score else tr("wrong")
        return None


def format_mark(score: float | None) -> str:
    """Return ✓ or ✗ for 1 or 0, other scores with two decimals, a dash for none."""
    if score is None:
        return "–"
    if score in (0.0, 1.0):
        return "✓" if score else "✗"
    return formatting.format_float(score, ".2f" if score < 100 else ".0f")


class ResultRowView(QWidget):
    """Shows the rows of an evaluation that a filter lets through."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self._results: EvaluationResults | None = None
        self._baseline = ""
        self.kind, self.column, self.other = QComboBox(), QComboBox(), QComboBox()
        self.test_set, self.search, self.count = QComboBox(), LineEdit(), label(role="muted")
        self.rows, self.answers = ResultRowModel(self), AnswerView()
        self.table = QTableView()
        self._timer = QTimer(self, singleShot=True, interval=150)
        self._build()

    def show_results(self, results: EvaluationResults, shown: EvaluationSummary) -> None:
        """Show an evaluation, keeping the filter and the selected row where possible."""
        is_new = self._results is None or self._results.folder != results.folder
        self._results, self._baseline = results, shown.baseline
        names = list_column_names(results.plan)
        others = [key for key in names if key != shown.baseline] or list(names)
        _fill(self.column, names, others[0] if is_new else self.column.currentData())
        _fill(self.other, names, shown.baseline if is_new else self.other.currentData())
        titles = {each.key: localize(each.title) for each in results.plan.test_sets}
        _fill(self.test_set, {"": tr("All test sets")} | titles, self.test_set.currentData() or "")
        self.apply()

    def choose(self, kind: RowKind, column: str = "", other: str = "") -> None:
        """Set the filter."""
        self.kind.setCurrentIndex(self.kind.findData(kind))
        for box, key in ((self.column, column), (self.other, other)):
            if key:
                box.setCurrentIndex(box.findData(key))
        self.apply()

    def apply(self) -> None:
        """Show the rows that the filter lets through."""
        kind: RowKind = self.kind.currentData()
        self.column.setVisible(kind != "all")
        self.other.setVisible(kind in _COMPARING)
        if self._results is None:
            return
        selected = self._get_selected()
        rule = ResultFilter(
            kind,
            self.column.currentData() or "",
            self.other.currentData() or "",
            self.test_set.currentData() or "",
            self.search.text(),
        )
        items = filter_rows(self._results, rule)
        self.rows.show(self._results, items)
        self.count.setText(tr_n("{n} row", "{n} rows", len(items)))
        keep = [row for row, item in enumerate(items) if selected and item.id == selected.id]
        if items:
            self.table.selectRow(keep[0] if keep else 0)
        self._show_selected()

    def stop_background_work(self) -> None:
        """Stop the timer."""
        self._timer.stop()

    def _get_selected(self) -> EvaluationItem | None:
        row = self.table.currentIndex().row()
        return self.rows.items[row] if 0 <= row < len(self.rows.items) else None

    def _show_selected(self, *_: object) -> None:
        compared = self.other.currentData() or self._baseline
        self.answers.show_item(self._results, self._get_selected(), compared)

    def _build(self) -> None:
        for kind, title in KINDS.items():
            self.kind.addItem(tr(title), kind)
        for box, name in (
            (self.kind, tr("Filter rows")),
            (self.column, tr("Model")),
            (self.other, tr("Compare with")),
            (self.test_set, tr("Test set")),
        ):
            box.setAccessibleName(name)
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
            box.activated.connect(lambda _: self.apply())
        self.search.setPlaceholderText(tr("Search rows"))
        self.search.setAccessibleName(tr("Search rows"))
        self.search.textEdited.connect(lambda _: self._timer.start())
        self._timer.timeout.connect(self.apply)
        self.table.setModel(self.rows)
        set_up_table(self.table)
        self.table.setAccessibleName(tr("Rows"))
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.rows.modelReset.connect(self._stretch)
        self.table.selectionModel().currentRowChanged.connect(self._show_selected)
        get_theme().changed.connect(self.table.viewport().update)
        tools = flow_row(self.search, self.test_set, self.column, self.kind, self.other, self.count)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, Spacing.M, 0, 0)
        layout.setSpacing(Spacing.M)
        layout.addWidget(tools)
        layout.addWidget(ResponsiveSplitter(self.table, self.answers, (3, 2)), 1)
        self.apply()

    def _stretch(self) -> None:
        if self.rows.columnCount():
            self.table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)


def _fill(box: QComboBox, entries: dict[str, str], chosen: str) -> None:
    box.clear()
    for key, title in entries.items():
        box.addItem(title, key)
    box.setCurrentIndex(max(0, box.findData(chosen)))


_WORDS = re.compile(r"\s+|[^\W_]+|[\W_]")
#: Characters of an answer that are shown, and words up to which differences are computed.
_MOST_CHARACTERS, _MOST_WORDS = 20_000, 2_000


def find_changes(before: str, after: str) -> list[tuple[str, bool]]:
    """Return the parts of `after`, each with whether it differs from `before`, word by word."""
    first, second = _WORDS.findall(before), _WORDS.findall(after)
    if len(first) > _MOST_WORDS or len(second) > _MOST_WORDS:
        return [(after, False)]
    matcher = difflib.SequenceMatcher(None, first, second, autojunk=False)
    parts = []
    for kind, _, _, start, end in matcher.get_opcodes():
        if start < end:
            parts.append(("".join(second[start:end]), kind != "equal"))
    return parts


class AnswerView(QWidget):
    """Shows an item; words that differ from the answer of the compared column are underlined."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self._results: EvaluationResults | None = None
        self._item: EvaluationItem | None = None
        self._compared = ""
        self.text = RichText(self._paint, tr("Answers"))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text)

    def show_item(
        self, results: EvaluationResults | None, item: EvaluationItem | None, compared: str
    ) -> None:
        """Show an item, with differences from the column `compared`; None shows nothing."""
        self._results, self._item, self._compared = results, item, compared
        self._paint()

    def _paint(self) -> None:
        cursor = self.text.start_document()
        results, item = self._results, self._item
        if results is None or item is None:
            return
        heading, body = (
            make_text_format("muted", size=Size.CAPTION, bold=True),
            make_text_format("text"),
        )
        space = make_block_format(above=Spacing.M, below=Spacing.XS)
        add_paragraph(
            cursor, make_block_format(below=Spacing.XS), self._format_source(item), heading
        )
        for message in item.messages:
            add_paragraph(cursor, make_block_format(), _cut(message.content), body)
        if item.raw_prompt is not None:
            add_paragraph(cursor, make_block_format(), _cut(item.raw_prompt), body)
        if item.reference is not None:
            add_paragraph(cursor, space, tr("Reference"), heading)
            add_paragraph(cursor, make_block_format(), _cut(item.reference), body)
        base = results.answers.get((item.id, self._compared))
        for key, name in list_column_names(results.plan).items():
            row = results.answers.get((item.id, key))
            add_paragraph(cursor, space, _format_heading(name, row), heading)
            if row is not None:
                _add_answer(cursor, row, base if key != self._compared else None)
        names = list_column_names(results.plan)
        for judgment in results.judgments:
            if judgment.item == item.id:
                add_paragraph(cursor, space, _format_judgment(judgment, names), heading)
                for number, reply in enumerate(judgment.replies):
                    title = tr("In this order:") if number == 0 else tr("In the other order:")
                    add_paragraph(cursor, make_block_format(), f"{title} {_cut(reply)}", body)
        self.text.moveCursor(self.text.textCursor().MoveOperation.Start)

    def _format_source(self, item: EvaluationItem) -> str:
        source = item.source or item.test_set
        place = tr("row {row}").format(row=formatting.format_number(item.row)) if item.row else ""
        return "  ·  ".join(part for part in (source, place, item.category) if part)


def _add_answer(cursor: QTextCursor, row: ItemResult, base: ItemResult | None) -> None:
    if row.problem is not None:
        problem = localize_problem(row.problem)
        add_paragraph(cursor, make_block_format(), problem, make_text_format("error"))
        return
    add_paragraph(cursor, make_block_format(), "", make_text_format("text"))
    answer = _cut(row.answer)
    parts = [(answer, False)] if base is None else find_changes(_cut(base.answer), answer)
    for part, is_changed in parts or [("–", False)]:
        style = _make_change_format() if is_changed else make_text_format("text")
        cursor.insertText(part or "–", style)


def _make_change_format() -> QTextCharFormat:
    style = make_text_format("accent")
    style.setFontUnderline(True)
    return style


def _format_heading(name: str, row: ItemResult | None) -> str:
    if row is None:
        return f"{name}  ·  {tr('not answered yet')}"
    parts = [name]
    for metric, score in row.scores.items():
        title = localize(summary.format_metric(metric))
        parts.append(f"{title} {summary.format_score(metric, score)}")
    if row.tokens:
        parts.append(tr_n("{n} token", "{n} tokens", row.tokens))
    if row.ending == "length":
        parts.append(tr("cut off"))
    return "  ·  ".join(parts)


def _format_judgment(judgment: Judgment, names: dict[str, str]) -> str:
    """Return who was compared, in the order of the first reply, and the result."""
    first, second = (names.get(key, key) for key in (judgment.first, judgment.second))
    pair = tr("Judge: {first} and {second}").format(first=first, second=second)
    if judgment.problem is not None:
        return f"{pair}  ·  {localize_problem(judgment.problem)}"
    if judgment.winner is None:
        return f"{pair}  ·  {tr('no verdict')}"
    winner = names.get(judgment.winner, judgment.winner)
    result = tr("{name} is better").format(name=winner) if winner else tr("tie")
    return f"{pair}  ·  {result}"


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
