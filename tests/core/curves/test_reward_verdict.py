"""Reward training: the verdict from its mean rewards, and its name and sign wherever it is recorded."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from lora_studio.core.curves.metrics import build_series
from lora_studio.core.curves.verdict import Kind, Point, judge_rewards
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs import table
from lora_studio.core.runs.grid_search import GridTable
from lora_studio.core.runs.index import RunSummary
from lora_studio.core.runs.model_card import CardFacts, build_card
from lora_studio.core.runs.state import RunState


def curve(start: float, end: float, rate: float, noise: float, steps: int = 60) -> list[Point]:
    """Return an exponential approach from `start` to `end` with seeded noise."""
    draw = random.Random(1)
    return [
        (step, end + (start - end) * math.exp(-rate * step / steps) + draw.gauss(0, noise))
        for step in range(1, steps + 1)
    ]


def evaluated(step: int, reward: float | None) -> events.Evaluated:
    """Return an evaluation of reward training."""
    metrics = {"failed_share": 0.0} | ({} if reward is None else {"reward": reward})
    loss = math.nan if reward is None else -reward
    return events.Evaluated(id="t", step=step, loss=loss, metrics=metrics)


@pytest.mark.parametrize(
    ("rewards", "kind"),
    [
        (curve(-0.5, 0.8, 12, 0.05), "improved"),
        (curve(0.1, 0.8, 1, 0.02), "still_falling"),
        (curve(0.4, 0.4, 1, 0.1), "not_learning"),
        (curve(1.0, 1.0, 1, 0.0), "not_learning"),
        (curve(0.5, -1.5, 5, 0.1), "diverged"),
        ([(step, math.nan) for step in range(60)], "too_short"),
    ],
)
def test_verdict_follows_the_mean_reward(rewards: list[Point], kind: Kind) -> None:
    assert judge_rewards(rewards).kind == kind


def test_verdict_names_the_rewards_of_validation_prompts() -> None:
    verdict = judge_rewards(curve(-0.5, 0.8, 12, 0.0), [(1, 0.25), (30, math.nan), (60, 0.75)])
    assert str(verdict.what).startswith("Mean reward rose -")
    assert str(verdict.what).endswith("On validation prompts: 0.25 → 0.75.")


def test_evaluations_have_a_reward_and_no_loss() -> None:
    stream = [evaluated(1, 0.25), evaluated(2, 0.75), evaluated(3, None), evaluated(4, 0.5)]
    series = build_series(stream)
    assert "eval_loss" not in series.list_columns()
    assert series.evaluations.get("reward") == {1: 0.25, 2: 0.75, 4: 0.5}
    progress = RunState()
    for event in stream:
        progress.on_event(event)
    assert (progress.best_eval, progress.best_reward) == (None, 0.75)


def test_tables_show_the_best_reward() -> None:
    low, high = RunSummary("a", best_reward=-0.5), RunSummary("b", best_reward=0.25)
    assert (table.format_cell(high, "reward"), table.format_cell(high, "eval")) == ("0.25", "")
    grid = GridTable("g", ("lora.rank",), [8, 16], [None], [[low], [high]])
    assert grid.is_by_reward
    assert (grid.best, grid.share(low), grid.share(high)) == (high, 1.0, 0.0)


def test_model_card_has_the_mean_reward(tmp_path: Path) -> None:
    project = Project(name="x")
    stream = [evaluated(1, 0.25), evaluated(2, None), evaluated(3, 0.75), evaluated(4, 0.5)]
    card = build_card("adapter", "me/x", CardFacts(project, {}, stream, {}))
    assert "held-out prompts: 0.2500 at step 1, 0.5000 at the end, best 0.7500 at step 3." in card
    assert "| Step | Mean reward |" in card
    assert "nan" not in card


def test_model_card_says_how_new_tokens_are_loaded() -> None:
    lines = []
    for tokens in ((), ("<lamp>",)):
        project = Project(name="x", lora=LoraSpec(new_tokens=tokens))
        card = build_card("adapter", "me/x", CardFacts(project, {}, (), {}))
        lines.append("resize_token_embeddings(len(tokenizer))" in card)
    assert lines == [False, True]
