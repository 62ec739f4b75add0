"""What was gained on the task beside what was forgotten, in words and as plots."""

from __future__ import annotations

import math

from PySide6.QtWidgets import QVBoxLayout, QWidget

from lora_studio.core.evaluation import forgetting, summary
from lora_studio.core.evaluation.results import EvaluationResults
from lora_studio.core.evaluation.statistics import Interval
from lora_studio.core.evaluation.summary import DifferenceVerdict, EvaluationSummary
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.evaluation.column_names import list_column_names
from lora_studio.gui.plots.score_plots import ChangePlot, ScoreChange, TradeOffPlot
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import Card, label
from lora_studio.gui.widgets.columns import ResponsiveSplitter


class ChangeView(QWidget):
    """Shows the changes of each model against the baseline: on the task, and in general abilities."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self.note = label(role="caption", wrap=True)
        self.changes, self.trade_off = ChangePlot(), TradeOffPlot()
        gain, self._points = Card(tr("Gain and forgetting")), Card(tr("Gain over forgetting"))
        gain.body.addWidget(self.changes, 1)
        self._points.body.addWidget(self.trade_off, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, Spacing.M, 0, 0)
        layout.setSpacing(Spacing.M)
        layout.addWidget(self.note)
        layout.addWidget(ResponsiveSplitter(gain, self._points, (3, 2)), 1)

    def show_results(self, results: EvaluationResults, shown: EvaluationSummary) -> None:
        """Show an evaluation."""
        names = list_column_names(results.plan)
        others = [key for key in names if key != shown.baseline]
        is_measured = forgetting.KEY in shown.measures
        self.note.setText(
            tr("Changes against {name} in percentage points, with 95 % intervals.").format(
                name=names[shown.baseline]
            )
            if is_measured
            else tr("To see what was forgotten, include the test set “Forgetting”.")
        )
        self._show_changes(results, shown, names, others)
        self._show_points(shown, names, others)

    def _show_changes(
        self,
        results: EvaluationResults,
        shown: EvaluationSummary,
        names: dict[str, str],
        others: list[str],
    ) -> None:
        tasks = {
            key: measures[0]
            for key, measures in shown.measures.items()
            if key != forgetting.KEY and measures and not summary.is_lower_better(measures[0])
        }
        titles = {each.key: localize(each.title) for each in results.plan.test_sets}
        categories = [key for key in forgetting.CATEGORIES if key != forgetting.TEXT_CATEGORY]
        if forgetting.KEY not in shown.measures:
            categories = []
        subjects = [titles.get(key, key) for key in tasks]
        subjects += [localize(forgetting.format_category(key)) for key in categories]
        series = []
        for column in others:
            report = shown.forgetting.get(column)
            verdicts = [shown.verdicts.get((key, name, column)) for key, name in tasks.items()]
            verdicts += [report.categories.get(key) if report else None for key in categories]
            series.append((names[column], [_to_change(verdict) for verdict in verdicts]))
        self.changes.show_changes(subjects, series)

    def _show_points(
        self, shown: EvaluationSummary, names: dict[str, str], others: list[str]
    ) -> None:
        points = []
        for key in others:
            gain, report = shown.get_main_verdict(key), shown.forgetting.get(key)
            change = _average_change(report.categories) if report is not None else math.nan
            if gain is not None and math.isfinite(change):
                points.append((names[key], 100 * change, 100 * gain.difference.change))
        self.trade_off.show_points(points)
        self._points.setVisible(bool(points))


def _to_change(verdict: DifferenceVerdict | None) -> ScoreChange | None:
    if verdict is None:
        return None
    low, high = verdict.difference.interval.low, verdict.difference.interval.high
    return ScoreChange(100 * verdict.difference.change, Interval(100 * low, 100 * high))


def _average_change(categories: dict[str, DifferenceVerdict]) -> float:
    """Return the mean change of all items but the plain text, NaN without any."""
    differences = [
        verdict.difference for key, verdict in categories.items() if key != forgetting.TEXT_CATEGORY
    ]
    rows = sum(difference.rows for difference in differences)
    return sum(d.rows * d.change for d in differences) / rows if rows else math.nan
