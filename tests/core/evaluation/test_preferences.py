"""Preferences of a judge: counts, shares, intervals, and words."""

from __future__ import annotations

import pytest

from lora_studio.core.evaluation.preferences import Preference, count_judgments
from lora_studio.core.evaluation.results import Judgment


def test_a_later_judgment_of_a_pair_replaces_the_earlier() -> None:
    def make(item: str, winner: str | None) -> Judgment:
        return Judgment(item=item, first="base", second="adapter", winner=winner)

    rows = [
        make("1", None),
        make("1", "adapter"),
        make("2", "base"),
        make("3", ""),
        make("4", None),
    ]
    assert count_judgments(rows) == [Preference("adapter", "base", 1, 1, 1, 1)]


def test_a_tie_counts_half_and_widens_no_claim() -> None:
    only_ties = Preference("adapter", "base", ties=40)
    assert only_ties.share == 0.5
    assert only_ties.interval.low < 0.4
    assert only_ties.finding == "unclear"


@pytest.mark.parametrize(
    ("wins", "losses", "ties", "finding"),
    [(5, 0, 0, "too_few"), (30, 10, 5, "better"), (10, 30, 5, "worse"), (22, 18, 5, "unclear")],
)
def test_a_preference_is_claimed_only_if_shown(
    wins: int, losses: int, ties: int, finding: str
) -> None:
    assert Preference("adapter", "base", wins, losses, ties).finding == finding


def test_the_sentence_names_share_interval_and_counts() -> None:
    sentence = str(Preference("adapter", "base", 30, 10, 1).sentence)
    assert sentence == "Preferred in 74 % of 41 comparisons (59–85 %): 30 wins, 10 losses, 1 tie"
