"""The findings in a dataset, and what texts with labels and pairs for search consist of."""

from __future__ import annotations

from typing import Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lora_studio.cli.console import Display
from lora_studio.core import formatting
from lora_studio.core.messages import READABLE, counted, text
from lora_studio.core.protocol import events

_SHOWN_ROWS = 8
_SHOWN_LABELS = 20
_COLORS = {"error": "red", "warning": "yellow", "hint": "cyan"}


def dump(report: events.DatasetLinted) -> dict[str, Any]:
    """Return a report as plain data; labels and pairs only of datasets that have some."""
    fields = {"rows", "findings"}
    if report.label_count:
        fields |= {"labels", "label_count"}
    if report.pairs:
        fields.add("pairs")
    return report.model_dump(mode="json", context=READABLE, include=fields)


def show_contents(report: events.DatasetLinted, display: Display) -> None:
    """Print the rows of each label, the most frequent first, or what pairs for search consist of."""
    if report.labels:
        display.console.print(_make_label_table(report))
    if (more := report.label_count - min(len(report.labels), _SHOWN_LABELS)) > 0:
        display.print_line(
            counted(more, "{n} more label isn't shown.", "{n} more labels aren't shown.")
            if report.labels
            else text("{count} different labels, too many for a classifier", count=more)
        )
    if report.pairs:
        display.print_line(
            text(
                "{pairs} for search, {negatives} of them with a hard negative: {queries} different queries, "
                "{passages} different passages",
                pairs=counted(report.pairs.pairs, "{n} pair", "{n} pairs"),
                negatives=report.pairs.with_negative,
                queries=report.pairs.queries,
                passages=report.pairs.passages,
            )
        )


def _make_label_table(report: events.DatasetLinted) -> Table:
    table = Table(box=None)
    table.add_column("Label", overflow="fold")
    for title in ("Rows", "Share", "Validation"):
        table.add_column(title, justify="right", no_wrap=True)
    total = max(1, sum(each.rows for each in report.labels))
    for each in report.labels[:_SHOWN_LABELS]:
        table.add_row(
            Text(each.label),
            formatting.format_number(each.rows),
            formatting.format_percent(each.rows / total),
            formatting.format_number(each.validation),
        )
    return table


def show(report: events.DatasetLinted, display: Display) -> None:
    """Print the findings, and how many there are."""
    say = display.console.print
    for each in report.findings:
        state = "fixed" if each.fixed else each.severity
        color = "green" if each.fixed else _COLORS[each.severity]
        say(f"[{color}]{state:8}[/] [bold]{each.title}[/]  [dim]{each.code}[/]")
        details = [_format_rows(each)]
        if each.fix and not each.fixed:
            details.append(f"Repair: {each.fix}")
        if each.change:
            details.append(f"Try: {each.change[0]} = {each.change[1]}")
        body = Text(str(each.what)).append("".join(f"\n{line}" for line in details), style="dim")
        say(Padding(body, (0, 0, 0, 9)))
    rows = counted(report.rows, "{n} row", "{n} rows")
    problems = sum(not each.fixed for each in report.findings)
    say(
        str(
            counted(
                problems,
                "Checked {rows}: {n} problem found.",
                "Checked {rows}: {n} problems found.",
                rows=rows,
            )
            if problems
            else text("Checked {rows}: no problems found.", rows=rows)
        )
    )


def _format_rows(finding: events.Finding) -> str:
    several = any(source for source, _ in finding.rows)
    named = [f"{source + 1}:{row}" if several else f"{row}" for source, row in finding.rows]
    shown = ", ".join(named[:_SHOWN_ROWS])
    more = finding.count - min(len(named), _SHOWN_ROWS)
    heading = "Rows (source:row)" if several else "Rows" if finding.count > 1 else "Row"
    return f"{heading} {shown}{f' and {formatting.format_number(more)} more' if more else ''}"
