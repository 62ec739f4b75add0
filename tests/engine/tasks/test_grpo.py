"""GRPO: advantages, losses and gradients equal to TRL's, whatever the micro-batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.tasks.grpo import CLIP_RANGES, ClipRange, GrpoVariant
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.devices.ranks import ProcessGroup
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.lora import attach
from lora_studio.engine.model.loading import load_tokenizer
from lora_studio.engine.tasks.grpo import Grpo, SampledAnswer, compute_advantages
from lora_studio.engine.tokens.encoder import Encoded
from lora_studio.engine.training.trainer import Trainer
from tests.engine.conftest import TinyModel
from tests.engine.tasks.test_objectives import expect_gradients
from tests.helpers.models.trl_grpo import run_trl_grpo
from tests.helpers.runs.jobs import make_job

_VARIANTS: tuple[GrpoVariant, ...] = ("grpo", "dr_grpo", "dapo", "gspo")
#: The longest that an answer may be.
_LONGEST = 9


@pytest.fixture
def adapted(tiny: TinyModel) -> Callable[[], peft.PeftModel]:
    """Create a tiny 32-bit model with an adapter whose B matrices aren't zero."""

    def make() -> peft.PeftModel:
        base = AutoModelForCausalLM.from_pretrained(tiny("llama3"), dtype=torch.float32)
        torch.manual_seed(3)
        model = attach.attach_adapter(base, LoraSpec(rank=4), make_job())
        for name, value in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(value, std=0.05)
        return model.eval()

    return make


def create_answers(seed: int = 0) -> list[SampledAnswer]:
    """Return two prompts with three answers each, with random log-probabilities near the uniform ones."""
    generator = np.random.default_rng(seed)
    answers = []
    for _ in range(2):
        prompt = generator.integers(5, 400, 4)
        for length in (3, 9, 5):
            ids = np.concatenate([prompt, generator.integers(5, 400, length)]).astype(np.int32)
            sequence = Encoded(ids, np.arange(len(ids)) >= 4)
            near = [torch.tensor(generator.normal(-6.2, 0.3, length), dtype=torch.float32) for _ in range(2)]  # fmt: skip
            answers.append(SampledAnswer(sequence, float(generator.normal()), *near))
    return answers


def sum_loss(
    objective: Grpo, parts: list[list[SampledAnswer]]
) -> tuple[torch.Tensor, dict[str, float]]:
    """Return the loss and the metrics of a step, as the trainer computes them from micro-batches."""
    divisors = objective.count_divisors([row for part in parts for row in part])
    outputs = [objective.compute_loss(part) for part in parts]
    metrics = {
        name: float(sum(output.metrics[name] for output in outputs)) / divisors.get_for_metric(name)
        for name in outputs[0].metrics
    }
    return torch.stack([output.total for output in outputs]).sum() / divisors.loss, metrics


@pytest.mark.parametrize("variant", _VARIANTS)
def test_loss_depends_on_neither_batches_nor_shared_prompts(
    adapted: Callable[[], peft.PeftModel], variant: GrpoVariant
) -> None:
    answers, model = create_answers(), adapted()
    logprob_model = LogprobModel.create(model, sharing=True)
    objective = Grpo(logprob_model, variant, CLIP_RANGES[variant], kl_beta=0.1, longest=_LONGEST)
    results = []
    for logprob_model.shared, parts in (
        (False, [answers]),
        (True, [answers]),
        (True, [answers[:1], answers[1:4], answers[4:]]),
    ):
        model.zero_grad()
        loss, metrics = sum_loss(objective, parts)
        loss.backward()
        grads = [value.grad.clone() for value in model.parameters() if value.grad is not None]
        results.append((loss.detach(), metrics, grads))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-4, atol=1e-6)


def test_first_update_of_sampled_answers_has_ratio_one(
    adapted: Callable[[], peft.PeftModel],
) -> None:
    answers = [SampledAnswer(answer.sequence, answer.advantage) for answer in create_answers()]
    objective = Grpo(LogprobModel.create(adapted()), "grpo", ClipRange(0.2, 0.2))
    loss = objective.compute_loss(answers)
    expected = -sum(answer.advantage for answer in answers)
    assert float(loss.total.detach()) == pytest.approx(expected, abs=1e-5)
    assert float(loss.metrics["clip_share"]) == 0
    assert all(answer.old is not None for answer in answers)


def test_equal_rewards_and_missing_rewards_have_no_advantage() -> None:
    assert compute_advantages([0.1, 0.1, 0.1, None], "grpo") == [0.0, 0.0, 0.0, None]
    assert compute_advantages([0.4, None], "grpo") == [0.0, None]
    assert compute_advantages([None, None], "dr_grpo") == [None, None]
    assert compute_advantages([0.0, None, 2.0], "dr_grpo") == [-1.0, None, 1.0]


def test_log_probabilities_are_those_of_the_sampling_temperature(
    adapted: Callable[[], peft.PeftModel],
) -> None:
    logprob_model, answers = LogprobModel.create(adapted()), create_answers()[:1]
    sequence = answers[0].sequence
    ids = torch.from_numpy(sequence.ids.astype(np.int64))
    logits = logprob_model.model(input_ids=ids[None]).logits[0].detach()
    expected = (logits / 0.7).log_softmax(-1)[3:-1].gather(1, ids[4:, None])[:, 0]
    logprob_model.temperature = 0.7
    for head in (logprob_model._head, None):
        logprob_model._head = head
        answers[0].old = None
        Grpo(logprob_model, "grpo", ClipRange(0.2, 0.2)).compute_loss(answers)
        torch.testing.assert_close(answers[0].old, expected, rtol=1e-4, atol=1e-5)


def test_clip_range_is_the_authors_unless_set() -> None:
    spec = TrainingSpec.model_validate({"grpo_variant": "dapo"})
    assert spec.clip_range == ClipRange(0.2, 0.28)
    assert spec.model_copy(update={"clip_high": 0.5}).clip_range == ClipRange(0.2, 0.5)


def test_later_updates_compare_with_the_first(adapted: Callable[[], peft.PeftModel]) -> None:
    answers = [SampledAnswer(answer.sequence, answer.advantage) for answer in create_answers()]
    model = adapted()
    objective = Grpo(LogprobModel.create(model), "grpo", ClipRange(1e-3, 1e-3), kl_beta=0.1)
    objective.logprob_model.load_reference()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    objective.compute_loss(answers).total.backward()
    known = [(answer.old, answer.reference) for answer in answers]
    optimizer.step()
    later = objective.compute_loss(answers[::-1])
    assert float(later.metrics["clip_share"]) > 0
    for answer, (old, reference) in zip(answers, known, strict=True):
        assert answer.old is old
        assert answer.reference is reference


#: The same variants in TRL's words.
_TRL_SETTINGS: dict[GrpoVariant, dict[str, Any]] = {
    "grpo": {"loss_type": "grpo"},
    "dr_grpo": {"loss_type": "dr_grpo", "scale_rewards": "none"},
    "dapo": {"loss_type": "dapo", "mask_truncated_completions": True},
    "gspo": {"loss_type": "grpo", "importance_sampling_level": "sequence"},
}
#: The metrics of a step, and their names in TRL.
_TRL_METRICS = {
    "clip_share": "clip_ratio/region_mean",
    "clip_share_low": "clip_ratio/low_mean",
    "clip_share_high": "clip_ratio/high_mean",
    "kl": "kl",
}
#: Rewards of six answers: all different, and the same for all answers to the first prompt.
_REWARDS, _EQUAL = (0.0, 1.0, 0.3, 0.7, 0.2, 0.9), (0.1, 0.1, 0.1, 0.7, -2.0, 0.9)


@dataclass(frozen=True)
class _Case:
    """A variant with its settings, and the rewards of all answers."""

    variant: GrpoVariant
    beta: float = 0.0
    rewards: tuple[float, ...] = _REWARDS
    temperature: float = 1.0
    high: float | None = None

    @property
    def clip(self) -> ClipRange:
        """Return the clip range: the variant's own, or another upper end."""
        own = CLIP_RANGES[self.variant]
        return own if self.high is None else ClipRange(own.low, self.high)

    def compute_advantages(self) -> list[float]:
        """Return the advantage of each answer; three answer the same prompt."""
        groups = [compute_advantages(self.rewards[n : n + 3], self.variant) for n in (0, 3)]
        return [value for group in groups for value in group if value is not None]

    def to_trl(self) -> dict[str, Any]:
        """Return the same settings in TRL's words."""
        return _TRL_SETTINGS[self.variant] | {
            "beta": self.beta, "use_bias_correction_kl": False, "max_completion_length": _LONGEST,
            "epsilon": self.clip.low, "epsilon_high": self.clip.high, "rewards": self.rewards,
            "temperature": self.temperature,
        }  # fmt: skip


_CASES = [
    *(_Case(variant, beta) for variant in _VARIANTS for beta in (0.0, 0.2)),
    *(_Case(variant, 0.04, _EQUAL) for variant in _VARIANTS),
    *(_Case(variant, 0.04, temperature=0.7) for variant in _VARIANTS),
    *(_Case(variant, high=0.05) for variant in _VARIANTS),
]


def _compare(case: _Case, answers: list[SampledAnswer], eos: int) -> list[SampledAnswer]:
    """Return the answers that train, with their advantages: for DAPO, those that weren't cut."""
    return [
        SampledAnswer(answer.sequence, advantage, answer.old, answer.reference)
        for answer, advantage in zip(answers, case.compute_advantages(), strict=True)
        if case.variant != "dapo" or answer.sequence.ids[-1] == eos
    ]


@pytest.mark.slow
def test_grpo_losses_and_gradients_equal_trl(
    tiny: TinyModel, adapted: Callable[[], peft.PeftModel], tmp_path: Path
) -> None:
    adapted().merge_and_unload().save_pretrained(tmp_path / "merged")
    tokenizer = load_tokenizer(tiny("llama3"))
    tokenizer.save_pretrained(tmp_path / "merged")
    answers, eos = create_answers(), tokenizer.eos_token_id
    for answer in answers:
        if len(answer.sequence.ids) < 4 + _LONGEST:
            answer.sequence.ids[-1] = eos
    content: dict[str, Any] = {
        "variants": [case.to_trl() for case in _CASES],
        "group": 3,
        "prompts": [answer.sequence.ids[:4].tolist() for answer in answers],
        "answers": [answer.sequence.ids[4:].tolist() for answer in answers],
        "old": [answer.old.tolist() for answer in answers if answer.old is not None],
        "reference": [answer.reference.tolist() for answer in answers if answer.reference is not None],
    }  # fmt: skip
    expected = run_trl_grpo(content, tmp_path / "merged", tmp_path / "out")
    clipped: set[GrpoVariant] = set()
    for number, (case, trl) in enumerate(zip(_CASES, expected, strict=True)):
        rows = _compare(case, answers, eos)
        assert case.compute_advantages() == pytest.approx(trl["advantages"], abs=1e-5), case
        model = adapted()
        logprob_model = LogprobModel.create(model, sharing=True)
        logprob_model.temperature = case.temperature
        assert logprob_model.shared
        own = Grpo(logprob_model, case.variant, case.clip, kl_beta=case.beta, longest=_LONGEST)
        loss, metrics = sum_loss(own, [rows[:2], rows[2:]])
        assert float(loss.detach()) == pytest.approx(trl["loss"], rel=1e-4, abs=1e-6), case
        names = _TRL_METRICS if case.beta else _TRL_METRICS.keys() - {"kl"}
        expected_metrics = {name: trl["metrics"][_TRL_METRICS[name]] for name in names}
        assert metrics == pytest.approx(expected_metrics, rel=1e-4), case
        if 0 < metrics["clip_share_low"] < metrics["clip_share"] < 1 or case.variant == "gspo":
            clipped.add(case.variant)
        loss.backward()
        values = dict(model.named_parameters())
        file = tmp_path / "out" / f"{number}.safetensors"
        for name, gradient in expect_gradients(model, file).items():
            torch.testing.assert_close(
                values[name].grad, gradient, rtol=1e-4, atol=1e-5, msg=f"{case} {name}"
            )
    assert clipped == set(_VARIANTS), "ratios are clipped at both ends, but not all of them"


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.Adagrad])
@pytest.mark.filterwarnings("error")
def test_float16_step_of_equal_rewards_changes_nothing(optimizer: Any) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    trained: Any = SimpleNamespace(ranks=ProcessGroup(), optimizer=optimizer([weight], lr=0.1))
    trained.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=1)
    trained._is_scaled = lambda: Trainer._is_scaled(trained)
    trained.scaler.scale(0.0 * weight.sum()).backward()  # the test of the memory
    trained.optimizer.zero_grad()
    assert not trained._is_scaled()  # no answer trains
    Trainer.update_weights(trained)
    assert (trained.scaler.get_scale(), weight.tolist()) == (8.0, [1.0] * 3)
    trained.scaler.scale(weight.sum()).backward()
    Trainer.update_weights(trained)
    assert trained.scaler.get_scale() == 16.0
    assert weight.tolist() == pytest.approx([0.9] * 3, abs=0.01)
