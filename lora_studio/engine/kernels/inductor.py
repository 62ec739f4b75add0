"""Norms, gates and rotary embeddings that PyTorch's Inductor compiles, for CPUs with AMX.

AMX computes matrix products so fast that the elementwise operations around them take a third of a training.
Compiled, each function reads its inputs once, and intermediate values stay in registers: for 704 tokens of
SmolLM2, a norm and its gradient take 0.4 ms instead of 2.4, a gate 1.7 instead of 5.1, and the rotation of
queries and keys 0.5 instead of 3 (one core of a Xeon). Compiling takes about 20 s once on each computer, and
loading the compiled functions 4 s in each training.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 - its usual name

from lora_studio.core.system import programs
from lora_studio.engine.kernels.elementwise import Gate

#: The name in manifests.
NAME = "inductor"

#: Parameters times tokens, for each thread, from which a training takes less time with compiling than without:
#: 75 s of training on one core.
_LEAST_WORK = 5e12


def is_possible(device: torch.device) -> bool:
    """Return whether layers can be compiled for a device: for CPUs under Linux."""
    return sys.platform == "linux" and device.type == "cpu"


def is_worthwhile(device: torch.device, dtype: torch.dtype, parameters: int, tokens: int) -> bool:
    """Return whether compiling makes a training of so many tokens faster: in bfloat16, on a CPU with AMX."""
    return (
        is_possible(device)
        and dtype == torch.bfloat16
        and torch.cpu._is_amx_tile_supported()
        and parameters * tokens >= _LEAST_WORK * torch.get_num_threads()
    )


def rms_norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float, kind: str) -> torch.Tensor:
    """Return an RMS norm as in Llama (`kind` "llama") or Gemma ("gemma", with weights relative to 1)."""
    offset = 1.0 if kind == "gemma" else 0.0
    y: torch.Tensor = _Norm.apply(x, weight, epsilon, offset)
    return y


def gated_activation(gate: torch.Tensor, up: torch.Tensor, kind: Gate) -> torch.Tensor:
    """Return silu(u) ∘ v or gelu(u) ∘ v."""
    y: torch.Tensor = _Gated.apply(gate, up, kind)
    return y


def rotary_embedding(
    query: torch.Tensor, key: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotate queries and keys [rows, heads, tokens, size] by their positions."""
    rotated: tuple[torch.Tensor, torch.Tensor] = _Rotation.apply(query, key, cosine, sine)
    return rotated


class _Kernel:
    """A function that is compiled on its first call."""

    def __init__(self, function: Callable[..., Any], count: int) -> None:
        """Take a function whose first `count` arguments have tokens as their first dimension.

        All other dimensions are compiled as constants, which makes the loops over them up to a third faster.
        """
        self._function, self._count = function, count
        self._compiled: Callable[..., Any] | None = None

    def __call__(self, *inputs: Any) -> Any:
        """Return the function's result; the first call for a size compiles it.

        A single token, as in generation, would be compiled on its own, so it isn't.
        """
        if len(inputs[0]) == 1:
            return self._function(*inputs)
        if self._compiled is None:
            programs.set_compile_caches()
            options: dict[str, Any] = {"compile_threads": 1}
            self._compiled = torch.compile(self._function, dynamic=False, options=options)
        for value in inputs[: self._count]:
            torch._dynamo.maybe_mark_dynamic(value, 0)
        return self._compiled(*inputs)


def _compiled(count: int) -> Callable[[Callable[..., Any]], _Kernel]:
    """Decorate a function that is to be compiled; `count` is that of `_Kernel`."""
    return lambda function: _Kernel(function, count)


class _Norm(torch.autograd.Function):
    """y and dL/dx of `elementwise.rms_norm`, with w + an offset instead of w."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float, offset: float
    ) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        y, rates = _norm(flat, weight, epsilon, offset)
        ctx.save_for_backward(flat, rates, weight)
        ctx.offset = offset
        return y.view(x.shape)  # type: ignore[no-any-return]  # torch doesn't type it

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        """Return the gradient of the input."""
        flat, rates, weight = ctx.saved_tensors
        (g,) = outer
        dx = _norm_gradient(flat, rates, g.reshape(flat.shape), weight, ctx.offset)
        return dx.view(g.shape), None, None, None


@_compiled(1)
def _norm(x: Any, weight: Any, epsilon: float, offset: float) -> Any:
    exact = x.float()
    rates = torch.rsqrt(exact.square().mean(-1, keepdim=True) + epsilon)
    return (exact * rates * (weight.float() + offset)).to(x.dtype), rates


@_compiled(3)
def _norm_gradient(x: Any, rates: Any, g: Any, weight: Any, offset: float) -> Any:
    unit, v = x.float() * rates, g.float() * (weight.float() + offset)
    return ((v - unit * (v * unit).mean(-1, keepdim=True)) * rates).to(x.dtype)


class _Gated(torch.autograd.Function):
    """y = silu(u) ∘ v or gelu(u) ∘ v, and the gradients of u and v."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor, kind: Gate) -> torch.Tensor:
        inputs = [each.flatten(0, -2) for each in (gate, up)]
        ctx.save_for_backward(*inputs)
        ctx.kind = kind
        kernel = _gated_silu if kind == "silu" else _gated_gelu
        return kernel(*inputs).view(gate.shape)  # type: ignore[no-any-return]  # torch doesn't type it

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Return the gradients of both inputs."""
        (g,) = outer
        kernel = _gated_silu_gradients if ctx.kind == "silu" else _gated_gelu_gradients
        d_gate, d_up = kernel(*ctx.saved_tensors, g.flatten(0, -2))
        return d_gate.view(g.shape), d_up.view(g.shape), None


@_compiled(2)
def _gated_silu(gate: Any, up: Any) -> Any:
    return (F.silu(gate.float()) * up.float()).to(gate.dtype)


@_compiled(3)
def _gated_silu_gradients(gate: Any, up: Any, g: Any) -> Any:
    u, v, outer = gate.float(), up.float(), g.float()
    share = torch.sigmoid(u)
    active = u * share
    d_gate = outer * v * (share + active * (1 - share))
    return d_gate.to(gate.dtype), (outer * active).to(up.dtype)


@_compiled(2)
def _gated_gelu(gate: Any, up: Any) -> Any:
    return (F.gelu(gate.float(), approximate="tanh") * up.float()).to(gate.dtype)


@_compiled(3)
def _gated_gelu_gradients(gate: Any, up: Any, g: Any) -> Any:
    # gelu(u) = u (1 + t) / 2 with t = tanh(√(2/π) (u + 0.044715 u³)) (Hendrycks and Gimpel 2016, section 2)
    u, v, outer = gate.float(), up.float(), g.float()
    factor, cubic = math.sqrt(2 / math.pi), 0.044715
    t = torch.tanh(factor * (u + cubic * u**3))
    slope = (1 + t) / 2 + u / 2 * (1 - t * t) * factor * (1 + 3 * cubic * u * u)
    return (outer * v * slope).to(gate.dtype), (outer * u * (1 + t) / 2).to(up.dtype)


class _Rotation(torch.autograd.Function):
    """(a ∘ cos₁ − b ∘ sin₁, b ∘ cos₂ + a ∘ sin₂) for both halves a and b of a vector (Su et al. 2021, equation 34).

    Heads are the second to last dimension, as projections write them and attention reads them.
    """

    @staticmethod
    def forward(ctx: Any, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        query, key, *angles = tensors
        # One row of angles, where all rows have the same positions.
        shape = (len(query), *angles[0].shape[1:])
        flat = [each.expand(shape).flatten(0, 1) for each in angles]
        ctx.save_for_backward(*flat)
        return _apply_to_tokens(_rotate, (query, key), flat)

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of queries and keys."""
        return *_apply_to_tokens(_rotate_back, outer, ctx.saved_tensors), None, None


def _apply_to_tokens(
    kernel: _Kernel, heads: Sequence[torch.Tensor], angles: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """Call a kernel with heads [rows, heads, tokens, size] as [rows × tokens, heads, size]."""
    rows = len(heads[0])
    results = kernel(*(each.transpose(1, 2).flatten(0, 1) for each in heads), *angles)
    return tuple(each.unflatten(0, (rows, -1)).transpose(1, 2) for each in results)


@_compiled(4)
def _rotate(query: Any, key: Any, cosine: Any, sine: Any) -> Any:
    (cos1, cos2), (sin1, sin2) = (each.unsqueeze(1).chunk(2, -1) for each in (cosine, sine))
    halves = (each.chunk(2, -1) for each in (query, key))
    # Joined at the end, which Inductor vectorizes; a rotated copy as in transformers takes twice as long.
    return tuple(torch.cat([a * cos1 - b * sin1, b * cos2 + a * sin2], -1) for a, b in halves)


@_compiled(4)
def _rotate_back(query_grad: Any, key_grad: Any, cosine: Any, sine: Any) -> Any:
    (cos1, cos2), (sin1, sin2) = (each.unsqueeze(1).chunk(2, -1) for each in (cosine, sine))
    halves = (each.chunk(2, -1) for each in (query_grad, key_grad))
    return tuple(torch.cat([a * cos1 + b * sin2, b * cos2 - a * sin1], -1) for a, b in halves)
