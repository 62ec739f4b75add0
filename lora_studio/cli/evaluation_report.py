"""Show evaluations in a terminal: their events, and the results as tables."""

from __future__ import annotations

from rich.table import Table

from lora_studio.cli.console import Display
from lora_studio.cli.event_text import describe
from lora_studio.core import formatting
from lora_studio.core.evaluation import own_models, preferences, statistics, summary
from lora_studio.core.evaluation.items import OWN_MEASURE
from lora_studio.core.evaluation.measures import measure_by_name
from lora_studio.core.evaluation.own_models import Checksums
from lora_studio.core.evaluation.results import ColumnReport, EvaluationResults
from lora_studio.core.evaluation.test_sets import TestSetReport
from lora_studio.core.messages import Text, counted, text
from lora_studio.core.protocol import events


@describe.register
def _describe_started(event: events.EvaluationStarted) -> Text:
    return text(
        "Evaluation {name}: {items} items × {columns}{again}.",
        name=event.evaluation,
        items=event.items,
        columns=counted(len(event.columns), "{n} model", "{n} models"),
        again=text(", {answered} answers are there already", answered=event.answered)
        if event.answered
        else "",
    )


@describe.register
def _describe_refused(event: events.ColumnRefused) -> Text:
    return text(
        "{column} can't be evaluated: {reason} {remedy}",
        column=event.column,
        reason=event.problem.what,
        remedy=event.problem.remedy,
    )


@describe.register
def _describe_column(event: events.ColumnEvaluated) -> Text:
    column = event.column
    return text(
        "{column}: {answered} answered, {cached} of them known from before, {failed} failed, {time:duration}.",
        column=column.key,
        answered=column.answered,
        cached=column.cached,
        failed=column.failed,
        time=column.seconds,
    )


def show(results: EvaluationResults, checksums: Checksums, display: Display) -> None:
    """Print what the test sets contained, and a table of each with the mean of every measure.

    `checksums` are those that the run's manifest records now.
    """
    if display.as_json:
        return
    for report in results.facts.test_sets:
        display.print_title(str(report.title))
        for line in describe_test_set(report):
            display.print_line(line)
        if report.items:
            display.console.print(_build_table(results, report))
    _print_verdicts(results, display)
    for column in results.facts.columns:
        for line in _describe_column_report(column):
            display.print_line(line)
    for line in describe_judgments(results):
        display.print_line(line)
    if outdated := own_models.list_outdated(results, checksums):
        display.print_line(own_models.describe_outdated(results, outdated))
    if not results.is_complete:
        display.print_line(text("These results are partial. `--resume` continues the evaluation."))


def describe_test_set(report: TestSetReport) -> list[Text]:
    """Return sentences on what a test set contained and what was left out of it."""
    lines = [counted(report.items, "{n} item.", "{n} items.")]
    if report.problem is not None:
        lines = [report.problem.what, report.problem.remedy]
    if report.trained:
        lines.append(report.left_out)
    if report.repeated:
        lines.append(counted(report.repeated, "{n} repeated row is left out.", "{n} repeated rows are left out."))  # fmt: skip
    for reason, count in report.reasons:
        lines.append(
            counted(count, "{n} row is left out: {reason}.", "{n} rows are left out: {reason}.", reason=reason)
        )  # fmt: skip
    if report.unchecked:
        lines.append(report.unchecked)
    return lines


def _build_table(results: EvaluationResults, report: TestSetReport) -> Table:
    """Return a table of columns × measures, each with its 95 % interval."""
    table = Table(box=None, padding=(0, 1, 0, 2))
    table.add_column("", no_wrap=True)
    measures = results.facts.measures.get(report.key, ())
    for measure in measures:
        table.add_column(_get_title(measure), justify="right")
    for column in results.plan.columns:
        cells = [_format_mean(results, report.key, column.key, measure) for measure in measures]
        table.add_row(column.name if column.title else column.key, *cells)
    return table


def _print_verdicts(results: EvaluationResults, display: Display) -> None:
    """Print in words what each model shows against the base model, and whether it forgot anything."""
    shown = summary.summarize(results)
    for column in results.plan.columns:
        sentences = []
        if column.key != shown.baseline and (verdict := shown.get_main_verdict(column.key)):
            sentences.append(verdict.sentence)
        if report := shown.forgetting.get(column.key):
            sentences.append(report.sentence)
        for sentence in sentences:
            display.print_line(text("{column}: {verdict}", column=column.key, verdict=sentence))


def describe_judgments(results: EvaluationResults) -> list[Text]:
    """Return how often the judge preferred each model to the one that it was compared with."""
    return [
        text(
            "Judge, {column} against {baseline}: {result}; {unknown} without a verdict.",
            column=each.column,
            baseline=each.baseline,
            result=each.sentence,
            unknown=each.unknown,
        )
        for each in preferences.count_judgments(results.judgments)
    ]


def _get_title(measure: str) -> str:
    return "Correct" if measure == OWN_MEASURE else str(measure_by_name(measure).title)


def _format_mean(results: EvaluationResults, test_set: str, column: str, measure: str) -> str:
    """Return the mean of a measure, and its interval on a second line; a dash without scores."""
    scores = list(results.get_scores(test_set, column, measure).values())
    if not scores:
        return "–"
    mean = sum(scores) / len(scores)
    is_share = measure == OWN_MEASURE or not measure_by_name(measure).lower_is_better
    shown = formatting.format_percent(mean) if is_share else f"{mean:.2f}"
    interval = statistics.compute_interval(scores) if len(scores) > 1 else None
    if interval is None:
        return shown
    factor, digits = (100, 1) if is_share else (1, 2)
    low, high = (f"{end * factor:.{digits}f}" for end in (interval.low, interval.high))
    return f"{shown}\n({low}–{high})"


def _describe_column_report(column: ColumnReport) -> list[Text]:
    """Return what is worth knowing of a column besides its scores."""
    lines = []
    if column.problem is not None:
        lines.append(text("{column}: {reason}", column=column.key, reason=column.problem.what))
    if column.failed:
        lines.append(
            counted(column.failed, "{column}: {n} item failed and counts as wrong.", "{column}: {n} items failed and count as wrong.", column=column.key)
        )  # fmt: skip
    if column.unmeasured:
        lines.append(
            text(
                "{column}: {measures} can't be measured, because the server doesn't report log-likelihoods.",
                column=column.key,
                measures=", ".join(column.unmeasured),
            )
        )
    return lines
