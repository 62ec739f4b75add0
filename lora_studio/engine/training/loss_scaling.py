"""Backward pass, gradient clipping and update, with the loss scaled where gradients are float16.

accelerate's `Accelerator` offers the same, but it also sets up a process group and refuses computers
with several RTX 40 GPUs and an older driver, even to train on one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


class LossScaling:
    """Scale the loss in float16 on a GPU (Micikevicius et al. 2018), and do nothing in other formats.

    `scaler` is None without scaling.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        """Create a scaler for `dtype` on `device`, if it needs one."""
        is_scaled = dtype == torch.float16 and device.type == "cuda"
        self.scaler = torch.amp.GradScaler(device.type) if is_scaled else None

    @property
    def can_reduce(self) -> bool:
        """Return whether the scale can still fall.

        The scaler then skips a step whose gradients are infinite or NaN, and reduces the scale.
        """
        return self.scaler is not None and bool(self.scaler.get_scale() >= 1)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a loss, scaled, to the parameters'."""
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()

    def clip_gradients(
        self,
        optimizer: torch.optim.Optimizer,
        parameters: Sequence[torch.nn.Parameter],
        max_norm: float,
    ) -> torch.Tensor:
        """Undo the scale, limit the norm of all gradients to `max_norm` and return the norm before."""
        if self.scaler is not None and _has_gradients(optimizer):
            self.scaler.unscale_(optimizer)
        return torch.nn.utils.clip_grad_norm_(parameters, max_norm)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Update the weights; skip the update where the scaled gradients overflowed.

        Without any gradient, as in reward training if all rewards are equal, the scale stays as it is: the
        scaler raises where it has no gradient to check.
        """
        if self.scaler is None or not _has_gradients(optimizer):
            optimizer.step()
            return
        self.scaler.step(optimizer)
        self.scaler.update()


def _has_gradients(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether any parameter has a gradient, which may be zero."""
    return any(
        value.grad is not None for group in optimizer.param_groups for value in group["params"]
    )
