"""Preference training: objectives on pairs of answers, and on answers that are labeled good or bad."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from lora_studio.core.problems import Where, fail
from lora_studio.core.tasks.preference import DpoLoss
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.devices.devices import copy_to_device
from lora_studio.engine.devices.oom_capture import fail_together
from lora_studio.engine.devices.ranks import DuplicateBatch, ProcessGroup
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.tasks.classification import (
    attach_head,
    compute_scores,
    has_place_for_head,
    require_plain_base,
)
from lora_studio.engine.tasks.task import Loss, Objective, ReferenceObjective, TaskTraining
from lora_studio.engine.tokens.batches import Batch, collate
from lora_studio.engine.tokens.encoder import Encoded, EncodedLabeled, EncodedPair


class PreferenceTraining(TaskTraining):
    """Learn from pairs of answers with the method of the recipe."""

    def create_objective(
        self,
        spec: TrainingSpec,
        logprob_model: LogprobModel,
        ranks: ProcessGroup,
        label_counts: Sequence[int],
    ) -> Objective:
        """Return the objective of the method."""
        match spec.preference:
            case "orpo":
                return Orpo(logprob_model, spec.beta)
            case "simpo":
                return Simpo(logprob_model, spec.simpo_beta, spec.simpo_gamma)
            case "reward":
                return RewardModeling(logprob_model)
        logprob_model.load_reference()
        return Dpo(logprob_model, spec.beta, spec.dpo_loss, spec.label_smoothing)

    def attach_head(self, spec: TrainingSpec, tuned: AdaptedModel, labels: Sequence[str]) -> None:
        """Add the head of a reward model, if the method trains one; raises ProblemError where it can't be added."""
        if spec.preference == "reward":
            attach_reward_head(tuned, spec.seed)


class LabeledAnswerTraining(TaskTraining):
    """Learn from answers that are labeled good or bad."""

    compares_neighbors: ClassVar[bool] = True

    def create_objective(
        self,
        spec: TrainingSpec,
        logprob_model: LogprobModel,
        ranks: ProcessGroup,
        label_counts: Sequence[int],
    ) -> Objective:
        """Return the objective; raises ProblemError for steps of a single row."""
        if spec.effective_batch < 2:
            raise fail(
                "training.kto_needs_two",
                "KTO needs at least two rows in each optimizer step.",
                "Increase the micro-batch size or the gradient accumulation.",
                where=Where(step="training", field="micro_batch"),
            )
        logprob_model.load_reference()
        return Kto(logprob_model, spec.beta, ranks)


class _Pairs(Objective):
    """Base of preference objectives: both answers of each pair, the chosen ones first."""

    def __init__(self, logprob_model: LogprobModel, beta: float = 1.0) -> None:
        super().__init__(logprob_model)
        self.beta = beta

    @staticmethod
    def collate_pairs(rows: Sequence[EncodedPair]) -> Batch:
        return collate([*(row.chosen for row in rows), *(row.rejected for row in rows)])


class Dpo(_Pairs, ReferenceObjective):
    """Direct preference optimization: a loss of both log ratios r = log π(y|x) − log π_ref(y|x).

    With h = β (r_w − r_l), y_w the chosen answer and y_l the rejected one:

    - sigmoid: −log σ(h). Rafailov et al. 2023, equation 7.
    - hinge: max(0, 1 − h). Liu et al. 2024 (RSO), who normalize the loss of Zhao et al. 2023 (SLiC-HF).
    - ipo: (r_w/|y_w| − r_l/|y_l| − 1/(2β))². Azar et al. 2024, equation 17, per token as in TRL's
      trainer, whose authors asked those of the paper.
    - robust: (−(1 − ε) log σ(h) + ε log σ(−h)) / (1 − 2ε), ε = `label_smoothing`, the share of
      swapped pairs. Ray Chowdhury et al. 2024 (arXiv 2403.00409).

    The reference is the model before training: without its adapter, or with the one that training
    started from; its values may be known already (`reference_logprobs.py`). `beta` keeps the model close
    to it; 0.1 is usual.
    """

    def __init__(
        self,
        logprob_model: LogprobModel,
        beta: float,
        loss_type: DpoLoss = "sigmoid",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(logprob_model, beta)
        self.loss_type, self.label_smoothing = loss_type, label_smoothing

    def compute_loss(self, rows: Sequence[EncodedPair]) -> Loss:
        """Return the loss, summed over pairs; the margin is h, whatever the type of the loss."""
        batch = self.collate_pairs(rows)
        known = _get_known_reference(rows)
        reference = (
            _score_reference(self.logprob_model, batch) if known is None else known.flatten()
        )
        sums = _sum_per_row(self.logprob_model(batch), batch)
        ratios = sums - copy_to_device(reference, sums.device)
        chosen, rejected = (self.beta * ratios).chunk(2)
        margin = chosen - rejected
        match self.loss_type:
            case "sigmoid":
                losses = -F.logsigmoid(margin)
            case "hinge":
                losses = F.relu(1 - margin)
            case "ipo":
                means = ratios / _count_trained(batch, ratios.device)
                chosen_mean, rejected_mean = means.chunk(2)
                losses = (chosen_mean - rejected_mean - 1 / (2 * self.beta)) ** 2
            case "robust":
                swapped = self.label_smoothing
                correct, wrong = F.logsigmoid(margin), F.logsigmoid(-margin)
                losses = (swapped * wrong - (1 - swapped) * correct) / (1 - 2 * swapped)
        return Loss(losses.sum(), _measure_margin(margin))

    def compute_reference(self, rows: Sequence[EncodedPair]) -> torch.Tensor:
        """Return the reference's log-probabilities, [rows, 2]: of the chosen and the rejected answer."""
        batch = self.collate_pairs(rows)
        return _score_reference(self.logprob_model, batch).view(2, -1).t()


class Orpo(_Pairs):
    """Odds-ratio preference optimization, without a reference model:

    −1/|y_w| log π(y_w|x) − λ log σ(log (odds(y_w|x) / odds(y_l|x))), odds = p / (1 − p), where p is
    the geometric mean of the answer's token probabilities. Hong et al. 2024 (arXiv 2403.07691), equations 4 to 7,
    where y_w is the answer and 1/|y_w| divides each answer by its own length. TRL's trainer of ORPO takes the
    first term over prompt and answer together, and as one mean over all tokens of a micro-batch, so that long
    rows count more. So losses differ from TRL's, although the second term is the same.
    """

    def compute_loss(self, rows: Sequence[EncodedPair]) -> Loss:
        """Return the loss in nats, summed over pairs; the margin is the difference of β log π(y|x)/|y|, as in TRL."""
        batch = self.collate_pairs(rows)
        sums = _sum_per_row(self.logprob_model(batch), batch)
        mean = sums / _count_trained(batch, sums.device)
        log_odds = mean - _log1mexp(mean)
        chosen, rejected = log_odds.chunk(2)
        likelihood = -mean[: len(rows)].sum()
        chosen_reward, rejected_reward = (self.beta * mean).chunk(2)
        return Loss(
            likelihood - self.beta * F.logsigmoid(chosen - rejected).sum(),
            _measure_margin(chosen_reward - rejected_reward) | {"nll": likelihood.detach()},
        )


class Simpo(_Pairs):
    """Simple preference optimization, without a reference model:

    −log σ(β (log π(y_w|x)/|y_w| − log π(y_l|x)/|y_l|) − γ). Meng et al. 2024, equation 6. TRL's trainer
    of CPO has it as `loss_type="simpo"` with `cpo_alpha=0`. `gamma` is the target margin.
    """

    def __init__(self, logprob_model: LogprobModel, beta: float, gamma: float) -> None:
        super().__init__(logprob_model, beta)
        self.gamma = gamma

    def compute_loss(self, rows: Sequence[EncodedPair]) -> Loss:
        """Return the loss in nats, summed over pairs; the margin is that before γ is subtracted."""
        batch = self.collate_pairs(rows)
        sums = _sum_per_row(self.logprob_model(batch), batch)
        chosen, rejected = (self.beta * sums / _count_trained(batch, sums.device)).chunk(2)
        margin = chosen - rejected
        return Loss(-F.logsigmoid(margin - self.gamma).sum(), _measure_margin(margin))


class RewardModeling(_Pairs):
    """Reward modeling: −log σ(r_w − r_l), r the score of the prompt with one of its answers.

    Bradley and Terry 1952; Ouyang et al. 2022, equation 1. The score is a linear layer over the hidden
    state of the last token, in 32-bit.
    """

    def compute_loss(self, rows: Sequence[EncodedPair]) -> Loss:
        """Return the loss in nats, summed over pairs."""
        scores = compute_scores(self.logprob_model, self.collate_pairs(rows))
        chosen, rejected = scores[:, 0].chunk(2)
        margin = chosen - rejected
        return Loss(-F.logsigmoid(margin).sum(), _measure_margin(margin))


def attach_reward_head(tuned: AdaptedModel, seed: int) -> None:
    """Add the head of a reward model, which trains with the adapter.

    Raises ProblemError for a model or an adapter that can't have one.
    """
    require_plain_base(tuned)
    if not has_place_for_head(tuned.base.model):
        raise fail(
            "training.reward_unsupported",
            "{architecture} can't be trained as a reward model.",
            "Choose another model, or another preference method.",
            where=Where(step="training", field="preference"),
            architecture=type(tuned.base.model).__name__,
        )
    attach_head(tuned, 1, seed)


class Kto(ReferenceObjective):
    """Kahneman-Tversky optimization of answers that are labeled good or bad:

    1 − σ(β (r − z)) for a good answer, 1 − σ(β (z − r)) for a bad one, r = log π(y|x) − log π_ref(y|x).
    z = max(0, mean of r over prompts with the answer of another row) has no gradient. Ethayarajh et al. 2024
    (arXiv 2402.01306), section 4.1, with both weights λ at 1.

    The paper and TRL's trainer pair the rows of a micro-batch with each other, and z is the mean over a
    micro-batch. Here z is the mean over an optimizer step, so the loss of a step doesn't depend on how it is split.
    Each prompt has the answer of the row before it in the dataset (`EncodedLabeled.mismatched`), the same in every
    epoch, so that its reference can be known already. As there, that row may have the same prompt.

    The accuracy is the share of answers on the right side of z: good ones with r > z, bad ones with r < z.
    TRL's trainer doesn't report one.
    """

    def __init__(
        self, logprob_model: LogprobModel, beta: float, ranks: ProcessGroup | None = None
    ) -> None:
        super().__init__(logprob_model)
        self.beta, self.ranks = beta, ranks or ProcessGroup()
        self._shift = 0.0

    @torch.no_grad()
    def prepare_step(self, micro_batches: Sequence[Sequence[EncodedLabeled]]) -> None:
        """Estimate z from all prompts of the step, each with the answer to another one.

        If the step has a single row, as at the end of an epoch, z is 0. Raises MemoryPressureError on
        every rank; with sharded weights, where ranks communicate meanwhile, only on the one that ran out.
        """
        count = sum(map(len, micro_batches))
        if count < 2:
            self._shift = 0.0
            return
        sums = []
        with fail_together(self.ranks):
            for part in self.ranks.get_local_batches(micro_batches):
                value = self._compute_rewards(_get_mismatched(part), part, 1).sum()
                if not isinstance(part, DuplicateBatch):
                    sums.append(value)
            # Read once: each value would wait for the device.
            local_sum = math.fsum(torch.stack(sums).cpu().tolist()) if sums else 0.0
        total = sum(self.ranks.all_gather(local_sum))
        self._shift = max(0.0, total / count)

    def compute_loss(self, rows: Sequence[EncodedLabeled]) -> Loss:
        """Return a loss between 0 and 1 for each answer, summed."""
        rewards = self._compute_rewards([row.answer for row in rows], rows, 0)
        good = copy_to_device(torch.tensor([row.label for row in rows]), rewards.device)
        margin = self.beta * (rewards - self._shift)
        margin = torch.where(good, margin, -margin)
        return Loss((1 - torch.sigmoid(margin)).sum(), {"accuracy": (margin > 0).sum().detach()})

    def compute_reference(self, rows: Sequence[EncodedLabeled]) -> torch.Tensor:
        """Return the reference's log-probabilities, [rows, 2]: of the answer and the mismatched one."""
        sequences = [row.answer for row in rows], _get_mismatched(rows)
        return torch.stack(
            [_score_reference(self.logprob_model, collate(part)) for part in sequences], 1
        )

    def _compute_rewards(
        self, answers: Sequence[Encoded], rows: Sequence[EncodedLabeled], side: int
    ) -> torch.Tensor:
        """Return log π(y|x) − log π_ref(y|x) of the rows' own answers (`side` 0) or of the mismatched ones, [rows]."""
        batch, known = collate(answers), _get_known_reference(rows)
        reference = _score_reference(self.logprob_model, batch) if known is None else known[side]
        sums = _sum_per_row(self.logprob_model(batch), batch)
        return sums - copy_to_device(reference, sums.device)


def _score_reference(logprob_model: LogprobModel, batch: Batch) -> torch.Tensor:
    """Return log π_ref(y|x) of each row, [rows]."""
    with torch.no_grad(), logprob_model.switch_to_reference():
        return _sum_per_row(logprob_model(batch), batch)


def _get_known_reference(
    rows: Sequence[EncodedPair] | Sequence[EncodedLabeled],
) -> torch.Tensor | None:
    """Return the reference's log-probabilities, [answers of a row, rows], if all rows carry them."""
    known = [row.reference for row in rows]
    return None if None in known else torch.tensor(known, dtype=torch.float32).t()


def _get_mismatched(rows: Sequence[EncodedLabeled]) -> list[Encoded]:
    """Return the prompts of rows with the answers of others."""
    sequences = [row.mismatched for row in rows if row.mismatched is not None]
    assert len(sequences) == len(rows)
    return sequences


def _sum_per_row(logprobs: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return log π(y|x) of each row's trained tokens, [rows]."""
    owners = copy_to_device(batch.owners, logprobs.device)
    return logprobs.new_zeros(len(batch.lengths)).index_add(0, owners, logprobs)


def _count_trained(batch: Batch, device: torch.device) -> torch.Tensor:
    """Return the number of trained tokens of each row, [rows]."""
    # On the CPU, where the rows are: counting on a GPU waits for it.
    counts = torch.bincount(batch.owners, minlength=len(batch.lengths))
    return copy_to_device(counts, device)


def _log1mexp(value: torch.Tensor) -> torch.Tensor:
    """Return log(1 − exp(value)) for value ≤ 0 without cancellation (Mächler 2012).

    Probabilities are capped one millionth below 1: above that, odds and their gradient are infinite
    in 32-bit.
    """
    value = value.clamp(max=-1e-6)
    return torch.where(
        value > -0.6931472, torch.log(-torch.expm1(value)), torch.log1p(-torch.exp(value))
    )


def _measure_margin(margin: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return how many pairs are in the right order, and the sum of their margins."""
    return {"accuracy": (margin > 0).sum().detach(), "margin": margin.sum().detach()}


def swap_answer(prompt: Encoded, answer: Encoded) -> Encoded:
    """Return the prompt of one row with the answer of another."""
    begin = int(np.argmax(prompt.trained))
    ids = np.concatenate([prompt.ids[:begin], answer.ids[answer.trained.nonzero()[0]]])
    mask = np.arange(len(ids)) >= begin
    return Encoded(ids, mask)
