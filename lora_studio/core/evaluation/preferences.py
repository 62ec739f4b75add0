"""How often the answers of one model were preferred to those of another: by a judge, and by people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from lora_studio.core import formatting
from lora_studio.core.evaluation import statistics
from lora_studio.core.evaluation.results import Judgment
from lora_studio.core.evaluation.statistics import Interval
from lora_studio.core.messages import Text, counted, text

PreferenceFinding = Literal["better", "worse", "unclear", "too_few"]


@dataclass(frozen=True)
class Preference:
    """The comparisons of a column with a baseline: `wins` are those that the column won.

    `unknown` comparisons named no winner and count nowhere.
    """

    column: str
    baseline: str
    wins: int = 0
    losses: int = 0
    ties: int = 0
    unknown: int = 0

    @property
    def compared(self) -> int:
        """The number of comparisons with a result."""
        return self.wins + self.losses + self.ties

    @property
    def share(self) -> float:
        """The share of comparisons in which the column was preferred; a tie counts half."""
        return (self.wins + self.ties / 2) / self.compared if self.compared else 0.5

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the share: Wilson's (1927) for as many wins and losses without ties.

        Ties vary less than wins and losses with the same share, so the interval is never too narrow.
        """
        if not self.compared:
            return Interval(0.0, 1.0)
        return statistics.compute_wilson_interval(self.share, self.compared)

    @property
    def finding(self) -> PreferenceFinding:
        """What the comparisons show, by the interval and by the sign test of wins and losses."""
        if self.compared < statistics.FEWEST_ROWS:
            return "too_few"
        p_value = statistics.mcnemar(self.wins, self.losses)
        if self.interval.contains(0.5) or p_value >= 1 - statistics.LEVEL:
            return "unclear"
        return "better" if self.share > 0.5 else "worse"

    @property
    def sentence(self) -> Text:
        """The result in words; the reader knows who is compared with whom."""
        if not self.compared:
            return text("No comparison has a result")
        low, high = (formatting.format_float(100 * end, ".0f") for end in (self.interval.low, self.interval.high))  # fmt: skip
        return text(
            "Preferred in {share} of {comparisons} ({low}–{high} %): {wins}, {losses}, {ties}",
            share=f"{formatting.format_float(100 * self.share, '.0f')} %",
            comparisons=counted(self.compared, "{n} comparison", "{n} comparisons"),
            low=low,
            high=high,
            wins=counted(self.wins, "{n} win", "{n} wins"),
            losses=counted(self.losses, "{n} loss", "{n} losses"),
            ties=counted(self.ties, "{n} tie", "{n} ties"),
        )

    def add(self, winner: str | None) -> Preference:
        """Return this with one more comparison, which `winner` won; "" is a tie, None unknown."""
        if winner is None:
            return replace(self, unknown=self.unknown + 1)
        if winner == self.column:
            return replace(self, wins=self.wins + 1)
        if winner == self.baseline:
            return replace(self, losses=self.losses + 1)
        return replace(self, ties=self.ties + 1)


def count_judgments(judgments: Iterable[Judgment]) -> list[Preference]:
    """Return the preferences of a judge for each pair of columns; a later judgment replaces an earlier one."""
    latest = {(each.second, each.first, each.item): each for each in judgments}
    return _count((second, first, each.winner) for (second, first, _), each in latest.items())


def _count(comparisons: Iterable[tuple[str, str, str | None]]) -> list[Preference]:
    """Return a preference for each pair of a column and its baseline, in order of appearance."""
    counts: dict[tuple[str, str], Preference] = {}
    for column, baseline, winner in comparisons:
        before = counts.get((column, baseline)) or Preference(column, baseline)
        counts[column, baseline] = before.add(winner)
    return list(counts.values())
