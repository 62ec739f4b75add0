"""What training makes small: one class per objective, the formula and its source above each.

All stand on `Scorer`: log π(x_t | x_<t) of the trained tokens. Every loss is a sum over a micro-batch;
the loop divides it by `weight`, summed over the whole optimizer step, so that it is a mean however
many micro-batches a step has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from lora_studio.core.dataset.spec import Task
from lora_studio.core.problems import Where, fail
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.dataset.batches import Batch, collate
from lora_studio.engine.tokens.encoder import Encoded, EncodedLabelled, EncodedPair
from lora_studio.engine.training.distributed.ranks import DuplicateBatch, ProcessGroup
from lora_studio.engine.training.kernels.logprobs import Scorer
from lora_studio.engine.training.memory import ladder


@dataclass
class Loss:
    """Summed over a micro-batch: what is made small, and figures worth showing (sums as well)."""

    total: torch.Tensor
    figures: dict[str, torch.Tensor] = field(default_factory=dict)


class Objective(Protocol):
    """One way to train on rows of one kind."""

    def weight(self, rows: Sequence[Any]) -> int:
        """What the loss of these rows is the sum over: trained tokens, pairs or answers."""
        ...

    def begin(self, micro_batches: Sequence[Sequence[Any]]) -> None:
        """Takes what has to be known of a whole optimizer step beforehand."""
        ...

    def loss(self, rows: Sequence[Any]) -> Loss:
        """The loss of one micro-batch, with gradients where they are enabled."""
        ...


def make(
    spec: TrainingSpec, task: Task, scorer: Scorer, ranks: ProcessGroup | None = None
) -> Objective:
    """The objective of a project; raises ProblemError for a batch too small for it."""
    match task:
        case "preference" if spec.preference == "orpo":
            return Orpo(scorer, spec.beta)
        case "preference":
            scorer.keep_reference()
            return Dpo(scorer, spec.beta)
        case "kto":
            if spec.effective_batch < 2:
                raise fail(
                    "training.kto_needs_two",
                    "Training on labelled answers compares each with another one of its step.",
                    "Raise the micro-batch or the gradient accumulation: a step needs two rows.",
                    where=Where(step="training", field="micro_batch"),
                )
            scorer.keep_reference()
            return Kto(scorer, spec.beta, ranks)
    return Sft(scorer)


class Sft:
    """Supervised fine-tuning: −log π(x_t | x_<t), summed over all trained tokens t.

    Ouyang et al. 2022, section 3.5. Continued pre-training is the same with every token trained.
    """

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    def weight(self, rows: Sequence[Encoded]) -> int:
        """Trained tokens that have something before them to be predicted from."""
        return sum(int(row.trained[1:].sum()) for row in rows)

    def begin(self, micro_batches: Sequence[Sequence[Encoded]]) -> None:
        """Nothing."""

    def loss(self, rows: Sequence[Encoded]) -> Loss:
        """Nats, summed over trained tokens."""
        return Loss(-self.scorer(collate(rows)).sum())


class _Pairs:
    """Of preference objectives: both answers of each pair, the chosen ones first."""

    def __init__(self, scorer: Scorer, beta: float) -> None:
        self.scorer, self.beta = scorer, beta

    def weight(self, rows: Sequence[EncodedPair]) -> int:
        """Pairs."""
        return len(rows)

    def begin(self, micro_batches: Sequence[Sequence[EncodedPair]]) -> None:
        """Nothing."""

    @staticmethod
    def batch(rows: Sequence[EncodedPair]) -> Batch:
        return collate([*(row.chosen for row in rows), *(row.rejected for row in rows)])


class Dpo(_Pairs):
    """Direct preference optimisation: −log σ(β (r_w − r_l)), r = log π(y|x) − log π_ref(y|x).

    Rafailov et al. 2023, equation 7; y_w is the chosen answer and y_l the rejected one. The reference
    is the model as training began: without its adapter, or with the one that it went on from. `beta`
    holds the model near it: 0.1 is usual.
    """

    def loss(self, rows: Sequence[EncodedPair]) -> Loss:
        """Nats, summed over pairs."""
        batch = self.batch(rows)
        with torch.no_grad(), self.scorer.reference():
            reference = _per_row(self.scorer(batch), batch)
        rewards = self.beta * (_per_row(self.scorer(batch), batch) - reference)
        return _judged(lambda margin: -F.logsigmoid(margin), *rewards.chunk(2))


class Orpo(_Pairs):
    """Odds-ratio preference optimisation, without a reference model:

    −1/|y_w| log π(y_w|x) − λ log σ(log (odds(y_w|x) / odds(y_l|x))), odds = p / (1 − p), where p is
    the geometric mean of the answer's token probabilities. Hong et al. 2024, equations 4 to 7. TRL's
    trainer takes the first term over the prompt as well; here prompts are not learned, as in `Sft`.
    """

    def loss(self, rows: Sequence[EncodedPair]) -> Loss:
        """Nats, summed over pairs."""
        batch = self.batch(rows)
        mean = _per_row(self.scorer(batch), batch) / _counts(batch)
        log_odds = mean - _log1mexp(mean)
        chosen, rejected = log_odds.chunk(2)
        found = _judged(lambda margin: -self.beta * F.logsigmoid(margin), chosen, rejected)
        likelihood = -mean[: len(rows)].sum()
        return Loss(found.total + likelihood, found.figures | {"nll": likelihood.detach()})


class Kto:
    """Kahneman-Tversky optimisation of answers that are labelled good or bad:

    1 − σ(β (r − z)) for a good answer, 1 − σ(β (z − r)) for a bad one, r = log π(y|x) − log π_ref(y|x).
    z = max(0, mean of r over answers that belong to another prompt) has no gradient. Ethayarajh et al.
    2024, section 4.1, with both weights λ at 1. Each prompt is paired with the answer before it, as in
    TRL's trainer, but among all rows of an optimizer step where TRL stays within a micro-batch: so how
    a step is split does not change its loss.
    """

    def __init__(self, scorer: Scorer, beta: float, ranks: ProcessGroup | None = None) -> None:
        self.scorer, self.beta, self.ranks = scorer, beta, ranks or ProcessGroup()
        self._shift = torch.zeros(())

    def weight(self, rows: Sequence[EncodedLabelled]) -> int:
        """Answers."""
        return len(rows)

    @torch.no_grad()
    def begin(self, micro_batches: Sequence[Sequence[EncodedLabelled]]) -> None:
        """Estimates z from all prompts of the step, each with the answer to the one before.

        A lone row, as may be left at the end of an epoch, is compared with the base model alone.
        """
        rows = [row.answer for rows in micro_batches for row in rows]
        if len(rows) < 2:
            self._shift = torch.zeros(())
            return
        others = [_crossed(row, rows[index - 1]) for index, row in enumerate(rows)]
        ends = list(accumulate(len(part) for part in micro_batches))
        parts = [others[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
        own: list[float] = []

        def compute() -> None:
            for part in self.ranks.local_batches(parts):
                value = float(self._rewards(part).sum())
                own.append(0.0 if isinstance(part, DuplicateBatch) else value)

        why: str | None = None
        if self.ranks.is_sharded:  # the others wait in the middle of a block: there is no way back
            compute()
        else:
            why = ladder.tried(compute)
        found = self.ranks.all_gather((why, sum(own)))
        for why, _ in found:
            if why is not None:
                raise ladder.MemoryPressureError(why)
        self._shift = torch.tensor(max(0.0, sum(value for _, value in found) / len(rows)))

    def loss(self, rows: Sequence[EncodedLabelled]) -> Loss:
        """Between 0 and 1 for each answer, summed."""
        rewards = self._rewards([row.answer for row in rows])
        good = torch.tensor([row.label for row in rows], device=rewards.device)
        margin = self.beta * (rewards - self._shift.to(rewards.device))
        right = (margin > 0) == good
        total = (1 - torch.sigmoid(torch.where(good, margin, -margin))).sum()
        return Loss(total, {"accuracy": right.sum().detach()})

    def _rewards(self, rows: Sequence[Encoded]) -> torch.Tensor:
        """log π(y|x) − log π_ref(y|x), [rows]."""
        batch = collate(rows)
        with torch.no_grad(), self.scorer.reference():
            reference = _per_row(self.scorer(batch), batch)
        return _per_row(self.scorer(batch), batch) - reference


def _per_row(logprobs: torch.Tensor, batch: Batch) -> torch.Tensor:
    """log π(y|x) of each row's trained tokens, [rows]."""
    owners = batch.owners.to(logprobs.device)
    return logprobs.new_zeros(len(batch.lengths)).index_add(0, owners, logprobs)


def _counts(batch: Batch) -> torch.Tensor:
    """Trained tokens of each row, [rows]."""
    return torch.bincount(batch.owners, minlength=len(batch.lengths))


def _log1mexp(value: torch.Tensor) -> torch.Tensor:
    """log(1 − exp(value)) for value ≤ 0 without loss of digits (Mächler 2012). An answer that is all but
    certain counts as one in a million less: its odds are infinite in 32-bit, and so is their gradient."""
    value = value.clamp(max=-1e-6)
    return torch.where(
        value > -0.6931472, torch.log(-torch.expm1(value)), torch.log1p(-torch.exp(value))
    )


def _judged(loss: Any, chosen: torch.Tensor, rejected: torch.Tensor) -> Loss:
    """The loss of the margins, and how often and how far the chosen answer is ahead."""
    margin = chosen - rejected
    figures = {"accuracy": (margin > 0).sum(), "margin": margin.sum()}
    return Loss(loss(margin).sum(), {name: value.detach() for name, value in figures.items()})


def _crossed(prompt: Encoded, answer: Encoded) -> Encoded:
    """The prompt of one row with the answer of another."""
    begin = int(np.argmax(prompt.trained))
    trained = answer.trained.nonzero()[0]
    ids = np.concatenate([prompt.ids[:begin], answer.ids[trained]])
    mask = np.arange(len(ids)) >= begin
    return Encoded(ids, mask, len(ids))
