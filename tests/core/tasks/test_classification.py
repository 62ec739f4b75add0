"""Figures of a classifier, against values calculated by hand."""

from __future__ import annotations

import pytest

from lora_studio.core.tasks.classification import ClassificationReport, weigh_classes

#: Actual a: 3 as a, 1 as b. Actual b: 2 as b, 2 as a. No row is c.
REPORT = ClassificationReport(
    labels=("a", "b", "c"), confusion=((0, 0, 3), (0, 1, 1), (1, 0, 2), (1, 1, 2))
)


def test_figures_equal_those_by_hand() -> None:
    a, b, c = REPORT.per_label
    assert (a.precision, a.recall, a.support) == (3 / 5, 3 / 4, 4)
    assert (b.precision, b.recall, b.support) == (2 / 3, 2 / 4, 4)
    assert a.f1 == pytest.approx(2 * 0.6 * 0.75 / (0.6 + 0.75))
    assert (c.precision, c.recall, c.f1, c.support) == (0, 0, 0, 0)
    assert REPORT.accuracy == 5 / 8
    assert REPORT.macro_f1 == pytest.approx((a.f1 + b.f1) / 2)  # c doesn't occur


def test_balanced_weights_have_a_mean_of_one() -> None:
    assert weigh_classes([3, 1, 0], "balanced") == [4 / 6, 2.0, 0.0]
    assert weigh_classes([3, 1, 0], "none") == [1.0, 1.0, 1.0]
