"""Reward training: it raises the reward, resumes to the same curve, and trains around bad rewards."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.messages import text
from lora_studio.core.protocol import commands, events
from lora_studio.core.rewards import spec as spec_module
from lora_studio.core.rewards.spec import RatedAnswer
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import consent
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.devices.ranks import ProcessGroup
from lora_studio.engine.generation import group_sampling
from lora_studio.engine.generation.group_sampling import GroupSampling
from lora_studio.engine.rewards.failures import RewardFailure
from lora_studio.engine.rewards.registry import ScoredAnswers
from lora_studio.engine.runtime.channel import Flags
from lora_studio.engine.tokens.encoder import check_length
from lora_studio.engine.training import trainer
from lora_studio.engine.training.rollouts import RolloutReport, Rollouts
from tests.engine.conftest import TinyModel
from tests.helpers.runs.jobs import RecordingChannel, handle, make_job, new_run, train, write_rows

#: Every other prompt has a reference.
_ROWS = [
    {"prompt": f"What is {n} and {n}?", "reference": str(2 * n) if n % 2 else None, "level": n}
    for n in range(8)
]
#: Prefers answers with few letters.
_SHORT = {"kind": "length", "max_length": 5, "length_unit": "characters", "length_margin": 40}

Start = Callable[..., RunFolder]


@pytest.fixture
def start(tiny: TinyModel, tmp_path: Path) -> Start:
    """Create runs on a tiny model in 32-bit: 8 prompts, 2 of them in each step, with 4 answers each."""
    file = write_rows(tmp_path / "prompts.jsonl", _ROWS)

    def make(rewards: list[dict[str, Any]] = [_SHORT], **training: Any) -> RunFolder:  # noqa: B006
        recipe = {
            "epochs": 1, "micro_batch": 1, "gradient_accumulation": 2, "learning_rate": 1e-4,
            "group_size": 4, "rollout_tokens": 8, "rewards": rewards,
        } | training  # fmt: skip
        return new_run(
            tmp_path,
            model={"source": str(tiny("llama3")), "precision": "fp32", "device": "cpu"},
            dataset={"sources": [{"path": str(file), "format": "prompts"}], "validation_share": 0.0},
            training=recipe,
            lora={"rank": 4, "alpha": 8},
        )  # fmt: skip

    return make


def curve(channel: RecordingChannel) -> list[tuple[int, float, float]]:
    """Return step, loss and mean reward of each step."""
    steps = channel.of(events.StepDone)
    return [(step.step, step.loss, step.metrics["reward"]) for step in steps]


def test_reward_training_reports_rewards_and_answers(start: Start) -> None:
    channel = train(start(max_steps=2))
    assert channel.events[-1] == channel.last(events.Done)
    metrics = channel.last(events.StepDone).metrics
    assert {
        "reward", "reward_spread", "reward/length", "reward_spread/length", "answer_tokens", "cut_share",
        "equal_share", "failed_share",
    } <= set(metrics)  # fmt: skip
    assert "clip_share" not in metrics, "nothing can be clipped in the first update"
    rated = channel.last(events.AnswersRated)
    assert rated.best.reward >= rated.worst.reward
    assert rated.best.prompt.startswith("What is")


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["dr_grpo", "gspo"])
def test_clip_fraction_is_of_later_updates_and_kl_of_the_first(
    start: Start, monkeypatch: pytest.MonkeyPatch, variant: str
) -> None:
    updates: list[dict[str, float]] = []
    compute = trainer.Trainer.compute_gradients

    def record(*arguments: Any) -> Any:
        result = compute(*arguments)
        updates.append(result[2])
        return result

    monkeypatch.setattr(trainer.Trainer, "compute_gradients", record)
    run = start(
        max_steps=1, grpo_variant=variant, rollout_passes=3, learning_rate=0.05, kl_beta=0.1,
        clip_low=1e-3, clip_high=1e-3, warmup_share=0.0, schedule="constant",
    )  # fmt: skip
    metrics = train(run).last(events.StepDone).metrics
    assert [update["clip_share"] > 0 for update in updates] == [False, True, True]
    for name in ("clip_share", "clip_share_low", "clip_share_high"):
        assert metrics[name] == pytest.approx((updates[1][name] + updates[2][name]) / 2)
    assert metrics["kl"] == updates[0]["kl"] != updates[2]["kl"]
    # 8 answers of a step, of which each or each token has a ratio.
    ratios = 8 * (1 if variant == "gspo" else metrics["answer_tokens"])
    assert 2 * ratios * metrics["clip_share"] % 1 == pytest.approx(0, abs=1e-4)


def test_answers_that_train_nothing_count_as_not_clipped(start: Start) -> None:
    constant = {"kind": "length", "max_length": 1000}
    run = start([constant], max_steps=1, rollout_passes=2)
    metrics = train(run).last(events.StepDone).metrics
    assert (metrics["equal_share"], metrics["clip_share"]) == (1.0, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["grpo", "dr_grpo", "gspo"])
def test_mean_reward_rises(start: Start, variant: str) -> None:
    run = start(epochs=6, grpo_variant=variant, learning_rate=1e-2, group_size=8, rollout_passes=2)
    rewards = [reward for _, _, reward in curve(train(run))]
    assert sum(rewards[-4:]) > sum(rewards[:4]) + 0.1


@pytest.mark.slow
def test_paused_while_writing_it_resumes_to_the_same_curve(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"epochs": 1.0, "rollout_passes": 2, "learning_rate": 1e-3, "kl_beta": 0.1}
    whole = curve(train(start(**settings)))
    assert len(whole) == 4
    run, choose = start(**settings), group_sampling._choose
    requests: list[Flags] = []

    def note(event: events.Event, flags: Flags) -> None:
        if isinstance(event, events.StepDone) and event.step == 2:
            requests.append(flags)

    def pause_in_step_3(*arguments: Any) -> Any:
        for flags in requests:
            flags.pause.set()
        return choose(*arguments)

    monkeypatch.setattr(group_sampling, "_choose", pause_in_step_3)
    first = train(run, note)
    requests.clear()
    assert first.last(events.Done).paused
    assert [step for step, *_ in curve(first)] == [1, 2]
    assert curve(first) + curve(train(run, resume=True)) == whole


@pytest.mark.slow
def test_reward_that_fails_is_reported_and_trained_around(start: Start) -> None:
    channel = train(start([_SHORT, {"kind": "exact"}]))  # half of the prompts have no reference
    assert channel.events[-1] == channel.last(events.Done)
    shares = [step.metrics["failed_share"] for step in channel.of(events.StepDone)]
    assert sum(shares) / len(shares) == 0.5
    codes = [event.problem.code for event in channel.of(events.Warned)]
    assert codes.count("training.reward_failed") == 1


@pytest.mark.parametrize("is_sharded", [True, False])
def test_sharded_ranks_take_the_tokens_of_the_first(
    monkeypatch: pytest.MonkeyPatch, is_sharded: bool
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(
        group_sampling, "sample_groups", lambda *_, **named: given.update(named) or []
    )
    ranks = ProcessGroup(is_sharded=is_sharded)
    tuned: Any = SimpleNamespace(model=torch.nn.Identity(), base=SimpleNamespace(tokenizer=None))
    objective: Any = SimpleNamespace(logprob_model=SimpleNamespace(writes_directly=False))
    data: Any = SimpleNamespace(rewards=None, validation=[])
    rollouts = Rollouts(
        TrainingSpec(), tuned, data, objective, make_job(), ranks, nullcontext, nullcontext
    )
    assert rollouts._write_answers([], GroupSampling(2, 4, 8)) == []
    assert given["sync_tokens"] == (ranks.broadcast if is_sharded else list)


@pytest.mark.slow
def test_equal_rewards_train_nothing_and_are_reported(start: Start) -> None:
    run = start([{"kind": "length", "max_length": 1000}], epochs=2)
    channel = train(run)
    assert {step.loss for step in channel.of(events.StepDone)} == {0.0}
    assert {step.metrics["equal_share"] for step in channel.of(events.StepDone)} == {1.0}
    assert "training.rewards_equal" in [event.problem.code for event in channel.of(events.Warned)]


@pytest.mark.slow
def test_step_whose_answers_are_all_cut_trains_nothing(start: Start) -> None:
    channel = train(start(grpo_variant="dapo", rollout_tokens=2))
    assert channel.events[-1] == channel.last(events.Done)
    assert channel.last(events.StepDone).metrics["cut_share"] == 1
    assert "training.answers_cut" in [event.problem.code for event in channel.of(events.Warned)]


_BAD_CODE = """
import time

def fail(answer):
    raise ValueError("what a word")

def nan(answer):
    return float("nan")

def hang(answer):
    time.sleep(60)
"""

#: Rewards that have no value for any answer, and the reason that is reported.
_BAD = [
    ({"kind": "python", "function": "fail"}, "ValueError: what a word"),
    ({"kind": "python", "function": "nan"}, "must be a finite number"),
    ({"kind": "python", "function": "hang", "seconds": 0.5}, "longer than 0.5"),
    ({"kind": "judge", "server": "openai", "address": "http://127.0.0.1:9/v1", "model": "m"}, "127.0.0.1"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("bad", "reason"), _BAD, ids=["raises", "NaN", "hangs", "judge is away"])
def test_reward_without_values_ends_no_training(
    start: Start, tmp_path: Path, bad: dict[str, Any], reason: str
) -> None:
    if bad["kind"] == "python":
        code = tmp_path / "rate.py"
        code.write_text(_BAD_CODE)
        consent.trust(spec_module.find_code(code))
        bad = bad | {"code_file": str(code)}
    run = start([_SHORT, bad | {"name": "Broken"}], group_size=2, max_steps=2)
    channel = train(run)
    assert channel.events[-1] == channel.last(events.Done)
    steps = channel.of(events.StepDone)
    assert [step.metrics["failed_share"] for step in steps] == [1.0, 1.0]
    assert all("reward/length" in step.metrics for step in steps), "the other one has its curve"
    problems = {event.problem.code: str(event.problem.what) for event in channel.of(events.Warned)}
    assert "Broken" in problems["training.reward_failed"]
    assert reason in problems["training.reward_failed"]
    assert "training.rewards_missing" in problems
    assert run.has_adapter


@pytest.mark.slow
def test_prompt_without_room_is_left_out_of_a_training(start: Start, tmp_path: Path) -> None:
    rows = [
        {"prompt": "What is 1 and 1?"},
        {"prompt": "Say it. " * 400},
        {"prompt": "Who are you?"},
    ]
    write_rows(tmp_path / "prompts.jsonl", rows)
    channel = train(start(max_steps=2))
    assert channel.events[-1] == channel.last(events.Done)
    ready = channel.last(events.DatasetReady)
    assert ready.rows_train == 2
    prompts = {event.best.prompt for event in channel.of(events.AnswersRated)}
    assert prompts <= {"What is 1 and 1?", "Who are you?"}


def test_steps_without_any_reward_are_reported_as_such() -> None:
    channel, spec = RecordingChannel(), TrainingSpec(group_size=2)
    report, reason = RolloutReport(spec, make_job(channel)), text("Nothing.")
    rated = [RatedAnswer((), "a", None, {}, True, 1)] * 2
    failed = tuple(RewardFailure("exact", index, reason) for index in range(2))
    for step in range(1, 8):
        report.summarize(step, rated, ScoredAnswers([None] * 2, {"exact": [None] * 2}, failed), 1)
    problems = [event.problem for event in channel.of(events.Warned)]
    assert [each.code for each in problems] == [
        "training.reward_failed",
        "training.rewards_missing",
    ]
    assert (
        str(problems[0].what)
        == "The reward Exact match has no value for some completions: Nothing."
    )
    assert not channel.of(events.AnswersRated)


def test_prompt_without_room_for_an_answer_is_named() -> None:
    verdict = check_length(64, 64, DatasetSpec(max_length=64))
    assert "the prompt leaves no room for an answer" in str(verdict)
    assert "no part of an answer" in str(check_length(70, 64, DatasetSpec(max_length=64)))


def test_prompts_without_rewards_are_refused_before_training(start: Start) -> None:
    channel = train(start([]))
    assert channel.last(events.Failed).problem.code == "training.no_rewards"


def test_rewards_are_tried_on_the_base_model(start: Start) -> None:
    project = start(
        [_SHORT, {"kind": "regex", "pattern": "[0-9]{99}"}, {"kind": "exact"}]
    ).load_project()
    command = commands.PreviewRewards(
        model=project.model, dataset=project.dataset, training=project.training, rows=4
    )
    tried = handle(command).last(events.RewardsPreviewed)
    assert [set(answer.values) for answer in tried.answers] == [{"length", "regex", "exact"}] * 4
    texts = [str(problem.what) for problem in tried.problems]
    assert any("Regular expression is 0 for all completions" in sentence for sentence in texts)
    assert any("Exact match has no value for" in sentence for sentence in texts)
    assert any(answer.reward is None for answer in tried.answers)
