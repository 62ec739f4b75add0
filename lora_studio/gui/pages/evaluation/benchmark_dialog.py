"""Dialog that searches the public benchmarks of lm-eval and adds one to an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHeaderView, QSpinBox, QTableWidget, QTableWidgetItem, QWidget

from lora_studio.core.evaluation.test_sets import BenchmarkTask
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.evaluation import BenchmarkInfo
from lora_studio.gui.controls.controls import LineEdit
from lora_studio.gui.jobs.debounced_query import DebouncedQuery
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize_problem
from lora_studio.gui.theme import Size
from lora_studio.gui.widgets.basics import button, label, row, with_title
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.widgets.growing_text import GrowingText
from lora_studio.gui.widgets.plain_table import set_up_table
from lora_studio.gui.widgets.tooltips import plain_tip

_MOST_SHOTS = 64
_WIDTH, _TABLE_HEIGHT = 640, 260
_KINDS = {
    "multiple_choice": mark("multiple choice"),
    "generate_until": mark("short answers"),
    "loglikelihood_rolling": mark("perplexity"),
    "": "",
}


class BenchmarkDialog(Dialog):
    """Searches benchmarks by name and dataset.

    Signals:
        chosen(test_set): a benchmark was chosen.
        ask(command): a question for the inspector; the answer arrives in `on_event`.
        outdated(command): drop the answer to a question.
    """

    chosen = Signal(object)
    ask = Signal(object)
    outdated = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """List all benchmarks first."""
        text = tr("Benchmarks are those of EleutherAI's lm-eval. When you add one, its items are downloaded from the Hugging Face Hub, unless they are on this computer.")  # fmt: skip
        super().__init__(tr("Add a benchmark"), text, parent)
        self._shown: list[BenchmarkInfo] = []
        self.search, self.shots = LineEdit(), QSpinBox()
        self.table = QTableWidget(0, 3)
        self.count = label(role="caption", wrap=True)
        self.problem = GrowingText(tr("Problem"))
        self.query = DebouncedQuery(self._make_query, self)
        self.query.ask.connect(self.ask)
        self.query.outdated.connect(self.outdated)
        self._build()
        self.query.schedule()

    def on_event(self, event: object) -> None:
        """Show what was found, or why nothing can be searched."""
        asked = self.query.asked
        if asked is None or getattr(event, "id", None) != asked.id:
            return
        match event:
            case events.BenchmarksListed():
                self._show_benchmarks(event.benchmarks, event.total)
            case events.Failed():
                self._show_benchmarks((), 0)
                self.count.hide()
                self.problem.show_text(localize_problem(event.problem), "error")
                self.problem.show()
        self.query.on_event(event)

    def done(self, result: int) -> None:
        """Drop a pending question."""
        self.query.forget()
        super().done(result)

    def _make_query(self) -> commands.ListBenchmarks:
        return commands.ListBenchmarks(search=self.search.text().strip())

    def _show_benchmarks(self, benchmarks: Sequence[BenchmarkInfo], total: int) -> None:
        self._shown = list(benchmarks)
        self.problem.hide()
        self.count.show()
        if len(self._shown) < total:
            self.count.setText(
                tr("The first {shown} of {total} benchmarks. Enter a word to find others.").format(
                    shown=len(self._shown), total=total
                )
            )
        else:
            self.count.setText("" if total else tr("No benchmark has all these words."))
        self.table.setRowCount(len(self._shown))
        for line, info in enumerate(self._shown):
            kind = tr(_KINDS[info.output_type]) if info.output_type in _KINDS else tr("not supported")  # fmt: skip
            for number, cell in enumerate((info.name, info.dataset, kind)):
                item = QTableWidgetItem(cell)
                item.setToolTip(plain_tip(cell))
                if not info.is_supported:
                    item.setFlags(Qt.ItemFlag.NoItemFlags)
                self.table.setItem(line, number, item)
        if self._shown:
            self.table.selectRow(0)
        self._show_state()

    def _get_chosen(self) -> BenchmarkInfo | None:
        row = self.table.currentRow()
        chosen = self._shown[row] if 0 <= row < len(self._shown) else None
        return chosen if chosen is not None and chosen.is_supported else None

    def _show_state(self) -> None:
        self.add.setEnabled(self._get_chosen() is not None)

    def _on_typed(self) -> None:
        self.query.schedule()

    def _on_busy(self, is_busy: bool) -> None:
        if is_busy and not self._shown:
            self.problem.hide()
            self.count.show()
            self.count.setText(tr("Reading the list of benchmarks. The first time, this takes up to a minute."))  # fmt: skip

    def _on_add(self) -> None:
        if (info := self._get_chosen()) is not None:
            self.chosen.emit(BenchmarkTask(task=info.name, shots=self.shots.value()))
            self.accept()

    def _build(self) -> None:
        self.search.setPlaceholderText(tr("Search by name or dataset, such as arc"))
        self.search.setAccessibleName(tr("Search benchmarks"))
        self.search.textEdited.connect(lambda _: self._on_typed())
        self.query.busy_changed.connect(self._on_busy)
        self.table.setHorizontalHeaderLabels([tr("Benchmark"), tr("Dataset"), tr("Kind")])
        for number in range(3):
            if (head := self.table.horizontalHeaderItem(number)) is not None:
                head.setTextAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.setAccessibleName(tr("Benchmarks"))
        set_up_table(self.table)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.ResizeToContents)
        self.table.setMinimumSize(Size.scaled(_WIDTH), Size.scaled(_TABLE_HEIGHT))
        self.table.itemSelectionChanged.connect(self._show_state)
        self.table.doubleClicked.connect(lambda _: self._on_add())
        self.problem.hide()
        self.shots.setRange(0, _MOST_SHOTS)
        title = tr("Examples before each item (shots)")
        self.shots.setAccessibleName(title)
        for part in (self.search, self.problem, self.table, self.count):
            self.body.addWidget(part)
        self.body.addLayout(row(with_title(title, self.shots), None))
        self.add_button(button(tr("Cancel"), self.reject))
        self.add = self.add_button(button(tr("Add"), self._on_add, kind="primary"), default=True)
        self._show_state()
