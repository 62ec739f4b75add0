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

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from transformers import PreTrainedModel

from lora_studio.core.memory.plan import SOFTMAX_ON_GPU, count_logits_at_once
from lora_studio.engine.devices.devices import get_total_gpu_bytes
from lora_studio.engine.kernels import numerical_equivalence

# The log-probabilities of tokens from logits, in 32-bit, a block of positions at a time.
#
# On a CPU a block fits its cache, so each pass over it is cheap. On a GPU passes cost memory traffic: there
# one kernel computes the logarithm of the softmax, and no block takes more memory than the logits it came
# from.

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


#: Logits, targets and whether to compute the gradient -> −log p of each target.
TokenLoss = Callable[[torch.Tensor, torch.Tensor, bool], torch.Tensor]

#: The postprocessing of logits.
Head = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class OutputHead:
    """An output layer, the model's postprocessing of its logits, and the loss function."""

    layer: torch.nn.Module
    finish: Head
    loss: TokenLoss = compute_cross_entropy

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.finish(self.layer(hidden))

    def with_temperature(self, temperature: float) -> OutputHead:
        """Return the same output layer with its logits divided by a temperature."""
        if temperature == 1:
            return self
        return replace(self, finish=lambda logits: self.finish(logits) / temperature)

    @property
    def weight(self) -> torch.Tensor:
        """The layer's weights, [ids, size]."""
        return cast(torch.Tensor, self.layer.weight)


def find_decoder(base: PreTrainedModel) -> torch.nn.Module | None:
    """Return the model below its output layer, None where that can't be determined."""
    decoder = base.get_decoder() if hasattr(base, "get_decoder") else None
    return decoder if isinstance(decoder, torch.nn.Module) and decoder is not base else None


def find_frozen_head(base: PreTrainedModel, decoder: torch.nn.Module) -> OutputHead | None:
    """Return the map from hidden states to logits as in the model itself, None if any of it trains.

    Some models scale or cap their logits after the output layer; a comparison shows which.
    """
    head = base.get_output_embeddings()
    if head is None or any(value.requires_grad for value in head.parameters()):
        return None
    device = next(base.parameters()).device
    ids = torch.arange(3, 9, device=device)[None]
    was_training = base.training
    base.eval()
    try:
        with torch.no_grad():
            expected = base(input_ids=ids, use_cache=False).logits.float()
            hidden = decoder(input_ids=ids, use_cache=False).last_hidden_state
            tolerance = numerical_equivalence.TOLERANCE[
                numerical_equivalence.compute_itemsize(hidden)
            ]
            finishes = list(_iter_finishes(base.config.get_text_config()))
            # Not for equality: kernels that add in any order round differently in each of two passes.
            differences = [
                numerical_equivalence.compute_difference(
                    finish(head(hidden)).float().to(expected.device), expected
                )
                for finish in finishes
            ]
            closest = min(range(len(finishes)), key=differences.__getitem__)
            if differences[closest] <= tolerance:
                return OutputHead(head, finishes[closest])
    except (TypeError, RuntimeError, AttributeError):
        pass
    finally:
        base.train(was_training)
    return None


def _iter_finishes(config: Any) -> Iterator[Head]:
    """Yield the functions that transformers models apply to the logits of their output layer."""
    yield lambda logits: logits
    if divisor := getattr(config, "logits_scaling", None):  # Granite
        yield lambda logits: logits / divisor
    if factor := getattr(config, "logit_scale", None):  # Cohere
        yield lambda logits: logits * factor
    if cap := getattr(config, "final_logit_softcapping", None):  # Gemma
        yield lambda logits: torch.tanh(logits / cap) * cap
