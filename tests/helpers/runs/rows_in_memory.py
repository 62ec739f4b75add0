"""Rows of every objective in memory, of random tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lora_studio.core.rewards.spec import RatedAnswer
from lora_studio.core.tasks.samples import Message
from lora_studio.engine.rewards.failures import FailureList
from lora_studio.engine.tokens.encoder import (
    Encoded,
    EncodedClassified,
    EncodedLabeled,
    EncodedPair,
    EncodedPrompt,
    EncodedSearchPair,
)
from lora_studio.engine.training.frozen_models.teacher import TeacherStore

#: The labels of classifiers.
LABELS = ("good", "bad")


class Rows(list[Any]):
    """Rows in memory."""

    selection: Any = None

    @property
    def lengths(self) -> np.ndarray:
        return np.array([int(row.tokens) for row in self])


class RisingReward:
    """Rates the answers of a step 0, 1, 2, …: all fake answers are the same, and would teach nothing."""

    name = "rising"

    def __init__(self) -> None:
        self.failures = FailureList()

    def score(self, answers: Sequence[RatedAnswer]) -> list[float | None]:
        return [float(index) for index in range(len(answers))]


def make_rows(objective: str, *, packed: bool = True) -> Rows:
    """Return four rows, of the same length where they are packed: fake tensors of a known shape are faster."""
    generator = np.random.default_rng(0)

    def encode(length: int) -> Encoded:
        ids = generator.integers(5, 200, length).astype(np.int32)
        return Encoded(ids, np.arange(length) >= length // 2)

    lengths = (12,) * 4 if packed else (12, 7, 9, 5)
    match objective:
        case "sft":
            return Rows(map(encode, lengths))
        case "kto":
            return Rows(EncodedLabeled(encode(n), i % 2 == 0) for i, n in enumerate(lengths))
        case "grpo":
            asked = (Message(role="user", content="Who is Pim?"),)
            return Rows(EncodedPrompt(encode(n - 2).ids, asked) for n in lengths)
        case "distillation":
            rows = [encode(n) for n in lengths]
            return Rows(replace(row, teacher=make_records(row)) for row in rows)
        case "classification":
            return Rows(EncodedClassified(encode(n), i % 2) for i, n in enumerate(lengths))
        case "embedding":
            return Rows(EncodedSearchPair(*(encode(n // 2).ids for _ in range(3))) for n in lengths)
    more = 0 if packed else 3
    return Rows(EncodedPair(encode(n // 2), encode(n // 2 + more)) for n in lengths)


def make_records(row: Encoded) -> np.ndarray:
    """Return a teacher's tokens of a row, [trained tokens]."""
    dtype = TeacherStore(Path("none"), np.ones(1, np.int64), 4).dtype
    records = np.zeros(int(row.trained[1:].sum()), dtype)
    records["ids"], records["logprobs"], records["rest"] = np.arange(4), -1.5, -2.0
    return records
