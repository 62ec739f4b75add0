"""The training monitor on synthetic curves, and the changes that it suggests."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from typing import Any

import pytest

from lora_studio.core.curves.verdict import (
    Kind,
    RecipeFacts,
    TrainingMonitor,
    TrainingVerdict,
    judge,
    suggest_fixes,
)
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.messages import NO_TEXT
from lora_studio.core.project import checks
from lora_studio.core.project.project import Draft
from lora_studio.core.protocol.events import Evaluated, StepDone
from lora_studio.core.training.spec import TrainingSpec


def step(number: int, loss: float, *, planned: int = 400, norm: float = 1.0) -> StepDone:
    return StepDone(
        step=number, steps=planned, epoch=0.0, loss=loss, learning_rate=1e-4, grad_norm=norm,
        tokens=1, tokens_per_s=1.0, memory_bytes=1,
    )  # fmt: skip


def watched(
    losses: Iterable[float], evaluations: dict[int, float] | None = None
) -> TrainingMonitor:
    watch = TrainingMonitor()
    for number, loss in enumerate(losses, start=1):
        watch.on_event(step(number, loss))
        if evaluations and number in evaluations:
            watch.on_event(Evaluated(step=number, loss=evaluations[number]))
    return watch


def kind_of(watch: TrainingMonitor) -> Kind | None:
    verdict = watch.get_verdict()
    return verdict.kind if verdict else None


def falling(count: int, seed: int = 1, noise: float = 0.1) -> list[float]:
    draw = random.Random(seed)
    return [1.2 + 1.2 * math.exp(-n / 40) + draw.gauss(0, noise) for n in range(count)]


@pytest.mark.parametrize("seed", range(20))
def test_learning_training_gets_no_warning(seed: int) -> None:
    watch = TrainingMonitor()
    draw = random.Random(seed)
    for number, loss in enumerate(falling(400, seed, 0.15), start=1):
        watch.on_event(step(number, loss, norm=draw.uniform(0.1, 3)))
        if number % 50 == 0:
            watch.on_event(Evaluated(step=number, loss=1.3 + math.exp(-number / 60)))
        assert kind_of(watch) is None, f"at step {number}: {watch.get_verdict()}"


@pytest.mark.parametrize("seed", range(10))
def test_small_noisy_preference_loss_is_not_divergence(seed: int) -> None:
    draw = random.Random(seed)
    losses = [0.1 + 0.59 * math.exp(-n / 30) + abs(draw.gauss(0, 0.05)) for n in range(300)]
    assert kind_of(watched(losses)) is None


def test_loss_of_training_on_rewards_is_not_judged() -> None:
    watch = TrainingMonitor()
    for number in range(1, 200):
        done = step(number, 1e-8 * number, norm=0.0)
        watch.on_event(done.model_copy(update={"metrics": {"reward": 0.5}}))
    assert kind_of(watch) is None
    assert watch.has_rewards


def test_rising_loss_is_diverging_until_it_recovers() -> None:
    watch = watched(falling(80))
    number = 80
    while kind_of(watch) is None:
        number += 1
        watch.on_event(step(number, 2.6))
        assert number < 110, "detected too late"
    verdict = watch.get_verdict()
    assert verdict is not None
    assert verdict.kind == "diverged"
    assert "The loss is rising: from 1." in str(verdict.what)
    for again in range(number + 1, number + 60):
        watch.on_event(step(again, 1.3))
    assert kind_of(watch) is None


def test_loss_rising_from_the_start_is_diverging() -> None:
    assert kind_of(watched([2.0 + 0.1 * n for n in range(40)])) == "diverged"
    assert kind_of(watched([2.0, 1.9, math.nan])) == "diverged"


def test_zero_gradient_is_reported_after_five_steps() -> None:
    watch = watched([2.0] * 3)
    for number in range(4, 8):
        watch.on_event(step(number, 2.0, norm=0.0))
        assert kind_of(watch) is None
    watch.on_event(step(8, 2.0, norm=0.0))
    assert kind_of(watch) == "zero_gradient"
    watch.on_event(step(9, 2.0, norm=0.1))
    assert kind_of(watch) is None


def test_two_evaluations_above_the_best_are_overfitting() -> None:
    losses = falling(300)
    turned = {50: 1.6, 100: 1.4, 150: 1.5, 200: 1.6}
    verdict = watched(losses, turned).get_verdict()
    assert verdict is not None
    assert (verdict.kind, verdict.best_step) == ("overfitting", 100)
    assert kind_of(watched(losses, {50: 1.6, 100: 1.4, 150: 1.5})) is None
    assert kind_of(watched(losses, {50: 1.6, 100: 1.4, 150: 1.5, 200: 1.39})) is None


def test_flat_loss_is_not_learning_well_after_warmup() -> None:
    draw = random.Random(3)
    flat = [2.0 + draw.gauss(0, 0.02) for _ in range(200)]
    assert kind_of(watched(flat[:110])) is None  # of 400 planned
    assert kind_of(watched(flat[:130])) == "not_learning"


def test_resumed_training_replaces_repeated_evaluations() -> None:
    watch = watched(falling(200), {50: 1.6, 100: 1.4, 150: 1.5})
    watch.on_event(Evaluated(step=100, loss=1.4))
    watch.on_event(Evaluated(step=150, loss=1.5))
    assert kind_of(watch) is None
    watch.on_event(Evaluated(step=200, loss=1.6))
    assert kind_of(watch) == "overfitting"


def test_eval_loss_rising_from_the_start_is_overfitting() -> None:
    losses = [(number, loss) for number, loss in enumerate(falling(90), start=1)]
    assert judge(losses, [(30, 1.3), (60, 1.5), (90, 1.8)]).kind == "overfitting"
    flat = [(number, 2.0) for number in range(90)]
    assert judge(flat, [(30, 1.3), (60, 1.5), (90, 1.8)]).kind == "not_learning"


# --- what to change ---------------------------------------------------------------------------


def _verdict(kind: Kind, best_step: int = 0) -> TrainingVerdict:
    return TrainingVerdict(kind, NO_TEXT, NO_TEXT, best_step)


def labels(kind: Kind, best_step: int = 0, lora: dict[str, Any] | None = None, **training: Any) -> list[str]:  # fmt: skip
    recipe = RecipeFacts(TrainingSpec(**training), LoraSpec(**(lora or {})), steps_per_epoch=40)
    return [str(fix.label) for fix in suggest_fixes(_verdict(kind, best_step), recipe)]


def test_verdict_has_its_usual_advice() -> None:
    assert labels("diverged") == ["Learning rate 7e-5", "Warm up over 10 % of the steps"]
    assert labels("diverged", max_grad_norm=0.0, warmup_steps=9) == ["Learning rate 7e-5", "Clip gradients at 1"]  # fmt: skip
    assert labels("overfitting", 62) == ["Train for 1.5 epochs", "Dropout 0.1", "Rank 8"]
    assert labels("overfitting", 5, {"dropout": 0.1, "rank": 8}, keep_best=False) == ["Train for 0.5 epochs", "Keep the best adapter"]  # fmt: skip
    assert labels("not_learning") == ["Learning rate 6e-4", "Rank 32"]
    assert labels("not_learning", 0, {"targets": "attention", "rank": 128}, learning_rate=4e-3) == ["Adapt all linear layers"]  # fmt: skip
    assert labels("zero_gradient", 0, {"targets": "names", "target_names": ("v",), "blocks": "0"}) == ["Adapt all linear layers", "Adapt all blocks"]  # fmt: skip
    assert labels("still_falling") == ["Train for 6 epochs"]
    assert labels("still_falling", max_steps=60) == ["Train for 120 steps"]
    assert labels("improved") == labels("too_short") == []


@pytest.mark.parametrize(
    "kind", ["diverged", "overfitting", "not_learning", "zero_gradient", "still_falling"]
)
def test_proposed_changes_are_valid_and_differ_from_current(kind: Kind) -> None:
    draft = Draft()
    before = {"training": TrainingSpec(), "lora": LoraSpec(targets="attention")}
    recipe = RecipeFacts(TrainingSpec(), LoraSpec(targets="attention"), 40)
    fixes = suggest_fixes(_verdict(kind, 60), recipe)
    assert fixes
    for fix in fixes:
        for section, name, value in fix.changes:
            assert getattr(before[section], name) != value
            draft.set(section, name, value)
    assert draft.list_problems() == []
    assert not [item for item in checks.check(draft) if item.where.step in ("lora", "training")]
