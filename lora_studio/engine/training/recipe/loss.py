"""What an objective returns for a micro-batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch


@dataclass
class Loss:
    """The loss of a micro-batch and further metrics, all summed over its rows.

    `confusion` [labels, labels] counts the rows of a classifier by actual and by predicted label.
    """

    total: torch.Tensor
    metrics: dict[str, torch.Tensor] = field(default_factory=dict)
    confusion: torch.Tensor | None = None


@dataclass(frozen=True)
class Divisors:
    """What the sums of a step are divided by: its loss, and each metric that is a mean over something else."""

    loss: int
    metrics: Mapping[str, int] = field(default_factory=dict)

    def get_for_metric(self, name: str) -> int:
        """Return what a metric is divided by."""
        return self.metrics.get(name, self.loss)
