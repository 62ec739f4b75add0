"""Memory levels, lowered when memory runs out: the same optimizer steps with less in memory at a time."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Any

import peft
import torch

from lora_studio.core.training.spec import TrainingSpec


@dataclass(frozen=True)
class MemoryLevel:
    """How many rows are computed at once, and whether activations are recomputed instead of stored.

    The field names are those of the `memory` entry in checkpoints and manifests.
    """

    micro_batch: int
    recomputing: bool

    def count_micro_batches(self, rows_per_step: int) -> int:
        """Return the number of micro-batches in a step; the last one may be smaller."""
        return math.ceil(rows_per_step / self.micro_batch)

    def get_next_lower(self, *, can_recompute: bool) -> MemoryLevel | None:
        """Return the level with half the rows, then the one that recomputes; None at the lowest."""
        if self.micro_batch > 1:
            return MemoryLevel(self.micro_batch // 2, self.recomputing)
        return MemoryLevel(1, True) if can_recompute and not self.recomputing else None


def choose_starting_level(spec: TrainingSpec, *recorded: Any) -> MemoryLevel:
    """Return the lowest of the recipe's level and the `recorded` ones of an interrupted training.

    Recorded levels are JSON objects, or None; invalid ones are ignored.
    """
    levels = [MemoryLevel(spec.micro_batch, spec.gradient_checkpointing != "off")]
    for entry in recorded:
        with contextlib.suppress(KeyError, TypeError, ValueError):
            levels.append(
                MemoryLevel(max(1, int(entry["micro_batch"])), bool(entry["recomputing"]))
            )
    return min(levels, key=lambda level: (level.micro_batch, not level.recomputing))


def can_recompute(model: peft.PeftModel) -> bool:
    """Return whether the architecture supports gradient checkpointing."""
    return bool(getattr(model.get_base_model(), "supports_gradient_checkpointing", False))


def enable_recomputing(model: peft.PeftModel) -> None:
    """Turn gradient checkpointing on; results stay the same."""
    base = model.get_base_model()
    if not base.is_gradient_checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})


def reserve_optimizer_state(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> list[torch.Tensor]:
    """Allocate what the optimizer's first step will allocate: two values for each trainable parameter.

    Returns an empty list when the optimizer has its state already.
    """
    if any(getattr(optimizer, "state", {}).values()):
        return []
    return [
        torch.zeros((2, *value.shape), device=value.device)
        for value in model.parameters()
        if value.requires_grad
    ]
