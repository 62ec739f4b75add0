"""Intervals and tests of paired scores; compared with scipy and statsmodels, which import slowly."""

import numpy as np
import pytest

from lora_studio.core.evaluation import statistics
from lora_studio.core.evaluation.statistics import Interval


def _make_answers(rows: int, before: float, after: float, seed: int = 0) -> tuple[list[float], ...]:
    generator = np.random.default_rng(seed)
    return tuple(list(map(float, generator.random(rows) < share)) for share in (before, after))


@pytest.mark.slow
def test_paired_interval_agrees_with_scipys_bootstrap() -> None:
    from scipy.stats import bootstrap

    generator = np.random.default_rng(3)
    before, after = generator.random(120), generator.random(120) ** 0.5
    ours = statistics.compute_paired_interval(list(before), list(after))
    theirs = bootstrap(
        (after - before,), np.mean, n_resamples=10_000, method="percentile", rng=1
    ).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.004)
    assert ours.high == pytest.approx(theirs.high, abs=0.004)


def test_drawing_by_counts_agrees_with_drawing_rows() -> None:
    before, after = _make_answers(200, 0.6, 0.7)
    ours = statistics.compute_paired_interval(before, after)
    differences = np.asarray(after) - np.asarray(before)
    means = np.random.default_rng(9).choice(differences, (10_000, 200)).mean(1)
    assert (ours.low, ours.high) == pytest.approx(
        tuple(np.quantile(means, [0.025, 0.975])), abs=0.01
    )


def test_same_seed_gives_the_same_interval() -> None:
    values = list(np.random.default_rng(0).random(40))
    assert statistics.compute_interval(values) == statistics.compute_interval(values)
    assert statistics.compute_interval(values) != statistics.compute_interval(values, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize(("right", "rows"), [(0, 10), (7, 10), (61, 100), (50, 50)])
def test_interval_of_right_answers_is_wilsons(right: int, rows: int) -> None:
    from statsmodels.stats.proportion import proportion_confint

    ours = statistics.compute_interval([1.0] * right + [0.0] * (rows - right))
    assert ours is not None
    theirs = proportion_confint(right, rows, method="wilson")
    assert (ours.low, ours.high) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("fixed", "broken"), [(0, 0), (5, 5), (12, 3), (1, 9), (180, 140)])
def test_mcnemar_agrees_with_statsmodels(fixed: int, broken: int) -> None:
    from statsmodels.stats.contingency_tables import mcnemar

    theirs = mcnemar([[30, broken], [fixed, 40]], exact=True).pvalue
    expected = 1.0 if fixed == broken == 0 else theirs
    assert statistics.mcnemar(fixed, broken) == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
def test_mcnemar_of_many_rows_agrees_with_the_exact_test() -> None:
    from scipy.stats import binomtest

    assert statistics.mcnemar(560, 470) == pytest.approx(binomtest(560, 1030).pvalue, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [8, 60])
def test_permutation_agrees_with_scipy(rows: int) -> None:
    from scipy.stats import permutation_test

    differences = np.random.default_rng(4).normal(0.25, 1.0, rows)
    theirs = permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=10_000, rng=2
    )
    assert statistics.permute_signs(differences) == pytest.approx(theirs.pvalue, abs=0.015)


@pytest.mark.slow
def test_rows_needed_agrees_with_statsmodels() -> None:
    from statsmodels.stats.power import normal_sample_size_one_tail

    theirs = normal_sample_size_one_tail(0.07, 0.8, 0.025, std_null=0.5)
    ours = statistics.compute_rows_needed(0.07, 0.5)
    assert ours is not None
    assert theirs <= ours <= theirs * 1.1
    assert statistics.compute_smallest_difference(round(theirs), 0.5) == pytest.approx(
        0.07, rel=0.01
    )


def test_nothing_is_shown_by_a_few_rows() -> None:
    result = statistics.compare([0.0] * 5, [1.0] * 5)
    assert result is not None
    assert not result.is_shown
    assert result.interval.low < 1.0


def test_what_some_rows_dont_show_needs_twice_as_many() -> None:
    """5 of 10 rows fixed and none broken: p is 0.0625, although by the formula 10 rows are enough."""
    result = statistics.compare([0.0] * 5 + [1.0] * 5, [1.0] * 10)
    assert result is not None
    assert not result.is_shown
    assert statistics.compute_rows_needed(result.change, result.deviation) == 10
    assert result.rows_needed == 21


def test_rows_that_all_changed_alike_keep_an_honest_interval() -> None:
    all_fixed = statistics.compute_paired_interval([0.0] * 12, [1.0] * 12)
    assert all_fixed == Interval(pytest.approx(0.025 ** (1 / 12)), 1.0)  # Clopper-Pearson of 12/12
    none_changed = statistics.compute_paired_interval([1.0] * 12, [1.0] * 12)
    assert none_changed.low < 0 < none_changed.high


def test_planted_differences_are_found_and_equal_models_are_not() -> None:
    found = {}
    for name, after in (("better", 0.85), ("equal", 0.6), ("worse", 0.35)):
        before, answers = _make_answers(200, 0.6, after, seed=5)
        result = statistics.compare(before, answers)
        assert result is not None
        found[name] = (result.is_shown, result.change > 0)
    assert found["better"] == (True, True)
    assert found["worse"] == (True, False)
    assert not found["equal"][0]


def test_false_alarms_are_as_rare_as_promised() -> None:
    alarms = 0
    for seed in range(100):
        before, after = _make_answers(60, 0.7, 0.7, seed)
        result = statistics.compare(before, after, resamples=1000)
        alarms += result is not None and result.is_shown
    assert alarms <= 12  # 5 % of 100, with room for chance


def test_rows_without_a_score_are_left_out_of_both() -> None:
    result = statistics.compare([1.0, None, 0.0, 1.0], [1.0, 1.0, None, 0.0])
    assert result is not None
    assert (result.rows, result.fixed, result.broken) == (2, 0, 1)
    assert statistics.compare([None], [1.0]) is None
