"""Log-probabilities from hidden states, with the logits of only a few positions in memory at a time.

Logits are the largest tensor by far: a vocabulary of 150,000 at 8,000 positions takes 5 GB in
32-bit, and the softmax and its gradient as much again. So they are computed only at positions that
train, and in chunks: the gradient of each chunk is computed at once and its logits are freed, which
costs no second pass (the output layer doesn't train, so the gradient at a position needs nothing but
its own logits). The softmax is computed in 32-bit, a few rows at a time so that they fit the CPU's
cache, and its gradient overwrites the logits. That takes a fifth of the time of a softmax over the whole
chunk, and a sixth of its memory.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from lora_studio.core.memory.logits import count_logits_at_once
from lora_studio.engine.devices.devices import get_total_gpu_bytes
from lora_studio.engine.training.kernels.output_head import OutputHead


def compute_chunked_logprobs(
    hidden: torch.Tensor, targets: torch.Tensor, head: OutputHead
) -> torch.Tensor:
    """Return log-probabilities from hidden states, in chunks whose logits are freed at once."""
    count, targets = len(hidden), targets.to(hidden.device)
    if should_round_up_tokens(hidden.device, hidden.dtype):
        more = round_up_tokens(count) - count
        hidden, targets = F.pad(hidden, (0, 0, 0, more)), F.pad(targets, (0, more))
    logprobs: torch.Tensor = ChunkedLogprobs.apply(hidden, targets, head)
    return logprobs[:count]


def should_round_up_tokens(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether to limit products to a few distinct token counts.

    On a CPU, oneDNN generates code for each shape of a 16-bit product: about 40 primitives per token
    count, which take a tenth of the time of their first use and keep 20 to 40 MB allocated. If lengths
    kept changing, there would be up to 1024 primitives. Caching fewer (ONEDNN_PRIMITIVE_CACHE_CAPACITY,
    LRU_CACHE_CAPACITY) saves that memory, but regenerating them takes 27 ms for each length: a tenth of
    the time of a training with one row at a time.
    """
    return device.type == "cpu" and dtype != torch.float32


def round_up_tokens(tokens: int) -> int:
    """Round up: to multiples of 32, and from 1024 on to one of 16 sizes between powers of 2."""
    step = max(32, (1 << max(0, tokens.bit_length() - 1)) // 16)
    return -(-tokens // step) * step


class ChunkedLogprobs(torch.autograd.Function):
    """log softmax(head(h_i))[x_i] for each position i.

    Its gradient at h_i depends on position i only, so it is computed in the forward pass, chunk by
    chunk, and scaled in the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, targets: torch.Tensor, head: OutputHead
    ) -> torch.Tensor:
        """Map `hidden` [positions, size] and `targets` [positions] to [positions] float32."""
        wants_gradient = hidden.requires_grad
        values: list[torch.Tensor] = []
        gradients: list[torch.Tensor] = []
        for part, target_ids in zip(*_split_tokens(hidden, targets, head), strict=True):
            with torch.set_grad_enabled(wants_gradient):
                leaf = part.detach().requires_grad_(wants_gradient)
                logits = head(leaf)
            # In a model on several GPUs, an output layer tied to the embeddings is on the first GPU.
            value = head.loss(logits.detach(), target_ids.to(logits.device), wants_gradient)
            values.append(value.to(hidden.device))
            if wants_gradient:
                gradients += torch.autograd.grad(logits, leaf, grad_outputs=logits.detach())
        if wants_gradient:
            ctx.save_for_backward(torch.cat(gradients).neg_())
        return torch.cat(values).neg_()

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """Scale the gradient of each position."""
        (gradient,) = ctx.saved_tensors
        return gradient * outer[0][:, None].to(gradient.dtype), None, None


def _split_tokens(
    hidden: torch.Tensor, targets: torch.Tensor, head: OutputHead
) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    size = get_chunk_size(head)
    return hidden.split(size), targets.split(size)


def get_chunk_size(head: OutputHead) -> int:
    """Return how many positions to compute the logits of at once, on the device of the output layer."""
    device = head.weight.device
    at_once = count_logits_at_once(device.type, get_total_gpu_bytes(device))
    size = max(1, at_once // len(head.weight))
    return size - size % 32 or size
