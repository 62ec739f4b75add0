"""Linear layers with LoRA in fewer passes over memory, for plain weights and for 4-bit ones.

PEFT computes the base layer, both small products, their scaling and the sum one after the other, and in
4-bit layers it also copies the result of the base. Here the product with B adds the update to the base's
result, with the scale multiplied into B, and the product with A adds its part of the input's gradient in
the same way. Plain layers of one input, like queries, keys and values, also share the product with A, and
add up the input's gradient within their products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch.nn import functional as F  # noqa: N812 - its usual name


class _Adapted(torch.autograd.Function):
    """y = x·Wᵀ + s (x·Aᵀ)·Bᵀ with W frozen (Hu et al. 2021, equation 3), for each of several layers of one input.

    Its gradients, with g = dL/dy and h = x·Aᵀ: dx = g·W + s (g·B)·A, dA = s (g·B)ᵀ·x, dB = s gᵀ·h. All A are
    stacked, so that each product with them is one for all layers; the products that yield dx add to one another.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, scales: Sequence[float], *tensors: torch.Tensor | None
    ) -> tuple[torch.Tensor, ...]:
        """`x` [..., inputs]; `tensors` are the W [outputs, inputs], biases, A [rank, inputs], and B of all layers."""
        weights, biases, every_a, every_b = _split_by_kind(tensors)
        flat = x.reshape(-1, x.shape[-1])
        ctx.ranks = [len(a) for a in every_a]
        stacked_a, *every_scaled = _casts.get(every_a, every_b, scales, x.dtype)
        small = flat @ stacked_a.t()
        results = []
        parts = small.split(ctx.ranks, 1)
        for h, weight, bias, b in zip(parts, weights, biases, every_scaled, strict=True):
            # In PEFT's order, for its rounding.
            y = F.linear(flat, weight, bias).addmm_(h, b.t())
            # Not a view for autograd, because OLMo's attention changes its queries in place.
            results.append(torch.ops.aten._unsafe_view(y, [*x.shape[:-1], len(weight)]))
        ctx.save_for_backward(flat, small, stacked_a, *weights, *every_scaled)
        ctx.scales, ctx.shape = scales, x.shape
        ctx.dtypes = [every_a[0].dtype, every_b[0].dtype]
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return dx, every dA and every dB; A and B may have a different dtype from x."""
        flat, small, stacked_a, *tensors = ctx.saved_tensors
        count, (a_dtype, b_dtype) = len(ctx.scales), ctx.dtypes
        weights, every_scaled = tensors[:count], tensors[count:]
        grads = [g.reshape(-1, g.shape[-1]) for g in outer]
        every_d_small, every_d_b = [], []
        parts = small.split(ctx.ranks, 1)
        for h, g, b, scale in zip(parts, grads, every_scaled, ctx.scales, strict=True):
            every_d_small.append(g @ b)
            every_d_b.append(_compute_gradient_of_b(h, g, scale, b_dtype))
        d_small = _join(every_d_small, 1)
        every_d_a = (d_small.t() @ flat).to(a_dtype).split(ctx.ranks)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = d_small @ stacked_a
            for g, weight in zip(grads, weights, strict=True):
                dx.addmm_(g, weight)
            dx = dx.view(ctx.shape)
        return dx, None, *[None] * (2 * count), *every_d_a, *every_d_b


class _CastCache:
    """All A of layers of one input, stacked, and each s B, in the format of the activations."""

    def __init__(self) -> None:
        """Keep nothing."""
        self._kept: dict[tuple[Any, ...], tuple[Sequence[torch.Tensor], list[torch.Tensor]]] | None
        self._kept = None

    @property
    def are_kept(self) -> bool:
        """Return whether each cast is computed once; not in compiled code, or each layer would be compiled again."""
        return not torch.compiler.is_compiling() and self._kept is not None

    @contextmanager
    def keep(self) -> Iterator[None]:
        """Compute each cast once: no weight may change within."""
        self._kept = {}
        try:
            yield
        finally:
            self._kept = None

    def get(
        self,
        every_a: Sequence[torch.Tensor],
        every_b: Sequence[torch.Tensor],
        scales: Sequence[float],
        dtype: torch.dtype,
    ) -> list[torch.Tensor]:
        """Return the result of `cast_adapters`, the kept one if there is one."""
        # In the format of A there is nothing to cast.
        if not self.are_kept or self._kept is None or dtype == every_a[0].dtype:
            return cast_adapters(every_a, every_b, scales, dtype)
        key = (dtype, *map(id, every_a))
        if key not in self._kept:
            # With every A, so that no other tensor gets its id.
            self._kept[key] = every_a, cast_adapters(every_a, every_b, scales, dtype)
        return self._kept[key][1]


def cast_adapters(
    every_a: Sequence[torch.Tensor],
    every_b: Sequence[torch.Tensor],
    scales: Sequence[float],
    dtype: torch.dtype,
) -> list[torch.Tensor]:
    """Return stacked A [sum of ranks, inputs] and every s B [outputs, rank] in a dtype."""
    scaled = [(b * scale).to(dtype) for b, scale in zip(every_b, scales, strict=True)]
    return [_join(every_a, 0).to(dtype), *scaled]


_casts = _CastCache()

#: Within this context, casts of A and B are computed once: no weight may change.
keep_casts = _casts.keep


def _split_by_kind(tensors: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield the weights, biases, A and B of all layers."""
    count = len(tensors) // 4
    return (tensors[start : start + count] for start in range(0, len(tensors), count))


def _join(matrices: Sequence[torch.Tensor], dim: int) -> torch.Tensor:
    return torch.cat(list(matrices), dim) if len(matrices) > 1 else matrices[0]


class _Adapted4bit(torch.autograd.Function):
    """The same with W stored in 4 bits (Dettmers et al. 2023, section 3).

    The forward pass leaves W to bitsandbytes, which has a product of its own for few tokens. The backward
    pass dequantizes W again rather than keeping it.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, base: Any, a: torch.Tensor, b: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """`x` [..., inputs], `base` a Linear4bit, `a` [rank, inputs], `b` [outputs, rank]."""
        flat = x.reshape(-1, x.shape[-1]).to(base.compute_dtype)
        casts = cast_a, scaled_b = _casts.get([a], [b], [scale], flat.dtype)
        small = flat @ cast_a.t()
        y: torch.Tensor = base(flat)
        y.addmm_(small, scaled_b.t())
        ctx.save_for_backward(flat, small, a, b)
        ctx.base, ctx.scale, ctx.shape, ctx.dtype = base, scale, x.shape, x.dtype
        # Those that are kept anyway; gradient checkpointing gives the backward pass other tensors for A and B.
        ctx.casts = casts if _casts.are_kept else None
        return y.to(x.dtype).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return dx, dA and dB; A and B may have a different dtype from x."""
        flat, small, a, b = ctx.saved_tensors
        g = outer[0].reshape(-1, outer[0].shape[-1]).to(flat.dtype)
        cast_a, scaled_b = ctx.casts or cast_adapters([a], [b], [ctx.scale], g.dtype)
        d_b = _compute_gradient_of_b(small, g, ctx.scale, b.dtype)
        d_small = g @ scaled_b
        d_a = (d_small.t() @ flat).to(a.dtype)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = (g @ _dequantize(ctx.base, g.dtype)).addmm_(d_small, cast_a)
            dx = dx.to(ctx.dtype).view(ctx.shape)
        return dx, None, d_a, d_b, None


def _compute_gradient_of_b(
    small: torch.Tensor, g: torch.Tensor, scale: float, dtype: torch.dtype
) -> torch.Tensor:
    """Return dB in a dtype, from h [tokens, rank] and g [tokens, outputs]."""
    # Transposed: on a CPU, gᵀ·h takes up to twice the time of hᵀ·g.
    return (small.t() @ g).to(dtype).mul_(scale).t()


def _dequantize(base: Any, dtype: torch.dtype) -> torch.Tensor:
    """Return the weights of a Linear4bit, [outputs, inputs]."""
    from bitsandbytes.functional import dequantize_4bit

    weight = base.weight
    # As one column: bitsandbytes returns the weights transposed for packed ones in a row.
    return dequantize_4bit(weight.data.view(-1, 1), weight.quant_state).to(dtype)


def compute_adapted(self: Any, x: torch.Tensor, *others: Any, **named: Any) -> torch.Tensor:
    """Compute a LoRA layer; falls back to its own forward where this one doesn't apply."""
    base, name = self.base_layer, _get_only_adapter(self)
    cast = _cast_like_autocast(x, base.weight.dtype)
    if others or named or not name or cast.dtype != base.weight.dtype:
        return type(self).forward(self, x, *others, **named)  # type: ignore[no-any-return]  # a layer is Any
    y: torch.Tensor = _compute([(self, name)], cast)[0]
    return y


def compute_together(layers: Sequence[Any], x: torch.Tensor) -> Sequence[torch.Tensor]:
    """Compute LoRA layers of one input; one after the other where they aren't all plain at the moment."""
    named = [(layer, _get_only_adapter(layer)) for layer in layers]
    cast = _cast_like_autocast(x, layers[0].base_layer.weight.dtype)
    if all(name and cast.dtype == layer.base_layer.weight.dtype for layer, name in named):
        return _compute(named, cast)
    return [layer(x) for layer in layers]


def _cast_like_autocast(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return x as autocast would give it to a product: CUDA's turns what a LayerNorm returns into 32-bit."""
    kind = x.device.type
    if x.dtype == dtype or not torch.is_autocast_enabled(kind):
        return x
    return x.to(dtype) if torch.get_autocast_dtype(kind) == dtype else x


@contextmanager
def precompute(layers: Sequence[Any], x: torch.Tensor) -> Iterator[dict[Any, torch.Tensor]]:
    """Compute LoRA layers of one input, and let each return its result when it is called with it.

    Yields the results that weren't returned yet: they are released one after the other.
    """
    results = dict(zip(layers, compute_together(layers, x), strict=True))
    before = {layer: layer.__dict__.get("forward") for layer in layers}
    for layer in layers:
        forward = partial(_return_precomputed, results, layer, x, layer.forward)
        layer.__dict__["forward"] = forward
    try:
        yield results
    finally:
        for layer, forward in before.items():
            del layer.__dict__["forward"]
            if forward is not None:
                layer.__dict__["forward"] = forward


def _return_precomputed(
    results: dict[Any, torch.Tensor],
    layer: Any,
    x: torch.Tensor,
    forward: Callable[..., Any],
    *args: Any,
    **named: Any,
) -> Any:
    """Return a layer's result for x, the result of its forward for other inputs."""
    is_common = len(args) == 1 and args[0] is x and not named
    return results.pop(layer) if is_common and layer in results else forward(*args, **named)


def _compute(layers: Sequence[tuple[Any, str]], x: torch.Tensor) -> Sequence[torch.Tensor]:
    """Compute layers with the names of their adapters."""
    bases = [layer.base_layer for layer, _ in layers]
    results: Sequence[torch.Tensor] = _Adapted.apply(
        x,
        [layer.scaling[name] for layer, name in layers],
        *(base.weight for base in bases),
        *(base.bias for base in bases),
        *(layer.lora_A[name].weight for layer, name in layers),
        *(layer.lora_B[name].weight for layer, name in layers),
    )
    return results


def compute_adapted_4bit(self: Any, x: torch.Tensor, *others: Any, **named: Any) -> torch.Tensor:
    """Compute a LoRA layer over 4-bit weights; falls back to its own forward."""
    base, name = self.base_layer, _get_only_adapter(self)
    if others or named or not name or base.compute_dtype is None or base.weight.quant_state is None:
        return type(self).forward(self, x, *others, **named)  # type: ignore[no-any-return]  # a layer is Any
    a, b = self.lora_A[name].weight, self.lora_B[name].weight
    y: torch.Tensor = _Adapted4bit.apply(x, base, a, b, self.scaling[name])
    return y


def _get_only_adapter(layer: Any) -> str:
    """Return the name of the one plain adapter that is in effect; "" if there is none or another kind."""
    active = layer.active_adapters
    is_plain = (
        not layer.disable_adapters
        and not layer.merged
        and len(active) == 1
        and active[0] in layer.lora_A
        and active[0] not in layer.lora_variant
    )
    return active[0] if is_plain else ""


def is_plain_lora(layer: Any) -> bool:
    """Return whether a layer is a frozen, unquantized linear layer with plain LoRA and no dropout."""
    if type(layer) is not LoraLinear or type(layer.base_layer) is not torch.nn.Linear:
        return False
    return _is_plain(layer) and layer.base_layer.weight.is_floating_point()


def are_plain_lora(parent: torch.nn.Module, *names: str) -> bool:
    """Return whether a module has children of these names, and all are plain LoRA without hooks."""
    layers: list[Any] = [getattr(parent, name, None) for name in names]
    return all(
        is_plain_lora(layer) and not (layer._forward_hooks or layer._forward_pre_hooks)
        for layer in layers
    )


def is_4bit_lora(layer: Any) -> bool:
    """Return whether a layer is a linear layer in 4 bits with plain LoRA and no dropout."""
    # By name: without bitsandbytes, PEFT doesn't have the class.
    kind = type(layer)
    if (kind.__module__, kind.__name__) != ("peft.tuners.lora.bnb", "Linear4bit"):
        return False
    shape = getattr(getattr(layer.base_layer.weight, "quant_state", None), "shape", ())
    sizes = (layer.base_layer.out_features, layer.base_layer.in_features)
    return _is_plain(layer) and tuple(shape) == sizes


def _is_plain(layer: Any) -> bool:
    """Return whether a layer's base is frozen and its adapters are LoRA without further parts."""
    base = layer.base_layer
    frozen = not any(value.requires_grad for value in base.parameters(recurse=False))
    plain = not layer.lora_variant and not layer.fan_in_fan_out
    plain = plain and not any(layer.lora_bias.values())
    dropless = all(
        isinstance(dropout, torch.nn.Identity) for dropout in layer.lora_dropout.values()
    )
    hooked = base._forward_hooks or base._forward_pre_hooks
    return bool(frozen and plain and dropless and not hooked)
