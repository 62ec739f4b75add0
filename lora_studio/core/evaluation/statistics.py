"""Statistics of paired scores: intervals, tests, and how many rows a difference needs.

All functions take scores of the same rows in the same order, so that each row is its own control.
Scores are means of 0 to 1 unless said otherwise; higher is better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

#: Share of intervals that contain the true value.
LEVEL = 0.95
#: Probability with which a difference of the given size is found (Cohen's convention).
POWER = 0.8
#: Resamples of a bootstrap; Efron and Tibshirani (1993) recommend 1,000 or more for intervals.
RESAMPLES = 10_000
SEED = 0
#: Rows below which no difference is claimed: with fewer, an exact test finds almost nothing.
FEWEST_ROWS = 10
#: Standard deviation of the differences before any is known: right and wrong answers, a quarter of which change.
ASSUMED_DEVIATION = 0.5
#: More rows than this are not suggested to anyone.
_MOST_ROWS = 1_000_000
#: Bytes-bounding number of resampled values that are held at once.
_CHUNK = 2_000_000
#: Rows up to which all sign flips are enumerated instead of sampled.
_ENUMERATED = 12


@dataclass(frozen=True)
class Interval:
    """A confidence interval with both ends included."""

    low: float
    high: float

    def contains(self, value: float) -> bool:
        """Return whether the interval includes a value."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class PairedDifference:
    """How the scores of the same rows differ between two columns, `after` − `before`.

    `fixed` and `broken` count rows whose score rose or fell. `p_value` is that of McNemar's exact
    test if all scores are 0 or 1, otherwise of a permutation test of signs. `deviation` is the
    standard deviation of the differences.
    """

    rows: int
    before: float
    after: float
    interval: Interval
    p_value: float
    fixed: int
    broken: int
    deviation: float

    @property
    def change(self) -> float:
        """The mean difference."""
        return self.after - self.before

    @property
    def is_shown(self) -> bool:
        """Whether the rows show a difference: enough rows, and both interval and test exclude 0."""
        return (
            self.rows >= FEWEST_ROWS
            and not self.interval.contains(0.0)
            and self.p_value < 1 - LEVEL
        )

    @property
    def rows_needed(self) -> int | None:
        """The number of rows that would show a difference of this size, None if unknown.

        What these rows don't show needs at least (z₀.₉₇₅ + z₀.₈)²/z₀.₉₇₅² = 2.04 times as many: the exact
        tests of few rows ask for more than the formula does.
        """
        needed = compute_rows_needed(self.change, self.deviation)
        if needed is None or self.is_shown:
            return needed
        return max(needed, _round_up(self.rows * (_power_factor() / _get_quantile()) ** 2))

    @property
    def smallest_difference(self) -> float:
        """The smallest difference that this number of rows can be expected to show."""
        return compute_smallest_difference(self.rows, self.deviation)


def pair_scores(
    before: Sequence[float | None], after: Sequence[float | None]
) -> tuple[list[float], list[float]]:
    """Return the scores of those rows that both columns have a score for.

    Raises ValueError if the columns have different numbers of rows.
    """
    pairs = [
        (float(first), float(second))
        for first, second in zip(before, after, strict=True)
        if first is not None and second is not None
    ]
    return [first for first, _ in pairs], [second for _, second in pairs]


def compare(
    before: Sequence[float | None],
    after: Sequence[float | None],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> PairedDifference | None:
    """Return how two columns of scores differ, None without a row that both have a score for."""
    import numpy as np

    first, second = pair_scores(before, after)
    if not first:
        return None
    differences = np.asarray(second) - np.asarray(first)
    fixed, broken = int((differences > 0).sum()), int((differences < 0).sum())
    binary = _is_binary(first) and _is_binary(second)
    return PairedDifference(
        rows=len(first),
        before=float(np.mean(first)),
        after=float(np.mean(second)),
        interval=compute_paired_interval(first, second, resamples=resamples, seed=seed),
        p_value=mcnemar(fixed, broken) if binary else permute_signs(differences, seed=seed),
        fixed=fixed,
        broken=broken,
        deviation=float(np.std(differences, ddof=1)) if len(first) > 1 else 0.0,
    )


def compute_paired_interval(
    before: Sequence[float],
    after: Sequence[float],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Interval:
    """Return the 95 % percentile bootstrap interval of the mean difference, resampling rows.

    Where every row of 0 and 1 changed in the same way, resampling shows no spread at all; the exact
    binomial bound on the share of other rows replaces it. Source: Efron and Tibshirani, An
    Introduction to the Bootstrap (1993), section 13.3; Clopper and Pearson (1934).
    """
    import numpy as np

    differences = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    if _is_binary(before) and _is_binary(after) and np.ptp(differences) == 0:
        share = 1 - ((1 - LEVEL) / 2) ** (1 / len(differences))
        value = float(differences[0])
        return Interval(max(-1.0, value - share), min(1.0, value + share))
    return _bootstrap(differences, resamples, seed)


def compute_interval(
    scores: Sequence[float | None], *, resamples: int = RESAMPLES, seed: int = SEED
) -> Interval | None:
    """Return the 95 % interval of a mean score, None without scores.

    That of 0 and 1 is Wilson's (1927), which stays meaningful near 0 % and 100 %; all others are
    percentile bootstrap intervals.
    """
    import numpy as np

    known = [float(score) for score in scores if score is not None]
    if not known:
        return None
    if _is_binary(known):
        return compute_wilson_interval(sum(known) / len(known), len(known))
    return _bootstrap(np.asarray(known), resamples, seed)


def compute_wilson_interval(share: float, rows: float) -> Interval:
    """Return Wilson's (1927) 95 % score interval of a share of `rows` rows, or an effective number."""
    z = _get_quantile()
    center = share + z * z / (2 * rows)
    margin = z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    scale = 1 + z * z / rows
    low, high = (center - margin) / scale, (center + margin) / scale
    return Interval(max(0.0, low) if share else 0.0, min(1.0, high) if share < 1 else 1.0)


def mcnemar(fixed: int, broken: int) -> float:
    """Return the two-sided p-value of McNemar's exact test.

    `fixed` rows became right and `broken` rows became wrong. Under the null hypothesis, both are
    equally likely: p = min(1, 2·P(X ≤ min(fixed, broken))) with X ~ Binomial(fixed + broken, ½).
    Source: McNemar (1947); Agresti, Categorical Data Analysis, section 11.1.
    """
    total, fewer = fixed + broken, min(fixed, broken)
    if not total:
        return 1.0
    tail = sum(math.comb(total, count) for count in range(fewer + 1))
    return min(1.0, 2 * tail / 2**total) if total < 1000 else _approximate_mcnemar(fixed, broken)


def permute_signs(differences: Values | Sequence[float], *, seed: int = SEED) -> float:
    """Return the two-sided p-value of the paired permutation test of the mean.

    Under the null hypothesis, each difference is as likely to have the other sign. All 2ⁿ signs are
    tried for few rows, 10,000 random ones otherwise. Source: Good, Permutation Tests (2000), 3.1.
    """
    import numpy as np

    values = np.asarray(differences, dtype=np.float64)
    values = values[values != 0]
    if not len(values):
        return 1.0
    observed = abs(float(values.sum())) * (1 - 1e-12)  # ties must not depend on rounding
    if len(values) <= _ENUMERATED:
        masks = np.arange(2 ** len(values))[:, None] >> np.arange(len(values)) & 1
        return float((np.abs((1 - 2 * masks) @ values) >= observed).mean())
    generator, extreme = np.random.default_rng(seed), 0
    chunk = max(1, _CHUNK // len(values))
    for start in range(0, RESAMPLES, chunk):
        size = (min(chunk, RESAMPLES - start), len(values))
        signs = generator.integers(0, 2, size, dtype=np.int8) * 2 - 1
        extreme += int((np.abs(signs @ values) >= observed).sum())
    return (extreme + 1) / (RESAMPLES + 1)


def compute_smallest_difference(rows: int, deviation: float = ASSUMED_DEVIATION) -> float:
    """Return the smallest mean difference that `rows` paired rows show with 80 % probability.

    δ = (z₀.₉₇₅ + z₀.₈)·σ/√n, where σ is the standard deviation of the differences.
    Source: Cohen (1988), section 2.4.
    """
    return min(1.0, _power_factor() * deviation / math.sqrt(rows)) if rows else 1.0


def compute_rows_needed(difference: float, deviation: float) -> int | None:
    """Return the number of rows that show a mean difference with 80 % probability.

    n = ((z₀.₉₇₅ + z₀.₈)·σ/δ)², rounded up to two significant digits. None if the difference is 0 or
    too small for any realistic number of rows. Source: Cohen (1988), section 2.4.
    """
    if not difference or not deviation:
        return None
    rows = (_power_factor() * deviation / difference) ** 2
    if rows > _MOST_ROWS:
        return None
    return max(FEWEST_ROWS, _round_up(rows))


def _round_up(rows: float) -> int:
    """Return a number of rows, rounded up to two significant digits."""
    step: int = 10 ** max(0, math.floor(math.log10(max(1.0, rows))) - 1)
    return int(math.ceil(rows / step) * step)


def _get_quantile() -> float:
    return NormalDist().inv_cdf((1 + LEVEL) / 2)


def _power_factor() -> float:
    return _get_quantile() + NormalDist().inv_cdf(POWER)


def _is_binary(scores: Sequence[float]) -> bool:
    return all(score in (0.0, 1.0) for score in scores)


def _approximate_mcnemar(fixed: int, broken: int) -> float:
    """Return the p-value with the normal distribution, continuity-corrected, for many rows."""
    distance = max(0.0, abs(fixed - broken) - 1) / math.sqrt(fixed + broken)
    return min(1.0, math.erfc(distance / math.sqrt(2)))


def _bootstrap(values: Values, resamples: int, seed: int) -> Interval:
    """Return the percentile interval of the mean; values that recur are drawn by their counts."""
    import numpy as np

    generator = np.random.default_rng(seed)
    distinct, counts = np.unique(values, return_counts=True)
    if 4 * len(distinct) <= len(values):
        drawn = generator.multinomial(len(values), counts / len(values), resamples)
        means = drawn @ distinct / len(values)
    else:
        chunk = max(1, _CHUNK // len(values))
        means = np.concatenate([
            values[generator.integers(0, len(values), (min(chunk, resamples - start), len(values)))].mean(1)
            for start in range(0, resamples, chunk)
        ])  # fmt: skip
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
