"""The log-probabilities of tokens from logits, in 32-bit, a block of positions at a time.

On a CPU a block fits its cache, so each pass over it is cheap. On a GPU passes cost memory traffic: there
one kernel computes the logarithm of the softmax, and no block takes more memory than the logits it came
from.
"""

from __future__ import annotations

from typing import Any

import torch

from lora_studio.core.memory.logits import SOFTMAX_ON_GPU

#: Logits that fit a CPU's cache in 32-bit: 1 MB.
_LOGITS_IN_CACHE = 1 << 18


def compute_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, wants_gradient: bool
) -> torch.Tensor:
    """Return −log softmax(z)[x] of each row z of `logits` [positions, ids], [positions] float32.

    With `wants_gradient`, its gradient, softmax(z) minus 1 at x, overwrites `logits`.
    """
    compute = _compute_in_cache if logits.device.type == "cpu" else compute_by_log_softmax
    rows = count_rows(logits)
    parts = zip(logits.split(rows), targets[:, None].split(rows), strict=True)
    return torch.cat([compute(part, target_ids, wants_gradient) for part, target_ids in parts])


def _compute_in_cache(
    part: torch.Tensor, target_ids: torch.Tensor, wants_gradient: bool
) -> torch.Tensor:
    """Compute a block in place; `target_ids` is [positions, 1]."""
    exact = part.to(torch.float32, copy=True)
    value = exact.gather(1, target_ids)
    highest = exact.amax(1, keepdim=True)
    total = exact.sub_(highest).exp_().sum(1, keepdim=True)
    if wants_gradient:
        exact.mul_(1 / total)
        part.copy_(exact.scatter_add_(1, target_ids, -torch.ones_like(value)))
    return (total.log() - (value - highest))[:, 0]


def compute_by_log_softmax(
    part: torch.Tensor, target_ids: torch.Tensor, wants_gradient: bool
) -> torch.Tensor:
    """Compute a block with one kernel for the softmax; `target_ids` is [positions, 1].

    The gradient is rounded to the format of the logits as it is written. At the target it is
    exp(log p) − 1, which is computed on its own, without cancellation.
    """
    logprobs = torch.log_softmax(part, 1, dtype=torch.float32)
    value = logprobs.gather(1, target_ids)
    if wants_gradient:
        torch.exp(logprobs, out=part)
        part.scatter_(1, target_ids, torch.expm1(value).to(part.dtype))
    return -value[:, 0]


class TokenLogprobs(torch.autograd.Function):
    """log softmax(z_i)[x_i] for each row z_i of logits whose output layer trains.

    Kept for the backward pass are the logits as they are and one number for each position, where
    autograd keeps two copies of all logits in 32-bit.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Map `logits` [positions, ids] and `targets` [positions] to [positions] float32."""
        rows, ids = count_rows(logits), targets[:, None]
        values = [
            torch.log_softmax(part, 1, dtype=torch.float32).gather(1, target_ids)
            for part, target_ids in zip(logits.split(rows), ids.split(rows), strict=True)
        ]
        value = torch.cat(values)
        ctx.save_for_backward(logits, ids, value)
        return value[:, 0]

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return the gradient of the logits: g (1 at the target − softmax)."""
        logits, ids, value = ctx.saved_tensors
        gradient, rows = torch.empty_like(logits), count_rows(logits)
        total = logits.gather(1, ids).float() - value  # log Σ exp z
        outer_gradient = outer[0][:, None].float()
        blocks = (each.split(rows) for each in (logits, gradient, total, outer_gradient))
        for part, out, log_sum, g in zip(*blocks, strict=True):
            torch.mul((part - log_sum).exp_(), -g, out=out)
        at_target = -torch.expm1(value) * outer_gradient
        return gradient.scatter_(1, ids, at_target.to(gradient.dtype)), None


def count_rows(logits: torch.Tensor) -> int:
    """Return how many positions to compute at a time."""
    block = _LOGITS_IN_CACHE if logits.device.type == "cpu" else SOFTMAX_ON_GPU
    return max(1, block // logits.shape[1])
