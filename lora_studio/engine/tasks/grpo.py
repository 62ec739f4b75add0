"""Group-relative policy optimization: the advantages of sampled answers, and the loss of an update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.tasks.grpo import ClipRange, GrpoVariant
from lora_studio.core.training.recipe_checks import no_rewards_error
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.devices.devices import copy_to_device
from lora_studio.engine.devices.ranks import ProcessGroup
from lora_studio.engine.generation.group_sampling import can_sample_groups
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.tasks.task import Divisors, Loss, Objective, TaskTraining
from lora_studio.engine.tokens.batches import Batch, collate, collate_shared
from lora_studio.engine.tokens.encoder import Encoded

#: The metrics of clipped ratios: all of them, those below the clip range, and those above it.
CLIP_SHARES = ("clip_share", "clip_share_low", "clip_share_high")
#: Added to the standard deviation of a group's rewards, as in TRL's trainer.
_LEAST_DEVIATION = 1e-4


class RewardTraining(TaskTraining):
    """Learn from rewards for answers that the model writes."""

    def create_objective(
        self,
        spec: TrainingSpec,
        logprob_model: LogprobModel,
        ranks: ProcessGroup,
        label_counts: Sequence[int],
    ) -> Objective:
        """Return the objective; raises ProblemError without rewards or where the model can't write answers."""
        if not spec.rewards:
            raise ProblemError(no_rewards_error())
        if logprob_model.base.forward.__module__.startswith("unsloth"):
            raise fail(
                "training.rewards_need_peft",
                "Reward training isn't available with Unsloth, which changes how the model writes answers.",
                "Choose PEFT as the training backend.",
                where=Where(step="training", field="backend"),
            )
        require_shared_cache(logprob_model.model)
        if spec.kl_beta:
            logprob_model.load_reference()
        logprob_model.temperature = spec.rollout_temperature
        return Grpo(
            logprob_model,
            spec.grpo_variant,
            spec.clip_range,
            kl_beta=spec.kl_beta,
            longest=spec.rollout_tokens,
        )


@dataclass
class SampledAnswer:
    """A prompt with an answer that the model wrote, and how much better it is than its group.

    `sequence` trains the answer. `old` and `reference` are the log-probabilities of its tokens [tokens of
    the answer] when it was sampled and under the reference model; None until they are computed.
    """

    sequence: Encoded
    advantage: float
    old: torch.Tensor | None = None
    reference: torch.Tensor | None = None

    @property
    def tokens(self) -> int:
        """Return the number of tokens that a pass over the row computes."""
        return self.sequence.tokens


def compute_advantages(rewards: Sequence[float | None], variant: GrpoVariant) -> list[float | None]:
    """Return how much better each answer to one prompt is than the others; None without a reward.

    Â_i = (r_i − mean(r)) / std(r). Shao et al. 2024 (DeepSeekMath), section 4.1.2; the standard deviation
    is that of a sample, as in TRL's trainer. Dr. GRPO doesn't divide: Â_i = r_i − mean(r), Liu et al. 2025
    (arXiv 2503.20783), section 3.2.
    """
    known = np.array([value for value in rewards if value is not None], np.float64)
    if not len(known):
        return [None] * len(rewards)
    mean, scale = float(known.mean()), 1.0
    if variant != "dr_grpo":
        scale = float(known.std(ddof=1)) if len(known) > 1 else 0.0
        scale += _LEAST_DEVIATION
    is_constant = bool((known == known[0]).all())  # rounding of the mean isn't a difference
    return [
        None if value is None else 0.0 if is_constant else (value - mean) / scale
        for value in rewards
    ]


class Grpo(Objective):
    """Group-relative policy optimization in four variants.

    With the ratio ρ_t = π(y_t|x, y_<t) / π_old(y_t|x, y_<t), the advantage Â of an answer y, and
    L_t = −min(ρ_t Â, clip(ρ_t, 1 − ε_low, 1 + ε_high) Â) + β (π_ref/π − log(π_ref/π) − 1), the loss is

    - grpo: the mean over answers of (1/|y|) Σ_t L_t. Shao et al. 2024 (DeepSeekMath, arXiv 2402.03300),
      equations 3 and 4.
    - dr_grpo: the mean over answers of (1/L) Σ_t L_t, L the longest that an answer may be. Liu et al. 2025
      (arXiv 2503.20783), section 3.2.
    - dapo: Σ L_t over all answers, divided by their tokens, with ε_high > ε_low; answers that were cut
      don't train. Yu et al. 2025 (arXiv 2503.14476), equations 8 and 12, and section 3.4. Prompts whose
      rewards are all equal stay in the mean; they aren't replaced by others (section 3.2).
    - gspo: as grpo with one ratio for all tokens of an answer, exp(mean_t log ρ_t). Zheng et al. 2025
      (arXiv 2507.18071), equations 5 to 7.

    The KL term is DeepSeekMath's; TRL's trainer multiplies it by ρ_t unless `use_bias_correction_kl` is off.
    Log-probabilities are those of the distribution that answers are sampled from, at its temperature.

    The metrics are TRL's in every variant: `kl` is the mean of the KL term over tokens, and the clip fraction is
    the share of ratios that are clipped where that changes the loss: ρ_t < 1 − ε_low with Â < 0 (`clip_share_low`),
    ρ_t > 1 + ε_high with Â > 0 (`clip_share_high`), or either (`clip_share`). GSPO has a ratio for each answer,
    the others for each token.
    """

    def __init__(
        self,
        logprob_model: LogprobModel,
        variant: GrpoVariant,
        clip: ClipRange,
        *,
        kl_beta: float = 0.0,
        longest: int = 1,
    ) -> None:
        """Take the clip range, the weight of the KL term, and the most tokens of an answer."""
        super().__init__(logprob_model)
        self.variant, self.clip = variant, clip
        self.kl_beta, self.longest = kl_beta, longest

    def count_items(self, rows: Sequence[SampledAnswer]) -> int:
        """Return what the loss is divided by: answers, tokens of answers, or the most they could have."""
        match self.variant:
            case "dapo":
                return sum(int(row.sequence.trained.sum()) for row in rows)
            case "dr_grpo":
                return len(rows) * self.longest
        return len(rows)

    def count_divisors(self, rows: Sequence[SampledAnswer]) -> Divisors:
        """Return what loss and metrics of a step are divided by; `rows` are all answers of the step."""
        tokens = sum(int(row.sequence.trained.sum()) for row in rows)
        ratios = len(rows) if self.variant == "gspo" else tokens
        return Divisors(self.count_items(rows), dict.fromkeys(CLIP_SHARES, ratios) | {"kl": tokens})

    def compute_loss(self, rows: Sequence[SampledAnswer]) -> Loss:
        """Return the loss and the metrics, summed over what `count_divisors` counts.

        Rows without `old` get their log-probabilities of now: nothing has been updated since they were
        sampled.
        """
        join = collate_shared if self.logprob_model.shared else collate
        batch = join([row.sequence for row in rows])
        reference = self._get_reference(rows, batch) if self.kl_beta else None
        logprobs = self.logprob_model(batch)
        owners = copy_to_device(batch.owners, logprobs.device)
        counts = torch.bincount(batch.owners, minlength=len(rows))
        lengths = copy_to_device(counts, logprobs.device).clamp(min=1)
        old = self._get_old(rows, logprobs, counts)
        advantages = copy_to_device(torch.tensor([row.advantage for row in rows]), logprobs.device)
        log_ratio, advantage = logprobs - old, advantages[owners]
        if self.variant == "gspo":
            log_ratio, advantage = _sum_rows(log_ratio, owners, len(rows)) / lengths, advantages
        ratio = log_ratio.exp()  # of each token; for GSPO, of each answer
        low, high = 1 - self.clip.low, 1 + self.clip.high
        losses = -torch.minimum(ratio * advantage, ratio.clamp(low, high) * advantage)
        below = ((ratio < low) & (advantage < 0)).sum()
        above = ((ratio > high) & (advantage > 0)).sum()
        metrics = dict(zip(CLIP_SHARES, (below + above, below, above), strict=True))
        if self.variant == "gspo":
            losses = losses[owners]
        if reference is not None:
            # Of a model on several GPUs, the last layer's is another than the first one's.
            difference = reference.to(logprobs.device) - logprobs
            kl = difference.exp() - difference - 1
            losses = losses + self.kl_beta * kl
            metrics["kl"] = kl.sum().detach()
        return Loss(self._reduce(losses, owners, lengths), metrics)

    def _reduce(
        self, values: torch.Tensor, owners: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """Return the sum of a value per token, weighted as the variant weights its loss."""
        if self.variant in ("dapo", "dr_grpo"):
            return values.sum()
        return (_sum_rows(values, owners, len(lengths)) / lengths).sum()

    def _get_old(
        self, rows: Sequence[SampledAnswer], logprobs: torch.Tensor, counts: torch.Tensor
    ) -> torch.Tensor:
        if any(row.old is None for row in rows):
            _store(rows, "old", logprobs.detach(), counts)
        return _join([row.old for row in rows], logprobs.device)

    @torch.no_grad()
    def _get_reference(self, rows: Sequence[SampledAnswer], batch: Batch) -> torch.Tensor:
        if any(row.reference is None for row in rows):
            with self.logprob_model.switch_to_reference():
                logprobs = self.logprob_model(batch)
            _store(rows, "reference", logprobs, torch.bincount(batch.owners, minlength=len(rows)))
        return _join([row.reference for row in rows], self.logprob_model.device)


def measure_spread(rewards: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard deviation of a sample; NaN and 0 without any."""
    if not rewards:
        return math.nan, 0.0
    values = np.asarray(rewards, np.float64)
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0


def _sum_rows(values: torch.Tensor, owners: torch.Tensor, rows: int) -> torch.Tensor:
    """Return the sum of each row's tokens, [rows]."""
    return values.new_zeros(rows).index_add(0, owners, values)


def _store(
    rows: Sequence[SampledAnswer], name: str, logprobs: torch.Tensor, counts: torch.Tensor
) -> None:
    """Keep the log-probabilities of each row; they stay on their device."""
    edges = [0, *np.cumsum(counts.tolist()).tolist()]
    for row, (begin, end) in zip(rows, pairwise(edges), strict=True):
        setattr(row, name, logprobs[begin:end])


def _join(parts: Sequence[torch.Tensor | None], device: torch.device) -> torch.Tensor:
    return torch.cat([part.to(device) for part in parts if part is not None])


def require_shared_cache(network: torch.nn.Module) -> None:
    """Raise the error for a model whose answers to a prompt can't share its attention cache."""
    if not can_sample_groups(network):
        raise fail(
            "training.rewards_need_cache",
            "Reward training isn't available for this architecture, because answers to a prompt can't share "
            "its attention cache.",
            "Choose another model, or train on answers or on preference pairs.",
            where=Where(step="model", field="source"),
        )
