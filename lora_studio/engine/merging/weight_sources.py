"""Where the values of a merged weight come from: a stored tensor, or one with more rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch


class WeightSource(Protocol):
    """A tensor that can be read in rows: as stored, or dequantized from packed values."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def floating(self) -> bool: ...
    @property
    def length(self) -> int: ...
    def read_rows(self, first: int, last: int) -> torch.Tensor: ...


@dataclass(frozen=True)
class GrownTensor:
    """A weight with more rows than it is stored with; the additional ones are zero until updated."""

    stored: WeightSource
    length: int

    @property
    def name(self) -> str:
        """Return the name of the stored tensor."""
        return self.stored.name

    @property
    def dtype(self) -> str:
        """Return the data type of the stored tensor."""
        return self.stored.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape with all rows."""
        return (self.length, *self.stored.shape[1:])

    @property
    def floating(self) -> bool:
        """Return whether it holds floating-point numbers."""
        return self.stored.floating

    def read_rows(self, first: int, last: int) -> torch.Tensor:
        """Return the rows from `first` to before `last`."""
        known = min(self.stored.length, last)
        if first >= known:
            return torch.zeros_like(self.stored.read_rows(0, 1)).repeat(last - first, 1)
        rows = self.stored.read_rows(first, known)
        return torch.cat([rows, rows.new_zeros(last - known, *rows.shape[1:])])
