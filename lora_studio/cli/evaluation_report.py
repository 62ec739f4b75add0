"""Show evaluations in a terminal: their events, and the results as tables."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from lora_studio.cli.console import Display
from lora_studio.cli.event_text import describe
from lora_studio.core.evaluation import own_models, preferences, summary
from lora_studio.core.evaluation.own_models import Checksums
from lora_studio.core.evaluation.preferences import Preference, PreferenceVote
from lora_studio.core.evaluation.results import ColumnReport, EvaluationResults
from lora_studio.core.evaluation.summary import EvaluationSummary, MeanScore
from lora_studio.core.evaluation.test_sets import TestSetReport
from lora_studio.core.messages import Text, counted, listed, text
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


def show(
    results: EvaluationResults,
    votes: Iterable[PreferenceVote],
    checksums: Checksums,
    display: Display,
) -> None:
    """Print what the test sets contained, and a table of each with the mean of every measure.

    `votes` are people's blind votes. `checksums` are those that the run's manifest records now.
    """
    if display.as_json:
        return
    shown = summary.summarize(results)
    for report in results.facts.test_sets:
        display.print_title(str(report.title))
        for line in describe_test_set(report):
            display.print_line(line)
        if report.items:
            display.console.print(_build_table(results, report, shown))
    _print_verdicts(results, shown, display)
    for line in _describe_columns(results):
        display.print_line(line)
    for line in describe_preferences(
        results, preferences.list_preferences(results, votes, shown.baseline)
    ):
        display.print_line(line)
    if results.facts.judge_problem is not None:
        display.print_line(results.facts.judge_problem.what)
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
    if report.not_drawn:
        lines.append(
            counted(report.not_drawn, "{n} more item is not among those drawn.", "{n} more items are not among those drawn.")
        )  # fmt: skip
    if report.unchecked:
        lines.append(report.unchecked)
    return lines


def _build_table(
    results: EvaluationResults, report: TestSetReport, shown: EvaluationSummary
) -> Table:
    """Return a table of columns × measures, each with its 95 % interval."""
    table = Table(box=None, padding=(0, 1, 0, 2))
    table.add_column("", no_wrap=True)
    measures = results.facts.measures.get(report.key, ())
    for measure in measures:
        table.add_column(str(summary.format_measure(measure)), justify="right")
    for column in results.plan.columns:
        means = (shown.means.get((report.key, measure, column.key)) for measure in measures)
        cells = [_format_mean(*each) for each in zip(measures, means, strict=True)]
        table.add_row(column.name if column.title else column.key, *cells)
    return table


def _format_mean(measure: str, mean: MeanScore | None) -> str:
    """Return the mean of a measure, and its interval on a second line; a dash without scores."""
    if mean is None:
        return "–"
    score = summary.format_score(measure, mean.mean)
    return f"{score}\n({summary.format_interval(measure, mean)})"


def _print_verdicts(results: EvaluationResults, shown: EvaluationSummary, display: Display) -> None:
    """Print in words what each model shows against the base model, and whether it forgot anything."""
    lines = []
    for column in results.plan.columns:
        sentences = []
        if column.key != shown.baseline and (verdict := shown.get_main_verdict(column.key)):
            sentences.append(verdict.sentence)
        if report := shown.forgetting.get(column.key):
            sentences.append(report.sentence)
        lines += [
            text("{column}: {verdict}", column=column.key, verdict=sentence)
            for sentence in sentences
        ]
    if lines:
        display.print_title(str(text("Compared with {column}", column=shown.baseline)))
    for line in lines:
        display.print_line(line)


def describe_preferences(results: EvaluationResults, found: Iterable[Preference]) -> list[Text]:
    """Return how often each model was preferred to the one that it was compared with."""
    keys = {column.key: column.title or column.key for column in results.plan.columns}
    return [
        text(
            "{judge}, {column} against {baseline}: {result}; {unknown} without a verdict."
            if each.unknown
            else "{judge}, {column} against {baseline}: {result}.",
            judge=each.judged_by,
            column=keys[each.column],
            baseline=keys[each.baseline],
            result=each.sentence,
            unknown=each.unknown,
        )
        for each in found
    ]


def _describe_columns(results: EvaluationResults) -> list[Text]:
    """Return what is worth knowing of the columns besides their scores."""
    lines = [line for column in results.facts.columns for line in _describe_column_report(column)]
    groups: dict[tuple[str, ...], list[str]] = {}
    for column in results.facts.columns:
        groups.setdefault(column.unmeasured, []).append(column.key)
    for measures, keys in groups.items():
        if measures:
            lines.append(
                text(
                    "{columns}: no log-likelihoods from the server, so these can't be measured: {measures}.",
                    columns=", ".join(keys),
                    measures=listed([summary.format_measure(measure) for measure in measures]),
                )
            )
    return lines


def _describe_column_report(column: ColumnReport) -> list[Text]:
    """Return what is worth knowing of a column besides its scores."""
    lines = []
    if column.problem is not None:
        lines.append(text("{column}: {reason}", column=column.key, reason=column.problem.what))
    if column.failed:
        lines.append(
            counted(column.failed, "{column}: {n} item failed and counts as wrong.", "{column}: {n} items failed and count as wrong.", column=column.key)
        )  # fmt: skip
    return lines
