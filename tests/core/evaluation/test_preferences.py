"""Preferences of a judge and of people: counts, shares, intervals, and words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lora_studio.core.chat import (
    AdapterChatModel,
    AnyChatModel,
    FolderChatModel,
    OllamaChatModel,
    get_chat_model_key,
)
from lora_studio.core.evaluation.columns import Column
from lora_studio.core.evaluation.plan import EvaluationPlan, JudgeSettings
from lora_studio.core.evaluation.preferences import Preference, count_judgments, count_votes
from lora_studio.core.evaluation.results import EvaluationFacts, EvaluationResults, Judgment
from lora_studio.core.playground import Vote
from lora_studio.core.runs.chat_models import create_adapter_chat_model


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
    columns = tuple(Column(key=key, model=AdapterChatModel()) for key in ("base", "adapter", "Q4"))
    judge = JudgeSettings(model=OllamaChatModel(name="judge:8b"))
    results = EvaluationResults(
        Path(), EvaluationPlan(columns=columns, judge=judge), EvaluationFacts(), judgments=rows
    )
    expected = [Preference("adapter", "base", 1, 1, 1, 1, judge="judge:8b")]
    assert count_judgments(results) == expected
    first = Judgment(item="1", first="base", second="Q4", winner="")  # its replies arrived first
    results.judgments.insert(0, first)
    assert [each.column for each in count_judgments(results)] == ["adapter", "Q4"]
    results.judgments.pop(0)
    stray = rows[0].model_copy(update={"second": "unknown"})  # of a changed file
    results.judgments.append(stray)
    assert count_judgments(results) == expected


def test_a_tie_counts_half_and_widens_no_claim() -> None:
    only_ties = Preference("adapter", "base", ties=40)
    assert only_ties.share == 0.5
    assert only_ties.interval.low < 0.4
    assert only_ties.finding == "unclear"


def test_ties_narrow_the_interval_as_a_bootstrap_does() -> None:
    preference = Preference("adapter", "base", 21, 6, 32)
    scores = np.repeat([1.0, 0.5, 0.0], [21, 32, 6])
    means = np.random.default_rng(0).choice(scores, (5000, len(scores))).mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    assert (preference.interval.low, preference.interval.high) == pytest.approx(
        (low, high), abs=0.01
    )
    assert preference.finding == "better"
    assert Preference("adapter", "base", 0, 6, 34).interval.low < 0.3


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
    assert sentence == "Preferred in 74 % of 41 comparisons (60–85 %): 30 wins, 10 losses, 1 tie"


def _vote(winner: int | None, *chat_models: AnyChatModel, old: bool = False) -> Vote:
    return Vote(
        prompt="?",
        names=tuple(get_chat_model_key(each) for each in chat_models),
        answers=("a",) * len(chat_models),
        winner=winner,
        chat_models=() if old else chat_models,
    )


def test_votes_count_between_the_models_that_are_columns() -> None:
    base, other = AdapterChatModel(), OllamaChatModel(name="other")
    adapter, merged = (
        create_adapter_chat_model("/runs/1/adapter"),
        FolderChatModel(folder="/runs/1/merged"),
    )
    columns = [
        Column(key=key, model=model)
        for key, model in (("base", base), ("adapter", adapter), ("merged", merged))
    ]
    votes = [
        _vote(1, base, adapter),
        _vote(0, base, adapter),
        _vote(None, adapter, base),
        _vote(2, base, merged, adapter),  # says nothing about base and merged
        _vote(0, other, adapter),  # not a column
        _vote(0, adapter, base, old=True),  # has the name of the merged model, too
    ]
    assert count_votes(columns, votes, "base") == [
        Preference("adapter", "base", 2, 1, 1),
        Preference("merged", "adapter", 0, 1, 0),
    ]
    assert count_votes(columns[:2], votes[-1:], "base") == [Preference("adapter", "base", 1)]
