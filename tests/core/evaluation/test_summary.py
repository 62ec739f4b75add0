"""What an evaluation says: planted models that are better, equal, worse, or have forgotten."""

import random
from collections.abc import Mapping
from pathlib import Path

from lora_studio.core.chat import AdapterChatModel
from lora_studio.core.evaluation import forgetting
from lora_studio.core.evaluation.columns import Column
from lora_studio.core.evaluation.items import OWN_METRIC, EvaluationItem
from lora_studio.core.evaluation.plan import EvaluationPlan
from lora_studio.core.evaluation.results import EvaluationFacts, EvaluationResults, ItemResult
from lora_studio.core.evaluation.summary import (
    EvaluationSummary,
    compare_scores,
    compute_mean_score,
    format_interval,
    summarize,
)
from lora_studio.core.evaluation.test_sets import ForgettingSet, HeldoutRows
from lora_studio.core.lora.adapters import WeightedAdapter


def _plan() -> EvaluationPlan:
    return EvaluationPlan(
        columns=tuple(
            Column(key=key, model=AdapterChatModel(adapters=adapters))
            for key, adapters in (("base", ()), ("adapter", (WeightedAdapter(folder="/a"),)))
        ),
        test_sets=(HeldoutRows(), ForgettingSet()),
    )


def _add(
    results: EvaluationResults, item: EvaluationItem, scores: Mapping[str, dict[str, float]]
) -> None:
    results.items.append(item)
    for column, values in scores.items():
        results.answers[item.id, column] = ItemResult(item=item.id, column=column, scores=values)


def _evaluate(task: float, arithmetic: float, reading: float = 0.6) -> EvaluationSummary:
    """Return the summary of a tuned model with these shares of right answers; the base has 0.6."""
    generator = random.Random(1)
    facts = EvaluationFacts(metrics={"heldout": ("exact",), forgetting.KEY: (OWN_METRIC,)})
    results = EvaluationResults(Path(), _plan(), facts)
    shares = {"task": task, "arithmetic": arithmetic, "reading": reading}
    for category, share in shares.items():
        metric = "exact" if category == "task" else OWN_METRIC
        for row in range(200 if category == "task" else 60):
            key = "heldout" if category == "task" else forgetting.KEY
            item = EvaluationItem(id=f"{category}{row}", test_set=key, category=category)
            right = {"base": 0.6, "adapter": share}
            scores = {
                name: {metric: float(generator.random() < value)} for name, value in right.items()
            }
            _add(results, item, scores)
    return summarize(results)


def _say(summary: EvaluationSummary) -> str:
    verdict = summary.get_main_verdict("adapter")
    assert verdict is not None
    return str(verdict.sentence)


def test_planted_models_are_told_apart() -> None:
    better = _say(_evaluate(task=0.85, arithmetic=0.6))
    assert better.startswith("Better: 60 % → 88 % (+2")
    assert better.endswith(" points)")
    assert "−" not in better.partition("(")[2]
    worse = _say(_evaluate(task=0.3, arithmetic=0.6))
    assert worse.startswith("Worse: ")
    assert "(−" in worse
    equal = _say(_evaluate(task=0.6, arithmetic=0.6))
    assert equal.startswith("No difference shown (")
    assert equal.endswith(" rows would be needed")


def test_forgetting_names_the_category_and_the_points() -> None:
    summary = _evaluate(task=0.85, arithmetic=0.1)
    report = summary.forgetting["adapter"]
    assert report.forgotten == ("arithmetic",)
    assert str(report.sentence).startswith("Forgot: −")
    assert str(report.sentence).endswith(" points in arithmetic")
    calm = _evaluate(task=0.85, arithmetic=0.6).forgetting["adapter"]
    assert not calm.has_forgotten
    assert str(calm.sentence).startswith("No forgetting shown; 120 items can show a loss of about ")


def test_few_equal_answers_do_not_rule_out_forgetting() -> None:
    facts = EvaluationFacts(metrics={forgetting.KEY: (OWN_METRIC,)})
    results = EvaluationResults(Path(), _plan(), facts)
    for row in range(12):
        item = EvaluationItem(id=str(row), test_set=forgetting.KEY, category="arithmetic")
        _add(results, item, {name: {OWN_METRIC: 1.0} for name in ("base", "adapter")})
    report = summarize(results).forgetting["adapter"]
    assert not report.has_forgotten
    assert report.sentence.values == {
        "n": 12,
        "smallest": 41,
    }  # 2.8 · 0.5 / √12, as before the evaluation


def test_perplexity_falls_when_better() -> None:
    before = {str(row): 10.0 + row % 3 for row in range(40)}
    after = {row: value * 0.8 for row, value in before.items()}
    verdict = compare_scores("perplexity", before, after)
    assert verdict is not None
    assert verdict.finding == "better"
    assert str(verdict.sentence) == "Better: perplexity 10.9 → 8.76 (−20.0 to −20.0 %)"
    mean = compute_mean_score("perplexity", [2.0, 8.0])
    assert mean is not None
    assert round(mean.mean, 6) == 4  # the geometric mean


def test_few_rows_are_called_few() -> None:
    verdict = compare_scores("exact", dict.fromkeys("abc", 0.0), dict.fromkeys("abc", 1.0))
    assert verdict is not None
    assert str(verdict.sentence) == "3 rows are too few to compare; use at least 10."
    assert compare_scores("exact", {"a": 1.0}, {"b": 1.0}) is None


def test_one_row_has_no_interval_unless_it_is_right_or_wrong() -> None:
    for metric, shown in (("token_f1", "–"), ("exact", "21 %–100 %")):
        mean = compute_mean_score(metric, [1.0])
        assert mean is not None
        assert format_interval(metric, mean) == shown
