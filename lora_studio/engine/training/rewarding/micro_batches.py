"""Split the answers of a step into micro-batches, those that take the most memory first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from lora_studio.engine.training.recipe.grpo import SampledAnswer


def batch_by_tokens(
    rows: Sequence[SampledAnswer], size: int, ranks: int = 1
) -> list[list[SampledAnswer]]:
    """Return rows in micro-batches of `size` or, so that each of several ranks gets one, fewer; the longest first."""
    size = min(size, max(1, math.ceil(len(rows) / ranks)))
    ordered = sorted(rows, key=lambda row: -row.tokens)
    return [ordered[begin : begin + size] for begin in range(0, len(ordered), size)]


@dataclass
class _SharedBatch:
    """Answers with each of their prompts once, and how many tokens that is."""

    rows: list[SampledAnswer] = field(default_factory=list)
    prompts: set[bytes] = field(default_factory=set)
    tokens: int = 0

    def count_tokens_with(self, prompt: bytes, row: SampledAnswer) -> int:
        """Return the tokens that there would be with another row."""
        answer = int(row.sequence.trained.sum())
        return self.tokens + (answer if prompt in self.prompts else row.tokens)

    def add(self, prompt: bytes, row: SampledAnswer) -> None:
        """Add a row."""
        self.tokens = self.count_tokens_with(prompt, row)
        self.prompts.add(prompt)
        self.rows.append(row)


def batch_by_prompt(
    rows: Sequence[SampledAnswer], size: int, ranks: int = 1
) -> list[list[SampledAnswer]]:
    """Return rows in micro-batches where answers share their prompt, those with the most tokens first.

    A micro-batch has up to as many tokens as `size` times the longest row, so it takes no more memory than
    `size` rows that share nothing. It has at most twice as many rows: attention keeps the keys and values of
    the prompt for each. With several ranks, it has few enough for each rank to get a micro-batch.
    """
    most_rows = min(2 * size, max(1, math.ceil(len(rows) / ranks)))
    room = size * max((row.tokens for row in rows), default=0)
    groups: dict[bytes, list[SampledAnswer]] = {}
    for row in rows:
        groups.setdefault(_get_prompt(row), []).append(row)
    batches: list[_SharedBatch] = []
    for prompt, group in groups.items():
        for row in sorted(group, key=lambda row: -row.tokens):
            fitting = [
                each
                for each in batches
                if len(each.rows) < most_rows and each.count_tokens_with(prompt, row) <= room
            ]
            sharing = [each for each in fitting if prompt in each.prompts]
            if not fitting:
                batches.append(_SharedBatch())
            (sharing or fitting or batches[-1:])[0].add(prompt, row)
    return [each.rows for each in sorted(batches, key=lambda each: -each.tokens)]


def _get_prompt(row: SampledAnswer) -> bytes:
    return row.sequence.ids[: int(row.sequence.trained.argmax())].tobytes()
