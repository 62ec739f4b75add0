"""What runs the model of a column: the interface, and the requests and replies of every kind of model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from lora_studio.core.chat import Sampling
from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.metrics import Logprobs
from lora_studio.core.problems import Problem, error
from lora_studio.core.tasks.samples import UnusableRow
from lora_studio.engine.servers.openai_client import Reply


@dataclass(frozen=True)
class AnswerRequest:
    """An item to answer, and its prompt as `ModelRunner.render` returned it."""

    item: EvaluationItem
    prompt: str


class ModelRunner(Protocol):
    """Answers and scores items with one model. Nothing is loaded before the first answer or score.

    `model_hash` identifies the model, "" if it can't be identified; answers aren't reused then. `device`
    is where it runs, known once it is loaded.
    """

    model_hash: str
    device: str

    def render(self, item: EvaluationItem) -> str:
        """Return the prompt of an item; raises ProblemError if the model can't be given it."""

    def generate(
        self, requests: Sequence[AnswerRequest], sampling: Sampling
    ) -> Iterator[tuple[int, Reply]]:
        """Yield the index of each request and the reply, as soon as it is complete."""

    def score(self, requests: Sequence[AnswerRequest]) -> Iterator[tuple[int, Logprobs]]:
        """Yield the index of each request and the log-likelihoods of its choices and its reference."""

    def close(self) -> None:
        """Free what the model takes."""


def cut_at_stops(answer: str, stops: Sequence[str]) -> tuple[str, bool]:
    """Return an answer before the first text that ends it, and whether there is one."""
    before = min((answer.partition(stop)[0] for stop in stops if stop), key=len, default=answer)
    return before, len(before) < len(answer)


def template_problem(refused: UnusableRow) -> Problem:
    """Return the problem of an item that the chat template of a model refuses."""
    return error(
        "evaluation.refused_by_template",
        "The chat template can't render this prompt: {reason}.",
        "Change the roles of its messages, for example by removing the system message.",
        reason=refused.reason,
    )
