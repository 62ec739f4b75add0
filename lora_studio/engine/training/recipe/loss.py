"""What an objective returns for a micro-batch."""

from __future__ import annotations

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
