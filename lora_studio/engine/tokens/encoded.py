"""Rows as token ids, in the form that each training task needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lora_studio.core.dataset.spec import Message

_IGNORED = -100


@dataclass(frozen=True)
class Encoded:
    """One conversation: `ids` [length] int32 and `trained` [length] bool, truncated to the limit.

    `full_length` is the number of tokens before truncation; `left_out` counts answers that don't
    train because the template renders them in another context than the one they would be generated
    in. `teacher` are records of the teacher's most likely tokens, one for each trained token that another
    precedes; None if there is no teacher.
    """

    ids: np.ndarray
    trained: np.ndarray
    full_length: int
    left_out: int = 0
    teacher: np.ndarray | None = None

    @property
    def tokens(self) -> int:
        """Return the number of tokens that a pass over the row computes."""
        return len(self.ids)

    @property
    def labels(self) -> list[int]:
        """Return the ids of trained tokens, -100 elsewhere."""
        return np.where(self.trained, self.ids, _IGNORED).tolist()

    @property
    def is_cut(self) -> bool:
        """Return whether the limit truncated the row."""
        return self.full_length > len(self.ids)


@dataclass(frozen=True)
class EncodedPair:
    """The same prompt with the chosen and with the rejected answer; only the answers are trained.

    `reference` are both answers' log-probabilities under the reference model; None if they aren't known.
    """

    chosen: Encoded
    rejected: Encoded
    reference: tuple[float, ...] | None = None

    @property
    def tokens(self) -> int:
        """Return the number of tokens of both sides."""
        return self.chosen.tokens + self.rejected.tokens


@dataclass(frozen=True)
class EncodedLabeled:
    """A conversation whose last answer is labeled good or bad; only that answer is trained.

    `mismatched` is the conversation with the answer of another row. `reference` are the log-probabilities
    of both answers under the reference model, None if they aren't known.
    """

    answer: Encoded
    label: bool
    mismatched: Encoded | None = None
    reference: tuple[float, ...] | None = None

    @property
    def tokens(self) -> int:
        """Return the number of tokens of the conversation."""
        return self.answer.tokens


@dataclass(frozen=True)
class EncodedClassified:
    """A text with the number of its label among all labels of the data."""

    text: Encoded
    label: int

    @property
    def tokens(self) -> int:
        """Return the number of tokens of the text."""
        return self.text.tokens


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt that the model answers itself, and what its answers are rated with.

    `ids` [length] int32; `reference` is the expected answer, `columns` are further columns as text.
    """

    ids: np.ndarray
    messages: tuple[Message, ...]
    reference: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Return the number of tokens of the prompt."""
        return len(self.ids)
