"""Objectives: small functions over the log-probabilities of a batch, the formula above each."""

from __future__ import annotations

import torch


def sft(logprobs: torch.Tensor) -> torch.Tensor:
    """Sum over all trained tokens t of −log p(x_t | x_<t), a 0-dimensional float32 tensor.

    `logprobs` is [targets]. Divided by the number of trained tokens of the whole optimizer step,
    however many micro-batches that has, this is the mean cross-entropy of supervised fine-tuning
    (Ouyang et al. 2022, section 3.5).
    """
    return -logprobs.sum()
