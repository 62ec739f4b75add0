"""What an objective returns for a micro-batch."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch


@dataclass
class Loss:
    """The loss of a micro-batch and further metrics, all summed over its rows."""

    total: torch.Tensor
    metrics: dict[str, torch.Tensor] = field(default_factory=dict)
