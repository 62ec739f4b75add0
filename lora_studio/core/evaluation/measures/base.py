"""The interface of every measure, and the base class of those that score answers or log-likelihoods."""

from __future__ import annotations

from typing import Protocol

from pydantic import BaseModel, ConfigDict

from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.messages import Text


class Logprobs(BaseModel):
    """Log-likelihoods of one item under one model, in nats; sums over tokens.

    `choices` has one sum for each choice, given the prompt. `reference` is the sum over the tokens of
    the reference answer, `reference_tokens` their number.
    """

    model_config = ConfigDict(
        defer_build=True, frozen=True, extra="ignore", ser_json_inf_nan="strings"
    )

    choices: tuple[float, ...] = ()
    reference: float | None = None
    reference_tokens: int = 0


class AnswerMeasure(Protocol):
    """Scores answers. `name` is what plans and files call it, with its parameter after a colon, such as
    "number:0.01".

    `needs_logprobs`: it reads log-likelihoods, which the engine computes, instead of the answer.
    `is_binary`: a score is 0 or 1, so that right and wrong answers can be counted. `lower_is_better`
    holds for perplexity. Scores are between 0 and 1, except for perplexity.
    """

    name: str
    title: Text
    needs_logprobs: bool
    is_binary: bool
    lower_is_better: bool

    def score(self, item: EvaluationItem, answer: str) -> float | None:
        """Return the score of an answer, None where the measure doesn't apply to the item."""

    def score_logprobs(self, item: EvaluationItem, logprobs: Logprobs) -> float | None:
        """Return the score from log-likelihoods, None where the measure doesn't apply to the item."""


class ReferenceMeasure:
    """Base of measures that compare an answer with the reference; higher is better."""

    needs_logprobs = False
    is_binary = True
    lower_is_better = False
    #: Whether a parameter may follow the name.
    has_parameter = False

    def __init__(self, kind: str, title: Text, parameter: str = "") -> None:
        """Store the name: the `kind`, followed by the parameter if there is one."""
        self.name = f"{kind}:{parameter}" if parameter else kind
        self.title, self.parameter = title, parameter

    def score(self, item: EvaluationItem, answer: str) -> float | None:
        """Return the score of an answer, None without a reference."""
        return None if item.reference is None else self.compare(item.reference, answer)

    def compare(self, reference: str, answer: str) -> float | None:
        """Return the score of an answer given the reference, None where the measure doesn't apply."""
        raise NotImplementedError  # measures that compare answers have their own

    def score_logprobs(self, item: EvaluationItem, logprobs: Logprobs) -> float | None:
        """Return None: answers are scored instead."""
        return None


class LogprobMeasure:
    """Base of measures that need log-likelihoods instead of an answer."""

    needs_logprobs = True
    is_binary = True
    lower_is_better = False
    has_parameter = False

    def __init__(self, kind: str, title: Text, parameter: str = "") -> None:
        """Store the name; these measures have no parameter."""
        self.name, self.title, self.parameter = kind, title, parameter

    def score(self, item: EvaluationItem, answer: str) -> float | None:
        """Return None: log-likelihoods are scored instead."""
        return None

    def score_logprobs(self, item: EvaluationItem, logprobs: Logprobs) -> float | None:
        """Return the score from log-likelihoods, None where the measure doesn't apply to the item."""
        raise NotImplementedError  # measures of log-likelihoods have their own
