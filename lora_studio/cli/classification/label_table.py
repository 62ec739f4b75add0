"""How well a classifier predicts each label, and which labels it mistakes for others, as tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from lora_studio.cli.console import Display
from lora_studio.core import formatting
from lora_studio.core.tasks.classification import SHOWN_LABELS, ClassificationReport

#: The longest label above a column of the confusion matrix, in characters.
_WIDTH = 12


def print_report(report: ClassificationReport, display: Display) -> None:
    """Print precision, recall, F1, and rows of each label, and the confusion matrix of few labels."""
    display.console.print(_make_label_table(report))
    if (left := len(report.labels) - SHOWN_LABELS) > 0:
        display.print_line(f"{formatting.format_plural(left, 'more label')} aren't shown.")
    elif matrix := _make_confusion_table(report, display.console.width):
        display.console.print()
        display.console.print(matrix)


def _make_label_table(report: ClassificationReport) -> Table:
    table = Table(box=None)
    table.add_column("Label", overflow="fold")
    for title in ("Precision", "Recall", "F1", "Rows"):
        table.add_column(title, justify="right", no_wrap=True)
    for each in report.per_label[:SHOWN_LABELS]:
        shares = map(formatting.format_percent, (each.precision, each.recall, each.f1))
        table.add_row(Text(each.label), *shares, str(each.support))
    return table


def _make_confusion_table(report: ClassificationReport, width: int) -> Table | None:
    """Return the rows of each label by the label that is predicted, None if the terminal is too narrow."""
    matrix = report.build_matrix()
    titles = [_shorten(label) for label in report.labels]
    first = "Label \\ predicted"
    needed = sum(len(title) + 2 for title in titles) + max(len(first), *map(len, titles))
    if needed > width:
        return None
    table = Table(box=None)
    table.add_column(Text(first), no_wrap=True)
    for title in titles:
        table.add_column(Text(title), justify="right", no_wrap=True)
    for number, (title, counts) in enumerate(zip(titles, matrix, strict=True)):
        table.add_row(Text(title), *_format_counts(counts, number))
    return table


def _format_counts(counts: Sequence[int], right: int) -> list[Text]:
    """Return the cells of a row; right predictions are bold, and zeros are dots."""
    return [
        Text(str(count) if count else "·", "bold" if number == right else "")
        for number, count in enumerate(counts)
    ]


def _shorten(label: str) -> str:
    return label if len(label) <= _WIDTH else f"{label[: _WIDTH - 1]}…"
