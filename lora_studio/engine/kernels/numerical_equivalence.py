"""Compare two implementations of a layer: values and gradients, up to rounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lora_studio.core.messages import Text, text
from lora_studio.engine.runtime import failures

#: Largest relative difference that counts as rounding, by bytes of the dtype.
TOLERANCE = {2: 3e-2, 4: 1e-4}

#: Longest error message of a kernel to show.
_MAX_MESSAGE = 200


class UnavailableKernelError(ImportError):
    """A library lacks a kernel; `reason` is a clause that says so."""

    def __init__(self, reason: Text) -> None:
        """Store the reason."""
        super().__init__(str(reason))
        self.reason = reason


@dataclass(frozen=True)
class Comparison:
    """Whether two implementations agree, and what error kept them from being compared."""

    agrees: bool
    error: Text | None = None

    @property
    def reason(self) -> Text:
        """Return why the other implementation isn't used."""
        return self.error or text("values or gradients differ")


def compare_forward(
    layer: torch.nn.Module,
    forward: Callable[..., Any],
    x: torch.Tensor,
    kwargs: dict[str, Any],
    own: Callable[..., Any] | None = None,
) -> Comparison:
    """Compare a layer's own forward, or what `own` computes, with another one on the input `x`."""
    trained = [value for value in layer.parameters() if value.requires_grad]

    def compute(function: Callable[..., Any]) -> list[torch.Tensor]:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            y = function(layer, leaf, **kwargs)
        y = y[0] if isinstance(y, tuple) else y
        return [y.detach(), *compute_gradients([y], [leaf, *trained])]

    tolerance = TOLERANCE[compute_itemsize(x)]
    return compare_results(
        lambda: (compute(forward), compute(own or type(layer).forward)), tolerance
    )


def compute_gradients(
    results: Sequence[torch.Tensor], inputs: Sequence[torch.Tensor]
) -> Sequence[torch.Tensor]:
    """Return the gradients of the inputs for varied gradients of the results, outside autocast as in training."""
    outer = [
        torch.linspace(-1, 1, y.numel(), device=y.device).view(y.shape).to(y.dtype) for y in results
    ]
    with torch.autocast(results[0].device.type, enabled=False):
        return torch.autograd.grad(results, inputs, outer)


def compute_itemsize(x: torch.Tensor) -> int:
    """Return the bytes of a number in which a layer computes on `x`: autocast may reduce them."""
    kind = x.device.type
    cast = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind).itemsize
    return min(x.element_size(), cast or x.element_size())


def compare_results(
    compute_both: Callable[[], tuple[list[torch.Tensor], list[torch.Tensor]]],
    tolerance: float | None = None,
) -> Comparison:
    """Compare two lists of tensors, each within the tolerance of its own dtype unless one is given.

    An exception while computing counts as disagreement.
    """
    try:
        agrees = all(
            is_close(one, other, tolerance or TOLERANCE[one.element_size()])
            for one, other in zip(*compute_both(), strict=True)
        )
    except UnavailableKernelError as error:
        return Comparison(False, error.reason)
    except Exception as error:  # compilers, drivers and models fail in many ways
        # The outer exception of torch.compile only names the backend.
        cause = getattr(error, "inner_exception", error)
        message = failures.get_first_line(cause).rstrip(".")[:_MAX_MESSAGE]
        return Comparison(False, text("{error}", error=message))
    return Comparison(agrees)


def is_close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float) -> bool:
    """Return whether two tensors differ by at most this share of the expected norm."""
    if (actual.shape, actual.dtype) != (expected.shape, expected.dtype):
        return False
    return compute_difference(actual, expected) <= tolerance


def compute_difference(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the norm of the difference divided by the expected norm; waits for the device."""
    norms = (actual.float() - expected.float()).norm(), expected.float().norm()
    difference, norm = torch.stack(norms).tolist()
    return float(difference / norm) if norm else float("inf") if difference else 0.0
