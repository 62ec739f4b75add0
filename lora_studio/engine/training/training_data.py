"""The rows that a trainer reads, after tokenization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lora_studio.core.dataset.spec import Task
from lora_studio.core.protocol import events
from lora_studio.engine.dataset.rows.sequences import Selection
from lora_studio.engine.rewards.registry import WeightedRewards
from lora_studio.engine.tokens.encoder import (
    Encoded,
    EncodedClassified,
    EncodedLabeled,
    EncodedPair,
    EncodedPrompt,
)
from lora_studio.engine.tokens.search_texts import EncodedSearchPair

#: One row: a conversation or document, a preference pair, an answer labeled good or bad, a prompt, a query
#: with the text to find, or a text with its label.
TrainingRow = (
    Encoded | EncodedPair | EncodedLabeled | EncodedPrompt | EncodedSearchPair | EncodedClassified
)


class TrainingRows(Protocol):
    """Rows that are read from disk one at a time; their lengths in tokens are in memory."""

    selection: Selection
    lengths: np.ndarray

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def __getitem__(self, row: int, /) -> TrainingRow:
        """Read one row."""
        ...


@dataclass(frozen=True)
class TrainingData:
    """The training and validation rows of a run, in the form that the task's objective takes.

    `fingerprint` identifies the training rows, token by token and in their order; `ready` counts
    the rows and tokens. `rewards` rate the answers to prompts.
    """

    task: Task
    training: TrainingRows
    validation: TrainingRows
    fingerprint: str
    ready: events.DatasetReady
    rewards: WeightedRewards | None = None
