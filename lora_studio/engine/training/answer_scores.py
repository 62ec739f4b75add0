"""Score answers to validation rows at each evaluation, to choose the best adapter by them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from lora_studio.core.dataset.samples import Sample, UnusableRow
from lora_studio.core.evaluation.items import EvaluationItem, create_item
from lora_studio.core.evaluation.measures import measure_by_name
from lora_studio.core.messages import text
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.heldout import read_heldout
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.generation import answering
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tokens import encoder
from lora_studio.engine.training.distributed.ranks import ProcessGroup
from lora_studio.engine.training.random_state import preserve_random_state
from lora_studio.engine.training.sampling import sample_or_warn


@dataclass(frozen=True)
class _Question:
    """A validation row with a reference answer, and its rendered prompt."""

    item: EvaluationItem
    prompt: str


class AnswerScorer:
    """Answers the first validation rows greedily and returns their mean score."""

    def __init__(
        self,
        run: RunFolder,
        spec: TrainingSpec,
        tuned: AdaptedModel,
        job: JobContext,
        inference_context: Callable[[], AbstractContextManager[object]],
        ranks: ProcessGroup,
    ) -> None:
        """Take the model; `inference_context` sets autocast and weights."""
        self._run, self._spec, self._tuned, self._job = run, spec, tuned, job
        self._inference_context, self._ranks = inference_context, ranks
        self._questions: list[_Question] | None = None

    def score(self) -> float | None:
        """Return the mean score of the answers, 0 to 1, the same on every rank.

        None if the recipe doesn't ask for one, no row has a reference answer, or answers can't be
        generated, which is emitted as a warning. Weights and random state don't change.
        """
        if self._spec.best_by == "loss":
            return None
        score = None
        if self._ranks.is_first or self._ranks.is_sharded:
            self._job.show_stage(text("answering validation rows"))
            with preserve_random_state():
                # With sharded weights, other ranks wait inside the model.
                is_sharded = self._ranks.is_sharded
                score = self._compute() if is_sharded else sample_or_warn(self._compute, self._job)
        return self._ranks.broadcast(score)

    def _compute(self) -> float | None:
        questions = self._get_questions()
        model, measure = self._tuned.model, measure_by_name(self._spec.best_by)
        was_training = model.training
        model.eval()
        try:
            with self._inference_context():
                answers = answering.complete(
                    model,
                    self._tuned.base.tokenizer,
                    [question.prompt for question in questions],
                    self._spec.sample_tokens,
                    self._job,
                    in_step=self._ranks.is_sharded,
                )
        finally:
            model.train(was_training)
        pairs = zip(questions, answers, strict=True)
        scores = [measure.score(question.item, answer) for question, answer in pairs]
        valid = [score for score in scores if score is not None]
        return sum(valid) / len(valid) if valid else None

    def _get_questions(self) -> list[_Question]:
        """Return the rows to answer: those that have a reference and that the chat template accepts."""
        if self._questions is None:
            questions = []
            for sample in read_heldout(self._run):
                if (question := self._to_question(sample)) is not None:
                    questions.append(question)
                if len(questions) == self._spec.scored_rows:
                    break
            is_shared = self._ranks.is_sharded
            self._questions = self._ranks.broadcast(questions) if is_shared else questions
        return self._questions

    def _to_question(self, sample: Sample) -> _Question | None:
        turns = sample.messages
        end = next((i for i in reversed(range(len(turns))) if turns[i].role == "assistant"), 0)
        if not end or not turns[end].content.strip():
            return None
        tokenizer = self._tuned.base.tokenizer
        try:
            prompt = encoder.render(tokenizer, turns[:end], sample.tools, prompt=True)
        except UnusableRow:
            return None
        return _Question(create_item(test_set="heldout", reference=turns[end].content), prompt)
