"""The distillation loss from logits and the teacher's most likely tokens, in 32-bit, a block at a time.

With p and q the softmax of the teacher's and the student's logits divided by a temperature T, the loss of
a position with the target x is (1 − w) · −log q₁(x) + w T² KL(p ‖ q), q₁ being q at T = 1 (Hinton et al. 2015,
section 2: T² keeps the size of the gradients). Only the k most likely tokens of the teacher are known.
All others count as one: their total probability under the teacher is compared with that under the student.
By the log sum inequality (Cover and Thomas 2006, theorem 2.7.1), that is at most the full KL, and equal to
it where k is the whole vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from lora_studio.engine.devices.devices import copy_to_device
from lora_studio.engine.kernels.chunked_logprobs import (
    OutputHead,
    compute_cross_entropy,
    count_rows,
)

#: Smallest log-probability: below it, probabilities are 0 in 32-bit.
LOWEST = -100.0


@dataclass(frozen=True)
class TeacherTokens:
    """The teacher's most likely tokens at each position, at the temperature of the loss.

    `ids` [positions, k] int64, `logprobs` [positions, k] float32; `rest` [positions] float32 is the
    log-probability of all other tokens together. None is below `LOWEST`.
    """

    ids: torch.Tensor
    logprobs: torch.Tensor
    rest: torch.Tensor

    def pad(self, more: int) -> TeacherTokens:
        """Return the tokens with some positions more, whose values mean nothing."""
        return TeacherTokens(
            F.pad(self.ids, (0, 0, 0, more)),
            F.pad(self.logprobs, (0, 0, 0, more), value=LOWEST),
            F.pad(self.rest, (0, more)),
        )

    def split(self, rows: int) -> list[TeacherTokens]:
        """Return the tokens of each `rows` positions."""
        parts = zip(*(part.split(rows) for part in self._tensors), strict=True)
        return [TeacherTokens(*part) for part in parts]

    def to(self, device: torch.device) -> TeacherTokens:
        """Return the tokens on a device, without waiting for what a GPU still computes."""
        return TeacherTokens(*(copy_to_device(part, device) for part in self._tensors))

    @property
    def _tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.ids, self.logprobs, self.rest


@dataclass(frozen=True)
class DistillationLoss:
    """The loss with the share `weight` of the KL divergence, and its temperature."""

    weight: float
    temperature: float

    def compute(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        teacher: TeacherTokens,
        wants_gradient: bool,
    ) -> torch.Tensor:
        """Return loss, cross-entropy and KL divergence of each row of `logits`, [positions, 3] float32.

        With `wants_gradient`, the gradient of the loss overwrites `logits` [positions, ids].
        """
        rows = count_rows(logits)
        parts = zip(logits.split(rows), targets.split(rows), teacher.split(rows), strict=True)
        blocks = [self._compute_block(*part, wants_gradient) for part in parts]
        return torch.cat(blocks) if blocks else logits.new_zeros(0, 3, dtype=torch.float32)

    def _compute_block(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        teacher: TeacherTokens,
        wants_gradient: bool,
    ) -> torch.Tensor:
        gradient = logits.to(torch.float32, copy=True)
        entropy = compute_cross_entropy(gradient, targets, wants_gradient)
        scaled = logits.to(torch.float32, copy=True).div_(self.temperature)
        divergence = compute_divergence(scaled, teacher, wants_gradient)
        loss = (1 - self.weight) * entropy + self.weight * self.temperature**2 * divergence
        if wants_gradient:
            # The gradient by the logits is 1/T of that by the scaled ones, of which the loss has T².
            gradient.mul_(1 - self.weight).add_(scaled, alpha=self.weight * self.temperature)
            logits.copy_(gradient)
        return torch.stack([loss, entropy, divergence], 1)


def compute_divergence(
    logits: torch.Tensor, teacher: TeacherTokens, wants_gradient: bool
) -> torch.Tensor:
    """Return KL(p ‖ q) over the teacher's tokens and all others as one, [positions] float32.

    `logits` [positions, ids] float32, divided by the temperature, are overwritten: with
    `wants_gradient`, by the gradient. That is q − p at the teacher's tokens and q (1 − p_rest / q_rest) at
    the others.
    """
    highest = logits.amax(1, keepdim=True)
    top = logits.gather(1, teacher.ids).sub_(highest)
    exp = logits.sub_(highest).exp_()
    # The others are added up without the teacher's tokens: a difference of sums would cancel.
    rest = exp.scatter_(1, teacher.ids, 0.0).sum(1)
    top_exp = top.exp()
    total = rest + top_exp.sum(1)
    log_total = total.log()
    probability, rest_probability = teacher.logprobs.exp(), teacher.rest.exp()
    own = (top - log_total[:, None]).clamp_(min=LOWEST)
    own_rest = (rest.log() - log_total).clamp_(min=LOWEST)
    divergence = (probability * (teacher.logprobs - own)).sum(1)
    divergence += rest_probability * (teacher.rest - own_rest)
    if wants_gradient:
        factor = torch.where(rest > 0, 1 / total - rest_probability / rest, 0.0)
        exp.mul_(factor[:, None])
        exp.scatter_(1, teacher.ids, top_exp / total[:, None] - probability)
    return divergence


class ChunkedDistillation(torch.autograd.Function):
    """The distillation loss of each position from hidden states, in chunks whose logits are freed at once.

    As in `ChunkedLogprobs`, the gradient is computed in the forward pass.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        targets: torch.Tensor,
        teacher: TeacherTokens,
        head: OutputHead,
        loss: DistillationLoss,
        chunk: int,
    ) -> torch.Tensor:
        """Map `hidden` [positions, size] to [positions, 3] float32; only the first column has a gradient."""
        wants_gradient = hidden.requires_grad
        values: list[torch.Tensor] = []
        gradients: list[torch.Tensor] = []
        parts = zip(hidden.split(chunk), targets.split(chunk), teacher.split(chunk), strict=True)
        for part, target_ids, tokens in parts:
            with torch.set_grad_enabled(wants_gradient):
                leaf = part.detach().requires_grad_(wants_gradient)
                logits = head(leaf)
            data, device = logits.detach(), logits.device
            value = loss.compute(data, target_ids.to(device), tokens.to(device), wants_gradient)
            values.append(value.to(hidden.device))
            if wants_gradient:
                gradients += torch.autograd.grad(logits, leaf, grad_outputs=data)
        if wants_gradient:
            ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(values)

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Scale the gradient of each position."""
        (gradient,) = ctx.saved_tensors
        return gradient * outer[0][:, :1].to(gradient.dtype), None, None, None, None, None


class LogitDistillation(torch.autograd.Function):
    """The distillation loss of each position from logits whose output layer trains."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: torch.Tensor,
        targets: torch.Tensor,
        teacher: TeacherTokens,
        loss: DistillationLoss,
    ) -> torch.Tensor:
        """Map `logits` [positions, ids] to [positions, 3] float32; only the first column has a gradient."""
        gradient = logits.detach().clone()
        values = loss.compute(gradient, targets, teacher, logits.requires_grad)
        ctx.save_for_backward(gradient)
        return values

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Scale the gradient of each position."""
        (gradient,) = ctx.saved_tensors
        return gradient * outer[0][:, :1].to(gradient.dtype), None, None, None
