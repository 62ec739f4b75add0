"""How well a classifier predicts each label, and which labels it mistakes for others."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt
from PySide6.QtWidgets import (
    QFrame,
    QHeaderView,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core import formatting
from lora_studio.core.tasks.classification import SHOWN_LABELS, ClassificationReport
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.text_size import Size
from lora_studio.gui.theme import Spacing, body_font
from lora_studio.gui.widgets import tables
from lora_studio.gui.widgets.basics import label

#: The metrics have the same names in all languages; the panel is narrow, so the whole comes first.
_METRICS = ("F1", "Precision", "Recall")
#: Widest label, in pixels at 100 %; longer ones are elided.
_LABEL_WIDTH = 110


class LabelReportView(QScrollArea):
    """Shows precision, recall, and F1 of each label, and the confusion matrix of few labels."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start without a report."""
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName(tr("Labels"))
        self.summary, self.rest = label("", wrap=True), label("", "caption", wrap=True)
        self.axes = label(
            tr("Rows by their actual label (rows) and the number of the predicted one (columns)"),
            "caption",
            wrap=True,
        )
        self.table = tables.make_table(tr("Labels"))
        self.matrix = tables.make_table(tr("Confusion matrix"))
        for table in (self.table, self.matrix):
            table.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.matrix.verticalHeader().show()
        self.matrix.verticalHeader().setTextElideMode(Qt.TextElideMode.ElideRight)
        inner = QWidget()
        inner.setObjectName("scrolled")
        layout = QVBoxLayout(inner)
        layout.setContentsMargins(0, Spacing.M, Spacing.S, 0)
        layout.setSpacing(Spacing.S)
        for part in (self.summary, self.table, self.rest, self.axes, self.matrix):
            layout.addWidget(part)
        layout.addStretch(1)
        self.setWidget(inner)

    def show_report(self, report: ClassificationReport) -> None:
        """Show a report instead of the last one."""
        self.summary.setText(
            tr("{rows} validation rows: accuracy {accuracy}, macro F1 {f1}").format(
                rows=formatting.format_number(report.rows),
                accuracy=formatting.format_percent(report.accuracy),
                f1=formatting.format_percent(report.macro_f1),
            )
        )
        self._fill_table(report)
        left = len(report.labels) - SHOWN_LABELS
        self.rest.setText(
            tr_n("{n} more label isn't shown.", "{n} more labels aren't shown.", max(1, left))
        )
        self.rest.setVisible(left > 0)
        for part in (self.axes, self.matrix):
            part.setVisible(left <= 0)
        if left <= 0:
            self._fill_matrix(report)
        self._fit()

    def changeEvent(self, event: QEvent) -> None:
        """Adapt the tables to the text size."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit()

    def _fill_table(self, report: ClassificationReport) -> None:
        shown = report.per_label[:SHOWN_LABELS]
        titles = [tr("Label"), *_METRICS, tr("Rows")]
        self.table.setColumnCount(len(titles))
        self.table.setHorizontalHeaderLabels(titles)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Interactive)
        tables.fill_table(
            self.table,
            [
                [
                    tables.make_text(each.label),
                    *map(
                        tables.make_number,
                        map(formatting.format_percent, (each.f1, each.precision, each.recall)),
                    ),
                    tables.make_number(formatting.format_number(each.support)),
                ]
                for each in shown
            ],
        )

    def _fill_matrix(self, report: ClassificationReport) -> None:
        numbers = [str(number) for number in range(1, len(report.labels) + 1)]
        self.matrix.setRowCount(len(numbers))
        self.matrix.setColumnCount(len(numbers))
        self.matrix.setHorizontalHeaderLabels(numbers)
        self.matrix.setVerticalHeaderLabels(
            [
                f"{number}  {' '.join(name.split())}"
                for number, name in zip(numbers, report.labels, strict=True)
            ]
        )
        header = self.matrix.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        for row, counts in enumerate(report.build_matrix()):
            for column, count in enumerate(counts):
                item = tables.make_number(formatting.format_number(count) if count else "·")
                if row == column:
                    item.setFont(body_font(bold=True))
                self.matrix.setItem(row, column, item)

    def _fit(self) -> None:
        """Make the tables as high as their rows, which scroll with the view, and short labels visible."""
        wanted = self.table.sizeHintForColumn(0) + Spacing.M
        self.table.setColumnWidth(0, min(wanted, Size.scaled(_LABEL_WIDTH)))
        self.matrix.verticalHeader().setMaximumWidth(Size.scaled(_LABEL_WIDTH))
        for table in (self.table, self.matrix):
            bar = table.horizontalScrollBar().sizeHint().height()
            tables.fit_height(table, table.rowCount(), extra=bar)
