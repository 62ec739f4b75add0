"""The summaries of the demos, which learn from rewards and from examples."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from itertools import chain, combinations
from pathlib import Path

import pytest
from rich.console import Console

from lora_studio.cli import demo, rewards
from lora_studio.cli.console import Display
from lora_studio.core.chat import AdapterChatModel
from lora_studio.core.evaluation.columns import Column
from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.metrics import create_metric
from lora_studio.core.evaluation.plan import EvaluationPlan
from lora_studio.core.evaluation.results import EvaluationFacts, EvaluationResults, ItemResult
from lora_studio.core.problems import ProblemError
from lora_studio.core.project import checks, project
from lora_studio.core.project.samples import copy_sample
from lora_studio.core.protocol import events
from lora_studio.core.protocol.training import PreviewAnswer, ShownAnswer
from lora_studio.core.rewards.spec import RewardSpec
from lora_studio.core.runs import folder
from lora_studio.core.tasks.samples import Message
from lora_studio.engine import cluster
from lora_studio.gui.pages.training.page import _format_line
from tests.helpers.scripts import load

REWARDS = (
    RewardSpec(kind="exact", weight=2.0),
    RewardSpec(kind="number", scale=3.0, highest=1.0),
)
RIGHT, NUMBER, WRONG = "1 + 1 = 2", "It is 2", "No idea"


def _evaluate(before: Sequence[str], after: Sequence[str]) -> EvaluationResults:
    """Return the results of an evaluation with these answers of the base and the tuned model."""
    columns = tuple(Column(key=key, model=AdapterChatModel()) for key in (demo.BEFORE, demo.AFTER))
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


def _tested(stage: str, top1: float) -> events.SelfTested:
    return events.SelfTested(
        stage=stage,
        conversations=4,
        positions=100,
        tokens_equal=True,
        top1=top1,
        kl=0.0,
        top1_limit=0.9,
        kl_limit=0.1,
        passed=True,
    )


def test_only_the_last_self_test_of_a_stage_is_listed(tmp_path: Path) -> None:
    draft = project.create(tmp_path / "p", "Sample", {})
    run = folder.create_run(tmp_path / "p" / "runs", draft.freeze(), tmp_path / "p")
    recorded = [_tested("merged", 0.97), _tested("merged", 1.0), _tested("Q8_0", 0.99)]
    run.events_file.write_text("".join(events.to_line(event) + "\n" for event in recorded))
    assert demo.list_self_tests(run) == recorded[1:]


#: What a step or an evaluation may lack: a reward may fail for all answers, KL may be off, …
_OPTIONAL = {
    "reward": 0.5, "reward_spread": 0.25, "reward/exact": 0.75, "kl": 0.125, "failed_share": 0.0,
}  # fmt: skip


def _list_metrics() -> Iterator[dict[str, float]]:
    """Yield the metrics of a step, whole, without each, and without all."""
    sizes = (0, len(_OPTIONAL) - 1, len(_OPTIONAL))
    for names in chain.from_iterable(combinations(_OPTIONAL, size) for size in sizes):
        yield {"cut_share": 0.5} | {name: _OPTIONAL[name] for name in names}


def _list_events(metrics: dict[str, float]) -> list[events.Event]:
    answer = ShownAnswer(prompt="", text="", reward=0.5)
    full = ShownAnswer(
        prompt="p", text="[b]x", reference="r", reward=1, values={"exact": 1.0}, ended=False
    )
    return [
        events.StepDone(
            id="t", step=1, steps=2, epoch=0.5, loss=0.0, learning_rate=1e-4, grad_norm=0.0, tokens=0,
            tokens_per_s=0.0, memory_bytes=1 << 30, metrics=metrics,
        ),
        events.Evaluated(id="t", step=1, loss=-0.5, metrics=metrics),
        events.AnswersRated(id="t", step=1, best=full, worst=answer),
        events.AnswersRated(id="t", step=1, best=answer, worst=answer),
        *(events.EndedEarly(id="t", step=3, evaluations=2, best_by=by) for by in ("loss", "score", "reward")),
        events.AdapterSaved(id="t", step=3, folder="adapter", bytes=1),
        events.AdapterSaved(id="t", step=3, folder="adapter", bytes=1, best_reward=0.0),
    ]  # fmt: skip


@pytest.mark.parametrize("metrics", list(_list_metrics()), ids=" ".join)
def test_every_event_is_shown_without_optional_figures(metrics: dict[str, float]) -> None:
    display, out = Display(), io.StringIO()
    display.console = display.notes = Console(file=out, width=300, force_terminal=False)
    for event in _list_events(metrics):
        display.show(event)
        cluster.describe(event)
        line = _format_line(event)
        assert "nan" not in line
        if isinstance(event, events.Evaluated) and "reward" in metrics:
            assert line == "step 1: eval reward 0.50"
    shown = out.getvalue()
    assert ("mean reward 0.5" in shown) == ("reward" in metrics)
    assert ("loss -0.5" in shown) == (not {"reward", "failed_share"} & set(metrics))  # fmt: skip
    assert "from step 3 with the highest mean reward, 0.0000" in shown
    assert "the mean reward didn't improve in 2 evaluations" in shown


def test_tried_rewards_have_their_names_as_titles() -> None:
    values = {"Right [form]": 1.0, "regex_2": None, "total": 2.0}
    answer = PreviewAnswer(prompt="1 + 1?", text="2", values=values, reward=3.0)
    console = Console(file=io.StringIO(), width=120)
    console.print(rewards._make_table(events.RewardsPreviewed(id="t", answers=(answer,)), 120))
    head, row = console.file.getvalue().splitlines()  # type: ignore[attr-defined]  # a StringIO
    assert " ".join(head.split()) == "Prompt Answer Right [form] Regular expression 2 total total"
    assert " ".join(row.split()) == "1 + 1? 2 1.00 – 2.00 3.00"
