"""What a reward rates, and the interface of every reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lora_studio.core.tasks.samples import Message


@dataclass(frozen=True)
class RatedAnswer:
    """An answer that the model has written while it trains, and the row whose prompt it answers.

    `reference` is the expected answer of the row, None if it has none. `columns` are its further
    columns as text. `ended` is False for an answer that was cut at the longest length; `tokens` is its
    length.
    """

    prompt: tuple[Message, ...]
    answer: str
    reference: str | None
    columns: Mapping[str, str]
    ended: bool
    tokens: int


class Reward(Protocol):
    """Rates answers. `name` is unique in a recipe, and the name of the reward's curves."""

    name: str

    def score(self, answers: Sequence[RatedAnswer]) -> list[float | None]:
        """Return the value of each answer, None where the reward failed."""
