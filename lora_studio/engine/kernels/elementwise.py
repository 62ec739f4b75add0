"""Norms and gates in fewer passes over memory, with PyTorch's own operations.

They keep only their inputs for the backward pass, and on a CPU compute blocks that fit its cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch.nn import functional as F  # noqa: N812 - its usual name

#: Activations of a gate: silu, or gelu with its approximation by tanh.
Gate = Literal["silu", "gelu"]

#: Values of an activation to compute at a time on a CPU: 0.5 MB in 32-bit.
_CACHE_VALUES = 1 << 17


def rms_norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Return the RMS norm of `x` [..., size], with a frozen `weight` [size] of the same dtype."""
    y: torch.Tensor = _RmsNorm.apply(x, weight, epsilon)
    return y


def gated_silu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """Return silu(u) ∘ v for a gate u and v of one shape [..., size]."""
    y: torch.Tensor = _GatedSilu.apply(gate, up)
    return y


class _RmsNorm(torch.autograd.Function):
    """y = w ∘ x / √(mean(x²) + ε), computed in 32-bit (Zhang and Sennrich 2019, equation 4), w frozen.

    dL/dx = r (v − x̂ mean(v ∘ x̂)) with r = 1 / √(…), x̂ = r x and v = w ∘ dL/dy.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        y = torch.empty_like(flat)
        rates = flat.new_empty(len(flat), 1, dtype=torch.float32)
        for part, out, rate in _iter_blocks(flat, y, rates):
            exact = part.to(torch.float32, copy=True)
            mean = torch.linalg.vector_norm(exact, dim=-1, keepdim=True).square_().div_(x.shape[-1])
            torch.rsqrt(mean.add_(epsilon), out=rate)
            out.copy_(exact.mul_(rate)).mul_(weight)
        ctx.save_for_backward(x, rates, weight)
        return y.view(x.shape)

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """Return the gradient of the input."""
        x, rates, weight = ctx.saved_tensors
        flat, grad = x.reshape(-1, x.shape[-1]), outer[0].reshape(-1, x.shape[-1])
        dx, wide = torch.empty_like(flat), weight.float()
        for part, g, rate, out in _iter_blocks(flat, grad, rates, dx):
            unit = part.to(torch.float32, copy=True).mul_(rate)
            v = g.to(torch.float32, copy=True).mul_(wide)
            share = torch.linalg.vecdot(v, unit)[:, None].div_(-x.shape[-1])
            out.copy_(v.addcmul_(unit, share).mul_(rate))
        return dx.view(x.shape), None, None


class _GatedSilu(torch.autograd.Function):
    """y = silu(u) ∘ v (Shazeer 2020, equation 6), whose gradients are silu'(u) ∘ v ∘ g and silu(u) ∘ g."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        y = torch.empty_like(gate, memory_format=torch.contiguous_format)
        for u, v, out in _iter_blocks(*(each.flatten(0, -2) for each in (gate, up, y))):
            torch.mul(F.silu(u), v, out=out)
        ctx.save_for_backward(gate, up)
        return y

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gradients of both inputs."""
        gate, up = ctx.saved_tensors
        d_gate, d_up = (torch.empty_like(gate, memory_format=torch.contiguous_format) for _ in "uv")
        parts = (each.flatten(0, -2) for each in (gate, up, outer[0], d_gate, d_up))
        for u, v, g, du, dv in _iter_blocks(*parts):
            torch.mul(F.silu(u), g, out=dv)
            torch.ops.aten.silu_backward.grad_input(g * v, u, grad_input=du)
        return d_gate, d_up


def _iter_blocks(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield the same rows of several tensors, as many as fit the cache; all of them on a GPU."""
    first = tensors[0]
    rows = len(first) if first.device.type != "cpu" else max(1, _CACHE_VALUES // first.shape[-1])
    return zip(*(tensor.split(rows) for tensor in tensors), strict=True)
