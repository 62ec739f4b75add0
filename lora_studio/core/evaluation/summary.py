"""What an evaluation shows: means with intervals, differences from the baseline, and verdicts in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lora_studio.core import formatting
from lora_studio.core.evaluation import forgetting, statistics
from lora_studio.core.evaluation.columns import Column
from lora_studio.core.evaluation.items import OWN_METRIC, EvaluationItem
from lora_studio.core.evaluation.metrics import METRICS, normalize
from lora_studio.core.evaluation.results import EvaluationResults
from lora_studio.core.evaluation.statistics import Interval, PairedDifference
from lora_studio.core.messages import Text, counted, listed, text

Finding = Literal["better", "worse", "unclear", "too_few"]

_PERPLEXITY = "perplexity"
#: Number of items from which the deviation of their differences is trusted.
_RELIABLE_ROWS = 30
#: If only losses above this show, nothing is said about forgetting.
_COARSE_POINTS = 30


@dataclass(frozen=True)
class MeanScore:
    """The mean of one metric of a column over the rows that have a score, with its 95 % interval."""

    mean: float
    interval: Interval
    rows: int


@dataclass(frozen=True)
class DifferenceVerdict:
    """What the scores of a column show against the baseline, as a finding and as a sentence."""

    finding: Finding
    sentence: Text
    difference: PairedDifference


@dataclass(frozen=True)
class MainVerdict:
    """The verdict that stands for a whole evaluation, with the names of its test set and metric."""

    test_set: str
    metric: str
    verdict: DifferenceVerdict


@dataclass(frozen=True)
class ForgettingReport:
    """What a column has forgotten: the verdict of each category, and one sentence for all of them."""

    sentence: Text
    has_forgotten: bool
    categories: dict[str, DifferenceVerdict] = field(default_factory=dict)
    forgotten: tuple[str, ...] = ()


@dataclass
class EvaluationSummary:
    """Everything that a table of results shows; `baseline` is the key of the column compared with.

    `means` and `verdicts` are by test set, metric, and column. `forgetting` is by column.
    """

    baseline: str
    metrics: dict[str, tuple[str, ...]]
    means: dict[tuple[str, str, str], MeanScore] = field(default_factory=dict)
    verdicts: dict[tuple[str, str, str], DifferenceVerdict] = field(default_factory=dict)
    forgetting: dict[str, ForgettingReport] = field(default_factory=dict)

    def get_main_verdict(self, column: str) -> DifferenceVerdict | None:
        """Return the verdict of a column on the main metric of the first task, None without one."""
        found = self.find_main_verdict(column)
        return found.verdict if found is not None else None

    def find_main_verdict(self, column: str) -> MainVerdict | None:
        """Return the verdict of a column on the main metric of the first task, with what it is about."""
        for test_set, metrics in self.metrics.items():
            if test_set != forgetting.KEY:
                for metric in metrics:
                    if verdict := self.verdicts.get((test_set, metric, column)):
                        return MainVerdict(test_set, metric, verdict)
        return None


def summarize(results: EvaluationResults, *, baseline: str = "") -> EvaluationSummary:
    """Return what an evaluation shows so far; `baseline` is a column, the base model if it is "".

    Takes about 10 ms per metric and column for 1,000 rows.
    """
    columns = [column.key for column in results.plan.columns]
    base = baseline if baseline in columns else choose_baseline(results.plan.columns)
    summary = EvaluationSummary(base, dict(results.facts.metrics))
    for test_set, metrics in summary.metrics.items():
        for metric in metrics:
            scores = {key: results.get_scores(test_set, key, metric) for key in columns}
            for key in columns:
                if mean := compute_mean_score(metric, list(scores[key].values())):
                    summary.means[test_set, metric, key] = mean
                if key != base and (verdict := compare_scores(metric, scores[base], scores[key])):
                    summary.verdicts[test_set, metric, key] = verdict
    if forgetting.KEY in summary.metrics:
        for key in columns:
            if key != base and (report := _report_forgetting(results, base, key)):
                summary.forgetting[key] = report
    return summary


def choose_baseline(columns: Sequence[Column]) -> str:
    """Return the key of the base model's column, or of the first column without one."""
    return next((column.key for column in columns if column.is_base), columns[0].key)


def compute_mean_score(metric: str, scores: Sequence[float]) -> MeanScore | None:
    """Return the mean of scores with its interval, None without scores."""
    mean = compute_mean(metric, scores)
    interval = statistics.compute_interval(_to_linear(metric, scores))
    if mean is None or interval is None:
        return None
    if _is_perplexity(metric):
        interval = Interval(math.exp(interval.low), math.exp(interval.high))
    return MeanScore(mean, interval, len(scores))


def compute_mean(metric: str, scores: Sequence[float]) -> float | None:
    """Return the mean of scores, None without scores; of perplexities, the geometric one."""
    if not scores:
        return None
    mean = math.fsum(_to_linear(metric, scores)) / len(scores)
    return math.exp(mean) if _is_perplexity(metric) else mean


def compute_means(results: EvaluationResults, column: str) -> dict[str, dict[str, float]]:
    """Return the mean scores of a column by test set and metric."""
    means: dict[str, dict[str, float]] = {}
    for test_set, metrics in results.facts.metrics.items():
        for metric in metrics:
            scores = list(results.get_scores(test_set, column, metric).values())
            if (mean := compute_mean(metric, scores)) is not None:
                means.setdefault(test_set, {})[metric] = mean
    return means


def compare_scores(
    metric: str, before: Mapping[str, float], after: Mapping[str, float]
) -> DifferenceVerdict | None:
    """Return the verdict on rows that both columns have a score for, None without any."""
    shared = [item for item in before if item in after]
    difference = statistics.compare(
        _to_linear(metric, [before[item] for item in shared]),
        _to_linear(metric, [after[item] for item in shared]),
    )
    return None if difference is None else judge_difference(metric, difference)


def judge_difference(metric: str, difference: PairedDifference) -> DifferenceVerdict:
    """Return what a difference shows, in words. Those of perplexities are of their logarithms."""
    finding = _find(metric, difference)
    if finding == "too_few":
        sentence = counted(
            difference.rows,
            "One row is too few to compare; use at least {least}.",
            "{n} rows are too few to compare; use at least {least}.",
            least=statistics.FEWEST_ROWS,
        )
        return DifferenceVerdict(finding, sentence, difference)
    sentence = _describe(metric, finding, difference)
    return DifferenceVerdict(finding, sentence, difference)


def format_score(metric: str, score: float) -> str:
    """Return a score as shown in tables: a percentage, or a perplexity with three digits."""
    if _is_perplexity(metric):
        digits = 2 if score < 10 else 1 if score < 1000 else 0
        return formatting.format_float(score, f".{digits}f")
    digits = 0 if is_binary(metric) else 1
    return f"{formatting.format_float(100 * score, f'.{digits}f')} %"


def format_interval(metric: str, mean: MeanScore) -> str:
    """Return both ends of the interval of a mean, a dash for one row, which says nothing of the others."""
    if mean.rows == 1 and not is_binary(metric):
        return "–"
    ends = (format_score(metric, end) for end in (mean.interval.low, mean.interval.high))
    return "–".join(ends)


def format_change(metric: str, low: float, high: float) -> tuple[str, str]:
    """Return both ends of a change with signs: in points, for logarithms of perplexities in percent."""
    if _is_perplexity(metric):
        low, high = math.expm1(low), math.expm1(high)
    digits = 1 if max(abs(low), abs(high)) < 0.02 or 100 * (high - low) < 2 else 0
    return _format_signed(100 * low, digits), _format_signed(100 * high, digits)


def format_metric(metric: str) -> Text:
    """Return the title of a metric, with its parameter."""
    if metric == OWN_METRIC:
        return text("Correct")
    kind, _, parameter = metric.partition(":")
    info = METRICS.get(kind)
    title = info.title if info is not None else Text(template=kind)
    short = parameter if len(parameter) <= 24 else f"{parameter[:23]}…"
    return text("{metric} ({parameter})", metric=title, parameter=short) if short else title


def is_binary(metric: str) -> bool:
    """Return whether the scores of a metric are right or wrong."""
    info = METRICS.get(metric.partition(":")[0])
    return metric == OWN_METRIC or (info is not None and info.type.is_binary)


def is_lower_better(metric: str) -> bool:
    """Return whether a lower score is better."""
    info = METRICS.get(metric.partition(":")[0])
    return info is not None and info.type.lower_is_better


def _report_forgetting(
    results: EvaluationResults, base: str, column: str
) -> ForgettingReport | None:
    """Return what a column has forgotten. Holm's correction allows for the number of categories."""
    verdicts: dict[str, DifferenceVerdict] = {}
    for category in _list_categories(results):
        metric = _PERPLEXITY if category == forgetting.TEXT_CATEGORY else OWN_METRIC
        before, after = (
            _get_category_scores(results, category, key, metric) for key in (base, column)
        )
        if verdict := compare_scores(metric, before, after):
            verdicts[category] = verdict
    if not verdicts:
        return None
    forgotten, overall = _find_forgotten(verdicts), _find_overall_loss(results, base, column)
    if not forgotten and overall is None:
        return ForgettingReport(_describe_nothing_forgotten(verdicts), False, verdicts)
    losses = [_describe_loss(category, verdicts[category].difference) for category in forgotten]
    if overall is not None and not set(forgotten) - {forgetting.TEXT_CATEGORY}:
        change = _format_signed(100 * overall.difference.change, 0)
        losses.insert(0, text("{change} points over all abilities", change=change))
    return ForgettingReport(
        text("Forgot: {losses}", losses=listed(losses)), True, verdicts, forgotten
    )


def _find_overall_loss(
    results: EvaluationResults, base: str, column: str
) -> DifferenceVerdict | None:
    """Return the verdict over all abilities if it is a loss: many small ones may add up to it."""
    before, after = (results.get_scores(forgetting.KEY, key, OWN_METRIC) for key in (base, column))
    verdict = compare_scores(OWN_METRIC, before, after)
    return verdict if verdict is not None and verdict.finding == "worse" else None


def _find_forgotten(verdicts: Mapping[str, DifferenceVerdict]) -> tuple[str, ...]:
    """Return the categories that became worse, by Holm's step-down procedure (1979) at 5 %."""
    ranked = sorted(verdicts, key=lambda category: verdicts[category].difference.p_value)
    found = []
    for rank, category in enumerate(ranked):
        if verdicts[category].difference.p_value * (len(ranked) - rank) >= 1 - statistics.LEVEL:
            break
        if verdicts[category].finding == "worse":
            found.append(category)
    return tuple(category for category in verdicts if category in found)


def _describe_nothing_forgotten(verdicts: Mapping[str, DifferenceVerdict]) -> Text:
    differences = [
        verdict.difference for name, verdict in verdicts.items() if name != forgetting.TEXT_CATEGORY
    ]
    rows = sum(difference.rows for difference in differences)
    if rows < statistics.FEWEST_ROWS:
        return text("Too few answers to tell what was forgotten.")
    deviation = math.sqrt(sum(d.rows * d.deviation**2 for d in differences) / rows)
    if rows < _RELIABLE_ROWS or not deviation:  # the few may be equal by chance
        deviation = max(deviation, statistics.ASSUMED_DEVIATION)
    smallest = math.ceil(100 * statistics.compute_smallest_difference(rows, deviation)) or 1
    if smallest > _COARSE_POINTS:
        return text(
            "{n} items are too few: only a loss of about {smallest} points or more would show.",
            n=rows,
            smallest=smallest,
        )
    return counted(
        rows,
        "No forgetting shown",
        "No forgetting shown; {n} items can show a loss of about {smallest} points",
        smallest=smallest,
    )


def _list_categories(results: EvaluationResults) -> list[str]:
    items = (item.category for item in results.items if item.test_set == forgetting.KEY)
    return list(dict.fromkeys(items))


def _get_category_scores(
    results: EvaluationResults, category: str, column: str, metric: str
) -> dict[str, float]:
    scores = results.get_scores(forgetting.KEY, column, metric)
    chosen = {item.id for item in results.items if item.category == category}
    return {item: score for item, score in scores.items() if item in chosen}


def _find(metric: str, difference: PairedDifference) -> Finding:
    if difference.rows < statistics.FEWEST_ROWS:
        return "too_few"
    if not difference.is_shown:
        return "unclear"
    return "better" if (difference.change > 0) != is_lower_better(metric) else "worse"


def _describe(metric: str, finding: Finding, difference: PairedDifference) -> Text:
    """Return a verdict in words; changes are in points, those of perplexities in percent."""
    low, high = format_change(metric, difference.interval.low, difference.interval.high)
    before, after = difference.before, difference.after
    perplexity = _is_perplexity(metric)
    if perplexity:
        before, after = math.exp(before), math.exp(after)
    values = {"before": format_score(metric, before), "after": format_score(metric, after)}
    change = {"low": low, "high": high}
    if finding == "unclear":
        if (rows := difference.rows_needed) is None:
            return text("No difference shown ({before} → {after})", **values)
        return text(
            "No difference shown ({before} → {after}); {rows} rows would be needed",
            rows=rows,
            **values,
        )
    if finding == "better":
        if perplexity:
            return text("Better: perplexity {before} → {after} ({low} to {high} %)", **values, **change)  # fmt: skip
        return text("Better: {before} → {after} ({low} to {high} points)", **values, **change)
    if perplexity:
        return text("Worse: perplexity {before} → {after} ({low} to {high} %)", **values, **change)
    return text("Worse: {before} → {after} ({low} to {high} points)", **values, **change)


def _describe_loss(category: str, difference: PairedDifference) -> Text:
    title = forgetting.format_category(category)
    if category == forgetting.TEXT_CATEGORY:
        change = _format_signed(100 * math.expm1(difference.change), 0)
        return text("Perplexity on {category}: {change} %", change=change, category=title)
    change = _format_signed(100 * difference.change, 0)
    return text("{change} points in {category}", change=change, category=title)


def _format_signed(value: float, digits: int) -> str:
    written = f"{value:+.{digits}f}".replace("-", "−")
    if float(written.replace("−", "-")) == 0:
        return "0"
    return formatting.localize_digits(written)


def _is_perplexity(metric: str) -> bool:
    return metric.partition(":")[0] == _PERPLEXITY


def _to_linear(metric: str, scores: Iterable[float]) -> list[float]:
    """Return values whose mean is meaningful: logarithms of perplexities, other scores unchanged."""
    if _is_perplexity(metric):
        return [math.log(max(score, 1e-12)) for score in scores]
    return list(scores)


RowKind = Literal["all", "fixed", "broken", "different", "wrong", "failed"]

#: A change of a score from 0 to 1 that counts as fixed or broken, where scores aren't right or wrong.
_NOTICEABLE = 0.1


@dataclass(frozen=True)
class ResultFilter:
    """Which rows to show: `column` compared with `other`, in one test set, or in all if it is ""."""

    kind: RowKind = "all"
    column: str = ""
    other: str = ""
    test_set: str = ""
    search: str = ""


def filter_rows(results: EvaluationResults, rule: ResultFilter) -> list[EvaluationItem]:
    """Return the items that a filter lets through, in their order."""
    needle = rule.search.casefold().strip()
    return [
        item
        for item in results.items
        if (not rule.test_set or item.test_set == rule.test_set)
        and _is_kind(results, item, rule)
        and (not needle or _contains(results, item, needle))
    ]


def get_score(results: EvaluationResults, item: EvaluationItem, column: str) -> float | None:
    """Return the score of a column on an item by its main metric, None without one."""
    row = results.answers.get((item.id, column))
    if row is None:
        return None
    names = results.facts.metrics.get(item.test_set, ())
    return next((row.scores[name] for name in names if name in row.scores), None)


def _is_kind(results: EvaluationResults, item: EvaluationItem, rule: ResultFilter) -> bool:
    if rule.kind == "all":
        return True
    row = results.answers.get((item.id, rule.column))
    if rule.kind == "failed":
        return row is not None and row.problem is not None
    if rule.kind == "wrong":
        score = get_score(results, item, rule.column)
        return score is not None and score < 0.5
    other = results.answers.get((item.id, rule.other))
    if row is None or other is None:
        return False
    if rule.kind == "different":
        return normalize(row.answer) != normalize(other.answer)
    change = _compute_gain(results, item, rule)
    return change >= _NOTICEABLE if rule.kind == "fixed" else change <= -_NOTICEABLE


def _compute_gain(results: EvaluationResults, item: EvaluationItem, rule: ResultFilter) -> float:
    """Return by how much the column is better than the other one; 0 if it isn't known."""
    names = results.facts.metrics.get(item.test_set, ())
    first, second = (results.answers[item.id, key].scores for key in (rule.other, rule.column))
    for name in names:
        if name in first and name in second:
            change = second[name] - first[name]
            return -change if is_lower_better(name) else change
    return 0.0


def _contains(results: EvaluationResults, item: EvaluationItem, needle: str) -> bool:
    texts = [item.question, item.reference or "", item.category]
    texts += [
        row.answer
        for column in results.plan.columns
        if (row := results.answers.get((item.id, column.key))) is not None
    ]
    return any(needle in text.casefold() for text in texts)
