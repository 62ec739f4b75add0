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
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 - its usual name

from lora_studio.core.system import build_tools
from lora_studio.engine.training.kernels.elementwise import Gate

#: The name in manifests.
NAME = "inductor"

#: Parameters times tokens, for each thread, from which a training takes less time with compiling than without:
#: 75 s of training on one core.
_LEAST_WORK = 5e12


def is_worthwhile(device: torch.device, dtype: torch.dtype, parameters: int, tokens: int) -> bool:
    """Return whether compiling makes a training of so many tokens faster: in bfloat16, on a CPU with AMX."""
    return (
        sys.platform == "linux"
        and device.type == "cpu"
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
    y: torch.Tensor = (_GatedSilu if kind == "silu" else _GatedGelu).apply(gate, up)
    return y


def rotary_embedding(
    query: torch.Tensor, key: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotate queries and keys [rows, heads, tokens, size] by their positions."""
    rotated: tuple[torch.Tensor, torch.Tensor] = _Rotation.apply(query, key, cosine, sine)
    return rotated


class _Kernel:
    """A function that is compiled on its first call."""

    def __init__(self, function: Callable[..., Any], *token_dims: int) -> None:
        """Take which dimension of the first arguments counts tokens, and changes with the micro-batch.

        The others are compiled as constants, which makes the loops over them up to a third faster.
        """
        self._function, self._token_dims = function, token_dims
        self._compiled: Callable[..., Any] | None = None

    def __call__(self, *inputs: Any) -> Any:
        """Return the function's result; the first call compiles it.

        A single token, as in generation, would be compiled on its own, so it isn't.
        """
        if inputs[0].shape[self._token_dims[0]] == 1:
            return self._function(*inputs)
        if self._compiled is None:
            build_tools.keep_compiled_code()
            for value, dim in zip(inputs, self._token_dims, strict=False):
                torch._dynamo.maybe_mark_dynamic(value, dim)
            self._compiled = torch.compile(self._function, options={"compile_threads": 1})
        return self._compiled(*inputs)


def _compile(*token_dims: int) -> Callable[[Callable[..., Any]], _Kernel]:
    """Let a function be compiled; see `_Kernel`."""
    return lambda function: _Kernel(function, *token_dims)


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


@_compile(0)
def _norm(x: Any, weight: Any, epsilon: float, offset: float) -> Any:
    exact = x.float()
    rates = torch.rsqrt(exact.square().mean(-1, keepdim=True) + epsilon)
    return (exact * rates * (weight.float() + offset)).to(x.dtype), rates


@_compile(0, 0, 0)
def _norm_gradient(x: Any, rates: Any, g: Any, weight: Any, offset: float) -> Any:
    unit, v = x.float() * rates, g.float() * (weight.float() + offset)
    return ((v - unit * (v * unit).mean(-1, keepdim=True)) * rates).to(x.dtype)


class _GatedSilu(torch.autograd.Function):
    """y and the gradients of `elementwise.gated_silu`."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        inputs = [each.flatten(0, -2) for each in (gate, up)]
        ctx.save_for_backward(*inputs)
        return _gated_silu(*inputs).view(gate.shape)  # type: ignore[no-any-return]  # torch doesn't type it

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gradients of both inputs."""
        (g,) = outer
        d_gate, d_up = _gated_silu_gradients(*ctx.saved_tensors, g.flatten(0, -2))
        return d_gate.view(g.shape), d_up.view(g.shape)


@_compile(0, 0)
def _gated_silu(gate: Any, up: Any) -> Any:
    return (F.silu(gate.float()) * up.float()).to(gate.dtype)


@_compile(0, 0, 0)
def _gated_silu_gradients(gate: Any, up: Any, g: Any) -> Any:
    u, v, outer = gate.float(), up.float(), g.float()
    share = torch.sigmoid(u)
    active = u * share
    d_gate = outer * v * (share + active * (1 - share))
    return d_gate.to(gate.dtype), (outer * active).to(up.dtype)


class _GatedGelu(torch.autograd.Function):
    """y = gelu(u) ∘ v with gelu(u) = u (1 + t) / 2, t = tanh(√(2/π) (u + 0.044715 u³)).

    Hendrycks and Gimpel 2016, section 2.
    """

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        inputs = [each.flatten(0, -2) for each in (gate, up)]
        ctx.save_for_backward(*inputs)
        return _gated_gelu(*inputs).view(gate.shape)  # type: ignore[no-any-return]  # torch doesn't type it

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gradients of both inputs."""
        (g,) = outer
        d_gate, d_up = _gated_gelu_gradients(*ctx.saved_tensors, g.flatten(0, -2))
        return d_gate.view(g.shape), d_up.view(g.shape)


@_compile(0, 0)
def _gated_gelu(gate: Any, up: Any) -> Any:
    return (F.gelu(gate.float(), approximate="tanh") * up.float()).to(gate.dtype)


@_compile(0, 0, 0)
def _gated_gelu_gradients(gate: Any, up: Any, g: Any) -> Any:
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
        query, key, cosine, sine = tensors
        ctx.save_for_backward(cosine, sine)
        rotated = _rotate(query.transpose(1, 2), key.transpose(1, 2), cosine, sine)
        return tuple(each.transpose(1, 2) for each in rotated)

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of queries and keys."""
        query_grad, key_grad = (each.transpose(1, 2) for each in outer)
        rotated = _rotate_back(query_grad, key_grad, *ctx.saved_tensors)
        return *(each.transpose(1, 2) for each in rotated), None, None


@_compile(1, 1, 1, 1)
def _rotate(query: Any, key: Any, cosine: Any, sine: Any) -> Any:
    (cos1, cos2), (sin1, sin2) = (each.unsqueeze(2).chunk(2, -1) for each in (cosine, sine))
    halves = (each.chunk(2, -1) for each in (query, key))
    # Joined at the end, which Inductor vectorizes; a rotated copy as in transformers takes twice as long.
    return tuple(torch.cat([a * cos1 - b * sin1, b * cos2 + a * sin2], -1) for a, b in halves)


@_compile(1, 1, 1, 1)
def _rotate_back(query_grad: Any, key_grad: Any, cosine: Any, sine: Any) -> Any:
    (cos1, cos2), (sin1, sin2) = (each.unsqueeze(2).chunk(2, -1) for each in (cosine, sine))
    halves = (each.chunk(2, -1) for each in (query_grad, key_grad))
    return tuple(torch.cat([a * cos1 + b * sin2, b * cos2 - a * sin1], -1) for a, b in halves)
