"""The demo that learns from rewards: its rows, and when the mean reward has risen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from lora_studio.cli import demo
from lora_studio.cli.console import Display
from lora_studio.core.chat import AdapterSpeaker
from lora_studio.core.evaluation.columns import Column
from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.metrics import create_metric
from lora_studio.core.evaluation.plan import EvaluationPlan
from lora_studio.core.evaluation.results import EvaluationFacts, EvaluationResults, ItemResult
from lora_studio.core.problems import ProblemError
from lora_studio.core.project import checks, project
from lora_studio.core.project.samples import copy_sample
from lora_studio.core.rewards.spec import RewardSpec
from lora_studio.core.tasks.samples import Message
from tests.helpers.scripts import load

REWARDS = (
    RewardSpec(kind="exact", weight=2.0),
    RewardSpec(kind="number", scale=3.0, highest=1.0),
)
RIGHT, NUMBER, WRONG = "1 + 1 = 2", "It is 2", "No idea"


def _evaluate(before: Sequence[str], after: Sequence[str]) -> EvaluationResults:
    """Return the results of an evaluation with these answers of the base and the tuned model."""
    columns = tuple(Column(key=key, model=AdapterSpeaker()) for key in (demo.BEFORE, demo.AFTER))
    results = EvaluationResults(Path(), EvaluationPlan(columns=columns), EvaluationFacts())
    metrics = [create_metric(name) for name in demo.list_metrics(REWARDS)]
    prompt = (Message(role="user", content="1 + 1 = ?"),)
    for number, answers in enumerate(zip(before, after, strict=True)):
        item = EvaluationItem(id=str(number), messages=prompt, reference=RIGHT)
        results.items.append(item)
        for column, answer in zip(columns, answers, strict=True):
            scores = {
                each.name: value
                for each in metrics
                if (value := each.score(item, answer)) is not None
            }
            row = ItemResult(item=item.id, column=column.key, answer=answer, scores=scores)
            results.answers[item.id, column.key] = row
    return results


def test_significant_rise_passes(capsys: pytest.CaptureFixture[str]) -> None:
    results = _evaluate([WRONG] * 6 + [NUMBER] * 6, [RIGHT] * 8 + [NUMBER] * 4)
    assert demo.compute_rewards(results, REWARDS, demo.BEFORE) == [0.0] * 6 + [1.0] * 6
    assert demo.report(results, REWARDS, Display())
    assert "12 held-out prompts: 0.50 before training, 2.33 after" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([WRONG] * 12, [WRONG] * 11 + [RIGHT]),  # a chance hit
        ([RIGHT] * 12, [NUMBER] * 12),  # a fall
        ([WRONG] * 4, [RIGHT] * 4),  # too few prompts
    ],
)
def test_missing_rise_is_a_problem(before: list[str], after: list[str]) -> None:
    with pytest.raises(ProblemError) as caught:
        demo.report(_evaluate(before, after), REWARDS, Display())
    assert caught.value.problems[0].code == "demo.no_rise"


@pytest.mark.parametrize(
    "changed", [RewardSpec(kind="length"), RewardSpec(kind="exact", answer_tag="answer")]
)
def test_rewards_without_a_metric_are_refused(changed: RewardSpec) -> None:
    with pytest.raises(ProblemError) as caught:
        demo.list_metrics([*REWARDS, changed])
    assert caught.value.problems[0].code == "demo.changed_rewards"


def test_held_out_sums_are_in_no_training_row(tmp_path: Path) -> None:
    folder = copy_sample("reward", tmp_path / "sample")
    files = {
        name: [json.loads(line) for line in (folder / name).read_text("utf-8").splitlines()]
        for name in ("sums.jsonl", "held_out.jsonl")
    }
    assert files == load("sample_sums").create_rows()
    trained, held_out = (
        {frozenset(row["reference"].partition(" =")[0].split()) for row in rows}
        for rows in files.values()
    )
    assert not trained & held_out
    draft = project.load(folder)
    assert checks.check(draft) == []
    assert demo.list_metrics(draft.freeze().training.rewards)
