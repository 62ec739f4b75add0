"""Adapted layers, norms, gates and rotations in fewer passes over memory than PEFT and transformers take.

A product of matrices is cheap; what surrounds it is not, as each elementwise operation reads and writes
whole activations. Here the low-rank update is added by the product that computes it, its scale is in
B already; norms and gates keep their inputs alone and are computed in blocks that a cache holds. On a GPU
Liger's kernels, where they are installed, take norms, gates and rotations in one pass. Which layers are
meant is decided by what they are; that a layer gives the same values and gradients is tried out before
(`enable`), and where it does not, the next way is tried, and at last nothing changes.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import peft
import torch
from peft.tuners.lora import Linear as LoraLinear
from torch.nn import functional as F  # noqa: N812 - its usual name
from transformers.activations import GELUTanh, SiLUActivation

from lora_studio.engine.training.kernels import liger, numerical_equivalence

#: Values of an activation that are treated at a time on a processor: 0.5 MB in 32-bit.
_IN_CACHE = 1 << 17

#: What transformers calls the function that turns queries and keys, in the module of each attention.
_ROTATION = "apply_rotary_pos_emb"


class _Adapted(torch.autograd.Function):
    """y = x·Wᵀ + s (x·Aᵀ)·Bᵀ with W frozen (Hu et al. 2021, equation 3).

    Its gradients, with g = dL/dy and h = x·Aᵀ: dx = g·W + s (g·B)·A, dA = s (g·B)ᵀ·x, dB = s gᵀ·h.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """`x` [..., inputs], `weight` [outputs, inputs], `a` [rank, inputs], `b` [outputs, rank]."""
        flat = x.reshape(-1, x.shape[-1])
        small = flat @ a.to(x.dtype).t()
        y = F.linear(flat, weight, bias)
        y.addmm_(small, (b * scale).to(x.dtype).t())
        ctx.save_for_backward(flat, small, weight, a, b)
        ctx.scale, ctx.shape = scale, x.shape
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """dx, dA and dB; A and B may be of another number format than x."""
        flat, small, weight, a, b = ctx.saved_tensors
        g = outer[0].reshape(-1, weight.shape[0])
        d_small = g @ (b * ctx.scale).to(g.dtype)
        d_a = (d_small.t() @ flat).to(a.dtype)
        d_b = (g.t() @ small).to(b.dtype).mul_(ctx.scale)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = (g @ weight).addmm_(d_small, a.to(g.dtype)).view(ctx.shape)
        return dx, None, None, d_a, d_b, None


def _adapted(self: Any, x: torch.Tensor, *others: Any, **named: Any) -> torch.Tensor:
    """Takes the place of an adapted layer's forward where that would compute just this."""
    active = self.active_adapters
    base = self.base_layer
    if (
        others or named or self.disable_adapters or self.merged or len(active) != 1
        or active[0] not in self.lora_A or active[0] in self.lora_variant
        or x.dtype != base.weight.dtype
    ):  # fmt: skip
        return type(self).forward(self, x, *others, **named)  # type: ignore[no-any-return]  # a layer is Any
    name = active[0]
    a, b = self.lora_A[name].weight, self.lora_B[name].weight
    found: torch.Tensor = _Adapted.apply(x, base.weight, base.bias, a, b, self.scaling[name])
    return found


def _is_plain(layer: Any) -> bool:
    """Whether a layer is a frozen, unquantised linear layer with plain LoRA and without dropout."""
    if type(layer) is not LoraLinear or type(layer.base_layer) is not torch.nn.Linear:
        return False
    base = layer.base_layer
    frozen = not any(value.requires_grad for value in base.parameters(recurse=False))
    plain = not layer.lora_variant and not layer.fan_in_fan_out
    plain = plain and not any(layer.lora_bias.values())
    dropless = all(isinstance(each, torch.nn.Identity) for each in layer.lora_dropout.values())
    hooked = base._forward_hooks or base._forward_pre_hooks
    return bool(frozen and plain and dropless and not hooked and base.weight.is_floating_point())


class _Norm(torch.autograd.Function):
    """y = w ∘ x / √(mean(x²) + ε), computed in 32-bit (Zhang and Sennrich 2019, equation 4), w frozen.

    dL/dx = r (v − x̂ mean(v ∘ x̂)) with r = 1 / √(…), x̂ = r x and v = w ∘ dL/dy.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        """`x` [..., size], `weight` [size] of x's number format."""
        flat = x.reshape(-1, x.shape[-1])
        y = torch.empty_like(flat)
        rates = flat.new_empty(len(flat), 1, dtype=torch.float32)
        for part, out, rate in _blocks(flat, y, rates):
            exact = part.to(torch.float32, copy=True)
            mean = torch.linalg.vector_norm(exact, dim=-1, keepdim=True).square_().div_(x.shape[-1])
            torch.rsqrt(mean.add_(epsilon), out=rate)
            out.copy_(exact.mul_(rate)).mul_(weight)
        ctx.save_for_backward(x, rates, weight)
        return y.view(x.shape)

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """The gradient of the input."""
        x, rates, weight = ctx.saved_tensors
        flat, grad = x.reshape(-1, x.shape[-1]), outer[0].reshape(-1, x.shape[-1])
        found, wide = torch.empty_like(flat), weight.float()
        for part, g, rate, out in _blocks(flat, grad, rates, found):
            unit = part.float() * rate
            v = g.float() * wide
            share = torch.linalg.vecdot(v, unit)[:, None].div_(-x.shape[-1])
            out.copy_(v.addcmul_(unit, share).mul_(rate))
        return found.view(x.shape), None, None


def _blocks(*tensors: torch.Tensor) -> Any:
    """The same rows of several tensors, as many at a time as a cache holds; all on other devices."""
    first = tensors[0]
    rows = len(first) if first.device.type != "cpu" else max(1, _IN_CACHE // first.shape[-1])
    return zip(*(tensor.split(rows) for tensor in tensors), strict=True)


def _norm(self: Any, x: torch.Tensor) -> torch.Tensor:
    """Takes the place of a norm's forward."""
    if x.dtype != self.weight.dtype:
        return type(self).forward(self, x)  # type: ignore[no-any-return]  # a layer is Any
    found: torch.Tensor = _Norm.apply(x, self.weight, self.variance_epsilon)
    return found


def _norm_by_liger(self: Any, x: torch.Tensor, kind: str, epsilon: str) -> torch.Tensor:
    """The same by one kernel; `epsilon` is what the layer calls it."""
    if x.dtype != self.weight.dtype:
        return type(self).forward(self, x)  # type: ignore[no-any-return]  # a layer is Any
    return liger.norm(x, self.weight, getattr(self, epsilon), kind)


def _is_plain_norm(layer: torch.nn.Module, epsilon: str = "variance_epsilon") -> bool:
    """Whether a layer looks like a frozen root-mean-square norm of Llama's kind; Gemma's calls its
    `epsilon` "eps"."""
    weight = getattr(layer, "weight", None)
    return (
        type(layer).__name__.endswith("RMSNorm")
        and isinstance(weight, torch.nn.Parameter)
        and not weight.requires_grad
        and isinstance(getattr(layer, epsilon, None), float)
    )


class _Gated(torch.autograd.Function):
    """y = silu(u) ∘ v (Shazeer 2020, equation 6), whose gradients are silu'(u) ∘ v ∘ g and silu(u) ∘ g."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        """u and v of one shape [..., size]."""
        y = torch.empty_like(gate, memory_format=torch.contiguous_format)
        for u, v, out in _blocks(*(each.flatten(0, -2) for each in (gate, up, y))):
            torch.mul(F.silu(u), v, out=out)
        ctx.save_for_backward(gate, up)
        return y

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradients of both."""
        gate, up = ctx.saved_tensors
        d_gate, d_up = (torch.empty_like(gate, memory_format=torch.contiguous_format) for _ in "uv")
        parts = (each.flatten(0, -2) for each in (gate, up, outer[0], d_gate, d_up))
        for u, v, g, du, dv in _blocks(*parts):
            torch.mul(F.silu(u), g, out=dv)
            torch.ops.aten.silu_backward.grad_input(g * v, u, grad_input=du)
        return d_gate, d_up


def _gated(self: Any, x: torch.Tensor) -> torch.Tensor:
    """Takes the place of the forward of a block's gated layers."""
    gate, up = self.gate_proj(x), self.up_proj(x)
    if gate.dtype != up.dtype:
        return self.down_proj(self.act_fn(gate) * up)  # type: ignore[no-any-return]  # a layer is Any
    return self.down_proj(_Gated.apply(gate, up))  # type: ignore[no-any-return]  # a layer is Any


def _gated_by_liger(self: Any, x: torch.Tensor, kind: liger.Gate) -> torch.Tensor:
    """The same by one kernel, for Gemma's gates as well."""
    gate, up = self.gate_proj(x), self.up_proj(x)
    if gate.dtype != up.dtype:
        return self.down_proj(self.act_fn(gate) * up)  # type: ignore[no-any-return]  # a layer is Any
    return self.down_proj(liger.gated(gate, up, kind))  # type: ignore[no-any-return]  # a layer is Any


def _is_gated(layer: torch.nn.Module, *acts: type[torch.nn.Module]) -> bool:
    """Whether a layer looks like gated ones as Llama has them, or those with another function `acts`."""
    parts = all(
        isinstance(getattr(layer, f"{name}_proj", None), torch.nn.Module)
        for name in ("gate", "up", "down")
    )
    return parts and isinstance(
        getattr(layer, "act_fn", None), acts or (torch.nn.SiLU, SiLUActivation)
    )


class _Rotated(torch.autograd.Function):
    """y = x ∘ cos + r(x) ∘ sin with r(a, b) = (−b, a) for halves a and b (Su et al. 2021, equation 34).

    dL/dx is the same the other way round: with g = dL/dy it is g ∘ cos + r⁻¹(g ∘ sin).
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor
    ) -> torch.Tensor:
        """`x` [..., size], `cosine` and `sine` of shapes that spread to it."""
        ctx.save_for_backward(cosine, sine)
        half = x.shape[-1] // 2
        y = x * cosine
        y[..., :half].addcmul_(x[..., half:], sine[..., :half], value=-1)
        y[..., half:].addcmul_(x[..., :half], sine[..., half:])
        return y

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """The gradient of the input."""
        (cosine, sine), g = ctx.saved_tensors, outer[0]
        half = g.shape[-1] // 2
        dx = g * cosine
        dx[..., :half].addcmul_(g[..., half:], sine[..., half:])
        dx[..., half:].addcmul_(g[..., :half], sine[..., :half], value=-1)
        return dx, None, None


def _rotate(
    query: torch.Tensor,
    key: torch.Tensor,
    cosine: torch.Tensor,
    sine: torch.Tensor,
    unsqueeze_dim: int = 1,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Takes the place of the function that turns queries and keys by their positions."""
    cosine, sine = cosine.unsqueeze(unsqueeze_dim), sine.unsqueeze(unsqueeze_dim)
    return _Rotated.apply(query, cosine, sine), _Rotated.apply(key, cosine, sine)


def _rotate_by_liger(
    query: torch.Tensor,
    key: torch.Tensor,
    cosine: torch.Tensor,
    sine: torch.Tensor,
    unsqueeze_dim: int = 1,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same by one kernel, for heads that lie as it expects them."""
    if unsqueeze_dim != 1:
        return _rotate(query, key, cosine, sine, unsqueeze_dim)
    return liger.rotated(query, key, cosine, sine)


@cache
def _rotating(
    kind: type[torch.nn.Module], rotate: Callable[..., Any] = _rotate
) -> Callable[..., Any] | None:
    """The forward of a kind of attention with `rotate` for the function of its module, if it has that."""
    forward = kind.forward
    code = getattr(forward, "__code__", None)
    if code is None or _ROTATION not in code.co_names or forward.__closure__:
        return None
    names = {**forward.__globals__, _ROTATION: rotate}
    found = types.FunctionType(code, names, forward.__name__, forward.__defaults__)
    found.__kwdefaults__ = forward.__kwdefaults__
    return found


@dataclass(frozen=True)
class _Way:
    """A function that may take the place of a layer's forward; `part` is what Liger computes of it."""

    forward: Callable[..., Any]
    part: str | None = None


@dataclass
class Fused:
    """What is computed in fewer passes: how many layers, how many of them by Liger's kernels, and what
    those could not do, as a sentence each."""

    layers: int = 0
    by_liger: int = 0
    reasons: dict[str, str] = field(default_factory=dict)


def _ways(layer: Any, with_liger: bool, gates_by_liger: bool) -> list[_Way]:
    """What may take the place of a layer's forward, the best first."""
    if layer._forward_hooks or layer._forward_pre_hooks:
        return []
    ways: list[_Way] = []
    if with_liger:
        for kind, epsilon in (("llama", "variance_epsilon"), ("gemma", "eps")):
            if _is_plain_norm(layer, epsilon):
                ways.append(_Way(partial(_norm_by_liger, kind=kind, epsilon=epsilon), "norms"))
        if gates_by_liger and _is_gated(layer):
            ways.append(_Way(partial(_gated_by_liger, kind="silu"), "gates"))
        if gates_by_liger and _is_gated(layer, GELUTanh):
            ways.append(_Way(partial(_gated_by_liger, kind="gelu"), "gates"))
        if (rotating := _rotating(layer.__class__, _rotate_by_liger)) is not None:
            ways.append(_Way(rotating, "rotations"))
    if _is_plain(layer):
        ways.append(_Way(_adapted))
    elif _is_plain_norm(layer):
        ways.append(_Way(_norm))
    elif _is_gated(layer):
        ways.append(_Way(_gated))
    elif (rotating := _rotating(layer.__class__)) is not None:
        ways.append(_Way(rotating))
    return ways


def enable(
    model: peft.PeftModel,
    few: Callable[[], object],
    *,
    with_liger: bool = False,
    gates_by_liger: bool = True,
) -> Fused:
    """Computes the layers that are plain enough in fewer passes; which these are.

    `few` passes a few tokens through the model. On what reaches it there, each layer is computed both
    ways: one whose output or gradients differ by more than rounding stays as it is. (Compared at the
    end of the model, a last digit can make half of the result, where activations are massive.)
    """
    candidates = {
        layer: ways
        for layer in model.modules()
        if (ways := _ways(layer, with_liger, gates_by_liger))
    }
    chosen: dict[torch.nn.Module, _Way | None] = {}
    found, broken = Fused(), set[str]()

    def compare(
        layer: torch.nn.Module, given: tuple[Any, ...], named: dict[str, Any], _: Any
    ) -> None:
        others = dict(named)
        x = given[0] if len(given) == 1 else others.pop("hidden_states", None)
        if x is None or layer in chosen:
            return
        chosen[layer] = None
        for way in candidates[layer]:
            if way.part in broken:  # what cannot be compiled once never can
                continue
            agrees, error = numerical_equivalence.compared(layer, way.forward, x, others)
            if agrees:
                chosen[layer] = way
                return
            if way.part is not None:
                found.reasons.setdefault(way.part, error or "their values or gradients differ here")
                if error:
                    broken.add(way.part)

    hooks = [layer.register_forward_hook(compare, with_kwargs=True) for layer in candidates]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            few()
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    for layer, way in chosen.items():
        if way is not None:
            layer.forward = types.MethodType(way.forward, layer)  # type: ignore[method-assign]  # of this one layer
            found.layers += 1
            found.by_liger += way.part is not None
    return found
