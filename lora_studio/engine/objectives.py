"""Objectives: small functions over a batch, the formula above each."""

from __future__ import annotations

import inspect

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

_IGNORED = -100


def sft_nll(
    model: torch.nn.Module,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    labels: torch.Tensor,
) -> torch.Tensor:
    """Sum over all trained tokens t of −log p(x_t | x_<t), a 0-dimensional float32 tensor.

    All arguments are [rows, length] int64; `labels` is -100 where a token is not trained. Divided
    by the number of trained tokens of the whole optimizer step, however many micro-batches that
    has, this is the mean cross-entropy of supervised fine-tuning (Ouyang et al. 2022, section 3.5).

    Logits, the largest tensor by far, are computed only where any row has a target.
    """
    targets = labels[:, 1:]
    wanted = targets != _IGNORED
    columns = wanted.any(dim=0).nonzero().squeeze(1)
    if takes_positions(model):
        logits = model(
            input_ids=input_ids, attention_mask=attention_mask, logits_to_keep=columns
        ).logits
    else:
        logits = model(input_ids=input_ids, attention_mask=attention_mask).logits[:, columns]
    chosen = wanted[:, columns].to(logits.device)
    return F.cross_entropy(
        logits[chosen].float(), targets[:, columns].to(logits.device)[chosen], reduction="sum"
    )


def takes_positions(model: torch.nn.Module) -> bool:
    """Whether a model can give logits at chosen positions only."""
    get_base = getattr(model, "get_base_model", None)
    inner = get_base() if callable(get_base) else model
    return "logits_to_keep" in inspect.signature(inner.forward).parameters
