"""The labels of texts with labels, with their rows."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from lora_studio.core import formatting
from lora_studio.core.protocol import events
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.bar_table import BarRow, BarTable
from lora_studio.gui.widgets.basics import column, label


class LabelsView(QWidget):
    """Shows how many rows each label has, the most frequent first."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start without labels."""
        super().__init__(parent)
        self.summary = label("", "muted", wrap=True)
        self.table = BarTable(tr("Labels"))
        self.table.set_titles(
            tr("Label"), tr("Share"), ["", tr("Rows"), tr("Training"), tr("Validation")]
        )
        self._linted: events.DatasetLinted | None = None
        layout = column(self.summary, self.table, spacing=Spacing.S)
        layout.setContentsMargins(0, Spacing.M, 0, 0)
        self.setLayout(layout)

    def show_labels(self, linted: events.DatasetLinted | None) -> bool:
        """Show the labels that a check has counted; return whether there are any."""
        if linted is None or not linted.label_count:
            return False
        if linted is self._linted:
            return True
        self._linted = linted
        self.table.setVisible(bool(linted.labels))
        total = sum(each.rows for each in linted.labels)
        words = tr_n("{n} label", "{n} labels", linted.label_count)
        if linted.labels:
            rows = tr_n("{n} row", "{n} rows", total)
            words = tr("{labels}, {rows}. Repairs are applied.").format(labels=words, rows=rows)
        self.summary.setText(words)
        self.table.show_rows([_make_row(each, total) for each in linted.labels])
        return True


def _make_row(each: events.LabelCount, total: int) -> BarRow:
    share = each.rows / max(1, total)
    counts = (each.rows, each.training, each.validation)
    return BarRow(
        each.label,
        share,
        (formatting.format_percent(share), *map(formatting.format_number, counts)),
    )
