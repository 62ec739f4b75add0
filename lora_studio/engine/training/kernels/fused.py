"""Fused layers: LoRA, norms and gates in fewer passes over memory, and Liger's rotary embeddings.

A matrix product is cheap; the elementwise operations around it aren't, as each one reads and writes whole
activations. Here the low-rank update is added by the product that computes it (`adapted_linear.py`), also
where weights are stored in 4 bits; norms and gates keep only their inputs and are computed in blocks that
fit the CPU's cache. On a GPU, Liger's kernels compute norms, gates and rotary embeddings in one pass where
they are installed.
Every replacement is compared with the layer's own values and gradients first (`fuse_layers`); where they
differ, the next candidate is tried, and finally the layer stays unchanged.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Literal

import peft
import torch
from torch.nn import functional as F  # noqa: N812 - its usual name
from transformers.activations import GELUTanh, SiLUActivation

from lora_studio.core.messages import Text
from lora_studio.engine.training.kernels import adapted_linear, liger, numerical_equivalence
from lora_studio.engine.training.kernels.numerical_equivalence import Comparison
from lora_studio.engine.training.kernels.record import KernelRecord, summarize_fused_layers

#: Values of an activation to compute at a time on a CPU: 0.5 MB in 32-bit.
_CACHE_VALUES = 1 << 17

#: The layers of an attention that compute queries, keys and values.
_PROJECTIONS = ("q_proj", "k_proj", "v_proj")

#: The function in transformers' modules that rotates queries and keys.
_ROTATION = "apply_rotary_pos_emb"


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


def _iter_blocks(*tensors: torch.Tensor) -> Any:
    """Yield the same rows of several tensors, as many as fit the cache; all of them on a GPU."""
    first = tensors[0]
    rows = len(first) if first.device.type != "cpu" else max(1, _CACHE_VALUES // first.shape[-1])
    return zip(*(tensor.split(rows) for tensor in tensors), strict=True)


def compute_norm(self: Any, x: torch.Tensor) -> torch.Tensor:
    """Compute an RMS norm."""
    if x.dtype != self.weight.dtype:
        return type(self).forward(self, x)  # type: ignore[no-any-return]  # a layer is Any
    y: torch.Tensor = _Norm.apply(x, self.weight, self.variance_epsilon)
    return y


def _norm_by_liger(self: Any, x: torch.Tensor, kind: str, epsilon: str) -> torch.Tensor:
    """Compute an RMS norm by one kernel; `epsilon` is the name of the layer's attribute."""
    if x.dtype != self.weight.dtype:
        return type(self).forward(self, x)  # type: ignore[no-any-return]  # a layer is Any
    return liger.rms_norm(x, self.weight, getattr(self, epsilon), kind)


def is_plain_norm(layer: torch.nn.Module, epsilon: str = "variance_epsilon") -> bool:
    """Return whether a layer looks like Llama's RMS norm, frozen; in Gemma `epsilon` is "eps"."""
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


def _gated_forward(self: Any, x: torch.Tensor) -> torch.Tensor:
    """Compute a gated feed-forward layer."""
    return _gate(self, self.gate_proj(x), self.up_proj(x), _Gated.apply)


def _joined_gated_forward(self: Any, x: torch.Tensor) -> torch.Tensor:
    """Compute a gated feed-forward layer whose inner layers are computed together."""
    gate, up = adapted_linear.compute_together([self.gate_proj, self.up_proj], x)
    return _gate(self, gate, up, _Gated.apply)


def _liger_gated_forward(self: Any, x: torch.Tensor, kind: liger.Gate) -> torch.Tensor:
    """Compute a gated feed-forward layer with one kernel for the gate, Gemma's as well."""
    gate, up = self.gate_proj(x), self.up_proj(x)
    return _gate(self, gate, up, lambda gate, up: liger.gated_activation(gate, up, kind))


def _gate(
    layer: Any, gate: torch.Tensor, up: torch.Tensor, activate: Callable[..., torch.Tensor]
) -> torch.Tensor:
    if gate.dtype != up.dtype:
        return layer.down_proj(layer.act_fn(gate) * up)  # type: ignore[no-any-return]  # a layer is Any
    return layer.down_proj(activate(gate, up))  # type: ignore[no-any-return]  # a layer is Any


def is_gated_mlp(layer: torch.nn.Module, *acts: type[torch.nn.Module]) -> bool:
    """Return whether a layer looks like Llama's gated feed-forward layer, with one of the activations."""
    parts = all(
        isinstance(getattr(layer, f"{name}_proj", None), torch.nn.Module)
        for name in ("gate", "up", "down")
    )
    return parts and isinstance(
        getattr(layer, "act_fn", None), acts or (torch.nn.SiLU, SiLUActivation)
    )


@cache
def _create_rotating_forward(kind: type[torch.nn.Module]) -> Callable[..., Any] | None:
    """Return an attention's forward that rotates with Liger's kernel, None if it doesn't rotate.

    The module's own function stays for heads in another layout than Liger's.
    """
    forward = kind.forward
    code = getattr(forward, "__code__", None)
    if code is None or _ROTATION not in code.co_names or forward.__closure__:
        return None
    own_rotation = forward.__globals__[_ROTATION]

    def rotate(
        query: torch.Tensor,
        key: torch.Tensor,
        cosine: torch.Tensor,
        sine: torch.Tensor,
        unsqueeze_dim: int = 1,
    ) -> Any:
        if unsqueeze_dim != 1:
            return own_rotation(query, key, cosine, sine, unsqueeze_dim=unsqueeze_dim)
        return liger.rotary_embedding(query, key, cosine, sine)

    names = {**forward.__globals__, _ROTATION: rotate}
    replaced = types.FunctionType(code, names, forward.__name__, forward.__defaults__)
    replaced.__kwdefaults__ = forward.__kwdefaults__
    return replaced


@cache
def _join_projections(kind: type[torch.nn.Module]) -> Callable[..., Any]:
    """Return an attention's forward with queries, keys and values that are computed together."""
    forward: Callable[..., Any] = kind.forward

    def joined_attention(self: Any, hidden_states: torch.Tensor, *args: Any, **named: Any) -> Any:
        with adapted_linear.precompute(_get_projections(self), hidden_states):
            return forward(self, hidden_states, *args, **named)

    return joined_attention


def _get_projections(attention: Any) -> list[Any]:
    return [getattr(attention, name) for name in _PROJECTIONS]


def _compare_projections(layer: Any, _: Any, x: torch.Tensor, others: dict[str, Any]) -> Comparison:
    """Compare queries, keys and values that are computed together with those of each layer.

    Behind the softmax, the same rounding can change the gradients of queries and keys by a tenth. An attention
    that doesn't give its own input to all three gains nothing.
    """
    with adapted_linear.precompute(_get_projections(layer), x) as unused:
        type(layer).forward(layer, x, **others)
    if unused:
        return Comparison(agrees=False)
    layers = torch.nn.ModuleList(_get_projections(layer))

    def together(layers: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.cat(list(adapted_linear.compute_together(layers, x)), -1)

    def alone(layers: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([type(each).forward(each, x) for each in layers], -1)

    return numerical_equivalence.compare_forward(layers, together, x, {}, alone)


#: What Liger's kernels compute.
KernelPart = Literal["norms", "gates", "rotations", "scores"]


@dataclass(frozen=True)
class _Replacement:
    """A function that may replace a layer's forward, and how to compare it; `part` is what Liger computes in it."""

    forward: Callable[..., Any]
    part: KernelPart | None = None
    compare: Callable[..., Comparison] = numerical_equivalence.compare_forward

    @property
    def kind(self) -> str:
        """Return the name under which a manifest records it."""
        return f"liger_{self.part}" if self.part else self.forward.__name__.strip("_")


@dataclass
class FusedLayers:
    """How many layers are fused, how many of them by Liger, and why Liger's kernels weren't used.

    `kinds` and `exceptions` are those of a `KernelRecord`.
    """

    layers: int = 0
    by_liger: int = 0
    reasons: dict[KernelPart, Text] = field(default_factory=dict)
    kinds: frozenset[str] = frozenset()
    exceptions: dict[str, str] = field(default_factory=dict)


def _get_replacements(layer: Any, with_liger: bool, gates_by_liger: bool) -> list[_Replacement]:
    """Return what may replace a layer's forward, the fastest first."""
    if layer._forward_hooks or layer._forward_pre_hooks:
        return []
    replacements = _get_liger_replacements(layer, gates_by_liger) if with_liger else []
    if adapted_linear.is_plain_lora(layer):
        replacements.append(_Replacement(adapted_linear.compute_adapted))
    elif adapted_linear.is_4bit_lora(layer):
        replacements.append(_Replacement(adapted_linear.compute_adapted_4bit))
    elif is_plain_norm(layer):
        replacements.append(_Replacement(compute_norm))
    elif is_gated_mlp(layer):
        if adapted_linear.are_plain_lora(layer, "gate_proj", "up_proj"):
            replacements.append(_Replacement(_joined_gated_forward))
        replacements.append(_Replacement(_gated_forward))
    elif adapted_linear.are_plain_lora(layer, *_PROJECTIONS):
        joined = _join_projections(layer.__class__)
        replacements.append(_Replacement(joined, compare=_compare_projections))
    return replacements


def _get_liger_replacements(layer: Any, gates_by_liger: bool) -> list[_Replacement]:
    replacements: list[_Replacement] = []
    for kind, epsilon in (("llama", "variance_epsilon"), ("gemma", "eps")):
        if is_plain_norm(layer, epsilon):
            forward = partial(_norm_by_liger, kind=kind, epsilon=epsilon)
            replacements.append(_Replacement(forward, "norms"))
    if gates_by_liger and is_gated_mlp(layer):
        replacements.append(_Replacement(partial(_liger_gated_forward, kind="silu"), "gates"))
    if gates_by_liger and is_gated_mlp(layer, GELUTanh):
        replacements.append(_Replacement(partial(_liger_gated_forward, kind="gelu"), "gates"))
    rotated = _create_rotating_forward(layer.__class__)
    if rotated is not None:
        replacements.append(_Replacement(rotated, "rotations"))
    return replacements


class _LayerComparison:
    """A forward hook that compares each layer with its replacements on the first input that it gets.

    `chosen` are the first replacements that agree; `reasons` say why Liger's kernels weren't used.
    """

    def __init__(self, candidates: dict[torch.nn.Module, list[_Replacement]]) -> None:
        """Take the possible replacements of each layer, the fastest first."""
        self.chosen: dict[torch.nn.Module, _Replacement] = {}
        self.reasons: dict[KernelPart, Text] = {}
        self._candidates = candidates
        self._compared: set[torch.nn.Module] = set()
        self._failed = set[KernelPart]()

    def __call__(
        self, layer: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], _: Any
    ) -> None:
        others = dict(kwargs)
        x = args[0] if len(args) == 1 else others.pop("hidden_states", None)
        if x is None or layer in self._compared:
            return
        self._compared.add(layer)
        for replacement in self._candidates[layer]:
            if replacement.part in self._failed:  # a kernel that failed to compile fails every time
                continue
            comparison = replacement.compare(layer, replacement.forward, x, others)
            if comparison.agrees:
                self.chosen[layer] = replacement
                return
            if replacement.part is not None:
                self.reasons.setdefault(replacement.part, comparison.reason)
                if comparison.error:
                    self._failed.add(replacement.part)


def fuse_layers(
    model: peft.PeftModel,
    run_few_tokens: Callable[[], object],
    *,
    with_liger: bool = False,
    gates_by_liger: bool = True,
    record: KernelRecord | None = None,
) -> FusedLayers:
    """Replace the forward of every layer for which a fused one agrees, and count them.

    `run_few_tokens` passes a few tokens through the model, and each layer is compared on the input that
    it gets there. (Comparing the model's output instead doesn't work: with massive activations, the last
    digit of one layer can change half of it.) Of the replacements, only those that `record` allows are tried.
    """
    names = {layer: name for name, layer in model.named_modules()}
    allows = (record or KernelRecord()).allows_kind
    possible = {
        layer: replacements
        for layer in names
        if (replacements := _get_replacements(layer, with_liger, gates_by_liger))
    }
    candidates = {
        layer: [each for each in replacements if allows(names[layer], each.kind)]
        for layer, replacements in possible.items()
    }
    comparison = _compare_layers(model, run_few_tokens, candidates)
    kinds, exceptions = summarize_fused_layers(
        {names[layer]: [each.kind for each in every] for layer, every in possible.items()},
        {names[layer]: replacement.kind for layer, replacement in comparison.chosen.items()},
    )
    fused = FusedLayers(reasons=comparison.reasons, kinds=kinds, exceptions=exceptions)
    for layer, replacement in comparison.chosen.items():
        layer.forward = types.MethodType(replacement.forward, layer)  # type: ignore[method-assign]  # of this one layer
        fused.layers += 1
        fused.by_liger += replacement.part is not None
    return fused


def _compare_layers(
    model: peft.PeftModel,
    run_few_tokens: Callable[[], object],
    candidates: dict[torch.nn.Module, list[_Replacement]],
) -> _LayerComparison:
    """Return what a pass without dropout and gradients shows about the replacements of each layer."""
    comparison = _LayerComparison(candidates)
    hooks = [layer.register_forward_hook(comparison, with_kwargs=True) for layer in candidates]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            run_few_tokens()
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return comparison
