"""Products with 16-bit weights in 32 bits, on processors without instructions for 16 bits.

WORKAROUND: PyTorch's own code for them is slow: 512 rows times a matrix of 14,336 × 4,096 took 9.1 s on one
core, and 1.2 s with weights that were widened first, one block at a time. The whole model in 32 bits would be
as fast, but needs twice the memory.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from lora_studio.engine.devices import devices

#: Values that are widened at once: 16 MB in 32 bits.
_BLOCK = 1 << 22

#: With fewer rows, reading the weights takes longer than the arithmetic.
_FEWEST_ROWS = 16


class WidenedLinear(nn.Linear):
    """A linear layer without gradients that keeps its weights in 16 bits and multiplies in 32 bits."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - as in torch
        """Return x·Wᵀ + b in the data type of `input`, [..., out]."""
        if input.device.type != "cpu" or input.shape[:-1].numel() < _FEWEST_ROWS:
            return functional.linear(input, self.weight, self.bias)
        wide, weight = input.float(), self.weight.detach()
        step = max(_BLOCK // self.in_features, 1)
        block = torch.empty(min(step, self.out_features), self.in_features)
        parts: list[torch.Tensor] = []
        for begin in range(0, self.out_features, step):
            rows = weight[begin : begin + step]
            product = functional.linear(wide, block[: len(rows)].copy_(rows))
            if self.bias is not None:
                product += self.bias[begin : begin + step]
            parts.append(product.to(input.dtype))
        return torch.cat(parts, -1)


def widen_products(model: nn.Module) -> None:
    """Let the linear layers of a model that only answers compute in 32 bits where that is faster."""
    for module in model.modules():
        if type(module) is nn.Linear and _is_slow(module.weight):
            # In place: a module instead of it would lose its hooks, and its ties with other layers.
            module.__class__ = WidenedLinear


def _is_slow(weight: torch.Tensor) -> bool:
    """Return whether PyTorch has no fast product for the data type of weights on the CPU."""
    if weight.device.type != "cpu":
        return False
    if weight.dtype == torch.bfloat16:
        return not devices.has_bfloat16_instructions()
    if weight.dtype != torch.float16:
        return False
    has_library = torch.backends.mkldnn.is_available()
    return not (has_library and torch.ops.mkldnn._is_mkldnn_fp16_supported())
