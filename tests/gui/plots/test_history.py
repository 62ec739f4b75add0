"""The metric history behind the curves: storage, thinning and smoothing."""

from __future__ import annotations

import math
from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_studio.core.curves.metrics import MetricTable
from lora_studio.gui.plots.run_curves import MetricHistory


def history(values: list[float]) -> MetricHistory:
    metrics = MetricHistory(MetricTable())
    for step, value in enumerate(values, start=1):
        metrics.table.add(step, {"loss": value})
    return metrics


def test_late_metric_has_a_gap_before_its_first_point() -> None:
    metrics = MetricHistory(MetricTable())
    for step in range(1000):
        metrics.table.add(
            step, {"loss": step * 0.5} if step < 600 else {"loss": step * 0.5, "rate": 1.0}
        )
    assert metrics.steps.tolist() == list(range(1000))
    assert metrics.values("loss").tolist() == [step * 0.5 for step in range(1000)]
    assert metrics.names == ["loss", "rate"]
    assert np.isnan(metrics.values("rate")).sum() == 600
    assert np.isnan(metrics.values("never")).all()


def test_unmeasured_value_adds_no_metric() -> None:
    metrics = MetricHistory(MetricTable())
    metrics.table.add(1, {"loss": 2.0, "gpu_percent": None})
    assert metrics.names == ["loss"]


def test_resumed_training_replaces_repeated_steps() -> None:
    metrics = history([1.0] * 10)
    assert len(metrics) == 10
    for step, value in ((6, 2.0), (7, 2.0), (7, 3.0)):
        metrics.table.add(step, {"loss": value})
    assert metrics.steps.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert metrics.values("loss").tolist() == [1, 1, 1, 1, 1, 2, 3]


@pytest.mark.parametrize(("step", "index"), [(-5, 0), (14, 0), (16, 1), (20, 1), (99, 2)])
def test_nearest_point_is_found_on_either_side(step: float, index: int) -> None:
    metrics = MetricHistory(MetricTable())
    assert metrics.find_nearest(1) is None
    for known in (10, 20, 30):
        metrics.table.add(known, {})
    assert metrics.find_nearest(step) == index


def test_few_points_are_drawn_with_one_neighbor_on_either_side() -> None:
    curve = history([3.0, 1.0, 2.0, 5.0, 4.0]).get_curve("loss")
    x, y = curve.thin(2.5, 3.5, 100)
    assert x.tolist() == [2, 3, 4]
    assert y.tolist() == [1, 2, 5]


@pytest.mark.slow
def test_spike_among_a_million_points_is_drawn() -> None:
    values = np.random.default_rng(0).normal(2.0, 0.1, 1_000_000)
    values[123_456], values[987_654] = 50.0, -50.0
    metrics = MetricHistory(MetricTable())
    metrics.table.steps.extend(range(len(values)))
    metrics.table.columns["loss"] = array("d", values)
    x, y = metrics.get_curve("loss").thin(0, 1_000_000, 1000)
    assert len(x) == 2000
    assert y.max() == 50.0
    assert y.min() == -50.0
    assert abs(x[y.argmax()] - 123_456) <= 1000


numbers = st.one_of(st.floats(-100, 100), st.sampled_from([math.nan, math.inf]))


@settings(max_examples=150, deadline=None)
@given(
    gaps=st.lists(st.integers(1, 5), min_size=1, max_size=900),
    values=st.lists(numbers, min_size=1, max_size=40),
    resumed=st.floats(0, 1),
    view=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    columns=st.integers(2, 60),
)
def test_thinning_keeps_extremes_and_smoothing_is_the_mean(
    gaps: list[int],
    values: list[float],
    resumed: float,
    view: tuple[float, float],
    columns: int,
) -> None:
    steps = np.cumsum(gaps).astype(float)
    expected = np.resize(np.array(values), len(steps))
    metrics = MetricHistory(MetricTable())
    curve = metrics.get_curve("loss")
    for step in steps:
        metrics.table.add(step, {"loss": 7.0})
    curve.thin(0, steps[-1], 3)  # fills the caches that the resume must invalidate
    curve.smooth(0, steps[-1], 10**6, 9)
    resumed_at = int(resumed * (len(steps) - 1))
    expected[:resumed_at] = 7.0
    for step, value in zip(steps[resumed_at:], expected[resumed_at:], strict=True):
        metrics.table.add(step, {"loss": value})

    low, high = sorted(share * steps[-1] for share in view)
    x, y = curve.thin(low, high, columns)
    inside = expected[(steps >= low) & (steps <= high) & np.isfinite(expected)]
    if len(inside):
        assert np.nanmax(y) >= inside.max()
        assert np.nanmin(y) <= inside.min()
    assert len(x) <= 2 * columns

    smooth = curve.smooth(0, steps[-1], 10**6, 9)[1]
    for index, mean in enumerate(smooth):
        window = expected[max(0, index - 4) : index + 5]
        finite = window[np.isfinite(window)]
        assert mean == pytest.approx(finite.mean(), abs=1e-9) if len(finite) else np.isnan(mean)


def test_adding_a_point_updates_sums_incrementally(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = history([1.0] * 100_000)
    curve = metrics.get_curve("loss")
    curve.thin(0, 100_000, 100)
    curve.smooth(0, 100_000, 100, 50)
    sizes: list[int] = []
    cumsum = np.cumsum
    monkeypatch.setattr(np, "cumsum", lambda values: sizes.append(len(values)) or cumsum(values))
    for step in range(100_001, 100_011):
        metrics.table.add(step, {"loss": 2.0})
        curve.thin(0, step, 100)
        curve.smooth(0, step, 100, 50)
    assert max(sizes) == 1


def test_only_long_curves_are_condensed_to_means() -> None:
    short = history([3.0, 2.0, 1.0]).get_curve("loss")
    assert short.condense(100) == [(1, 3.0), (2, 2.0), (3, 1.0)]
    long = history(np.linspace(3, 1, 10_000).tolist()).get_curve("loss").condense(100)
    assert len(long) == 100
    assert long[0][1] == pytest.approx(3.0, abs=0.02)
    assert long[-1] == (10_000, pytest.approx(1.0, abs=0.02))
    assert MetricHistory(MetricTable()).get_curve("loss").condense(5) == []
