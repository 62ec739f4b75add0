"""The training verdict: each kind from a matching curve, none from noise."""

from __future__ import annotations

import math
import random

import pytest

from lora_studio.core.curves.verdict import Kind, Point, judge


def curve(steps: int, start: float, end: float, rate: float, noise: float = 0.0) -> list[Point]:
    """Return an exponential decay from `start` to `end` with seeded noise."""
    draw = random.Random(1)
    return [
        (step, end + (start - end) * math.exp(-rate * step / steps) + draw.gauss(0, noise))
        for step in range(1, steps + 1)
    ]


CASES: list[tuple[str, Kind, list[Point], list[Point]]] = [
    ("settled", "improved", curve(300, 2.4, 1.2, 12, 0.08), []),
    ("straight down", "still_falling", curve(300, 2.4, 0.8, 1, 0.05), []),
    ("flat and noisy", "not_learning", curve(300, 2.0, 2.0, 1, 0.1), []),
    ("rising", "diverged", curve(100, 2.0, 9.0, 5), []),
    ("not a number", "diverged", [*curve(50, 2.0, 1.5, 2), (51, math.nan)], []),
    ("infinite eval", "diverged", curve(50, 2.0, 1.5, 2), [(25, 1.8), (50, math.inf)]),
    ("three steps", "too_short", curve(3, 2.0, 1.9, 1), []),
    ("one step", "too_short", curve(1, 2.0, 1.9, 1), []),
    ("eval settles", "improved", curve(60, 2, 1, 9), [(20, 1.92), (40, 1.32), (60, 1.31)]),
    ("eval falls", "still_falling", curve(60, 2, 1, 9), [(20, 1.92), (40, 1.55), (60, 1.31)]),
    (
        "eval falls in small steps",
        "still_falling",
        curve(21, 6.4, 6.1, 1),
        [(5, 6.40), (10, 6.31), (15, 6.21), (20, 6.11)],
    ),
    (
        "eval bounces",
        "improved",
        curve(60, 2, 1, 9),
        [(20, 1.92), (40, 1.30), (50, 1.33), (60, 1.305)],
    ),
    ("eval turns", "overfitting", curve(60, 2, 0.2, 4), [(20, 1.9), (40, 1.31), (60, 1.52)]),
    ("eval flat", "not_learning", curve(60, 2, 0.2, 4), [(20, 1.9), (40, 1.9), (60, 1.89)]),
    ("few steps, two evals", "still_falling", curve(4, 2, 1, 2), [(0, 2.1), (4, 1.4)]),
]


@pytest.mark.parametrize(("name", "kind", "losses", "evals"), CASES, ids=[c[0] for c in CASES])
def test_verdict_follows_the_shape_of_the_curves(
    name: str, kind: Kind, losses: list[Point], evals: list[Point]
) -> None:
    verdict = judge(losses, evals)
    assert verdict.kind == kind, f"{name}: {verdict}"
    assert verdict.is_good == (kind in ("improved", "still_falling"))


def test_loss_leveled_off_only_where_it_would_show_otherwise() -> None:
    """Few noisy steps can't tell a loss that still falls from one that doesn't."""
    settled, noisy = curve(300, 2.4, 1.2, 12, 0.02), curve(15, 0.693, 0.62, 2, 0.02)
    says = [judge(losses).what.template for losses in (settled, noisy)]
    assert ["leveled off" in template for template in says] == [True, False]
    says = [judge(settled, evals).what.template for evals in ([(10, 1.4), (20, 1.1)], [(10, 1.4), (20, 1.1), (30, 1.1)])]  # fmt: skip
    assert ["leveled off" in template for template in says] == [False, True]


def test_verdict_text_names_the_losses() -> None:
    verdict = judge(curve(60, 2, 1, 9), [(20, 1.92), (40, 1.55), (60, 1.31)])
    assert str(verdict.what) == "Eval loss fell 1.92 → 1.31 and was still falling."
    assert "Train longer" in str(verdict.advice)


def test_overfitting_names_the_step_with_the_lowest_eval_loss() -> None:
    verdict = judge(curve(60, 2, 0.2, 4), [(20, 1.9), (40, 1.31), (60, 1.52)])
    assert "at step 40 (1.31)" in str(verdict.what)
    assert "1.52" in str(verdict.what)


@pytest.mark.parametrize("seed", range(20))
def test_noise_around_a_settled_loss_is_not_still_falling(seed: int) -> None:
    draw = random.Random(seed)
    losses = [(step, 2.0 * math.exp(-step / 8) + 1.2 + draw.gauss(0, 0.15)) for step in range(240)]
    assert judge(losses).kind == "improved"


def test_empty_curve_is_too_short() -> None:
    assert judge([]).kind == "too_short"
