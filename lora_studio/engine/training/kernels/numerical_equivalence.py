"""Whether two ways of computing a layer give the same: values and gradients, but for rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lora_studio.engine.runtime import failures

#: Largest relative difference that rounding may make, by bytes of the number format.
TOLERANCE = {2: 3e-2, 4: 1e-4}


def compared(
    layer: torch.nn.Module, forward: Callable[..., Any], x: torch.Tensor, others: dict[str, Any]
) -> tuple[bool, str | None]:
    """Whether a layer's own forward and another agree on `x`; and why there is no telling, where one of
    them cannot be computed."""
    trained = [value for value in layer.parameters() if value.requires_grad]

    def computed(how: Callable[..., Any]) -> list[torch.Tensor]:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            y = how(layer, leaf, **others)
            y = y[0] if isinstance(y, tuple) else y
            push = torch.linspace(-1, 1, y.numel(), device=y.device).view(y.shape).to(y.dtype)
            return [y.detach(), *torch.autograd.grad(y, [leaf, *trained], push)]

    tolerance = TOLERANCE[bytes_computed_with(x)]
    return tried(lambda: (computed(forward), computed(type(layer).forward)), tolerance)


def bytes_computed_with(x: torch.Tensor) -> int:
    """Bytes of a number where a layer computes on `x`: autocast may make fewer of them."""
    kind = x.device.type
    cast = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind).itemsize
    return min(x.element_size(), cast or x.element_size())


def tried(
    both: Callable[[], tuple[list[torch.Tensor], list[torch.Tensor]]],
    tolerance: float | None = None,
) -> tuple[bool, str | None]:
    """Whether the tensors that are computed `both` ways are close, each within the `tolerance` of its
    own number format unless one is given; and why there is no telling."""
    try:
        return all(
            is_close(one, other, tolerance or TOLERANCE[one.element_size()])
            for one, other in zip(*both(), strict=True)
        ), None
    except Exception as error:  # compilers, drivers and models fail in ways of their own
        return False, failures.first_line(error).rstrip(".")[:200]


def is_close(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> bool:
    """Whether two tensors differ by no more than this share of their length."""
    difference = (found.float() - expected.float()).norm()
    return (found.shape, found.dtype) == (expected.shape, expected.dtype) and bool(
        difference <= tolerance * expected.float().norm()
    )
