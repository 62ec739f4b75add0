"""How an answer is measured: the interface of every measure, and the registry of their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.messages import Text


class Logprobs(BaseModel):
    """Log-likelihoods of one item under one model, in nats; sums over tokens.

    `choices` has one sum for each choice, given the prompt. `reference` is the sum over the tokens of
    the reference answer, `reference_tokens` their number.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="strings")

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


def measure_by_name(spec: str) -> AnswerMeasure:
    """Return the measure that a name such as "contains" or "number:0.01" stands for.

    Raises ProblemError for an unknown name or an invalid parameter.
    """
    raise NotImplementedError(spec)


def suggest_measures(items: Sequence[EvaluationItem]) -> tuple[str, ...]:
    """Return the names of the measures that suit the references of some items, the main one first."""
    raise NotImplementedError(len(items))
