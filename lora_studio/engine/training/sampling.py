"""Answers at each evaluation: samples of the base model and the adapted one, and scored validation rows."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, TypeVar

from lora_studio.core import limits
from lora_studio.core.evaluation.items import EvaluationItem, create_item
from lora_studio.core.evaluation.metrics import create_metric
from lora_studio.core.messages import Text, text
from lora_studio.core.protocol import events
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.heldout import read_heldout
from lora_studio.core.system.files import write_atomic
from lora_studio.core.system.foreign_files import read_json
from lora_studio.core.tasks.samples import Message, Sample, TaskName, UnusableRow
from lora_studio.core.tasks.table import TASKS
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.devices.oom_capture import OutOfMemory, capture_oom, release_memory
from lora_studio.engine.devices.ranks import ProcessGroup, preserve_random_state
from lora_studio.engine.generation import answering
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import NotFiniteError
from lora_studio.engine.tokens import encoder
from lora_studio.engine.training.problems import samples_memory_warning, samples_not_finite_warning

_T = TypeVar("_T")

#: Characters of a text document that serve as the prompt.
_TEXT_PROMPT = 200


@dataclass(frozen=True)
class SamplePrompt:
    """A prompt as shown, and the rendered text that the model continues."""

    shown: str
    text: str


@dataclass(frozen=True)
class _Question:
    """A validation row with a reference answer, and its rendered prompt."""

    item: EvaluationItem
    prompt: str


class Sampler:
    """Generates greedy answers between steps, without changing weights or random state."""

    def __init__(
        self,
        run: RunFolder,
        spec: TrainingSpec,
        heldout_rows: int,
        tuned: AdaptedModel,
        task: TaskName,
        job: JobContext,
        inference_context: Callable[[], AbstractContextManager[object]],
        ranks: ProcessGroup,
    ) -> None:
        """Take the recipe's prompts, and those of the first `heldout_rows`.

        `inference_context` sets autocast and weights.
        """
        self._run, self._spec, self._tuned, self._job = run, spec, tuned, job
        self._heldout_rows, self._task = heldout_rows, task
        self._inference_context, self._ranks = inference_context, ranks
        self._prompts: list[SamplePrompt] | None = None
        self._questions: list[_Question] | None = None
        self._is_base_emitted = False
        self._base_seconds = 0.0

    def record_base_answers(self, step: int) -> None:
        """Generate the base model's answers while the model is still identical to it.

        That is before the first step, and only for an adapter that changes the base weights: any other
        can be disabled later.
        """
        changes_base = self._tuned.initial_adapter is not None
        if self._is_participant() and step == 0 and changes_base and self.prepare_prompts():
            self._run_or_warn(
                text("generating sample answers"), lambda: self._get_base_answers(is_base=True)
            )

    def emit_answers(self, step: int) -> float:
        """Emit an answer of each model to each prompt; if they can't be generated, a warning instead.

        Return the seconds that the base model's answers took, which aren't generated again.
        """
        self._base_seconds = 0.0
        if self._is_participant() and self.prepare_prompts():
            self._run_or_warn(text("generating sample answers"), lambda: self._emit_answers(step))
        return self._base_seconds

    def _is_participant(self) -> bool:
        """Return whether this rank generates: rank 0, and all ranks where weights are sharded.

        A reward model doesn't answer, nor does an embedding model or a classifier.
        """
        if not self._spec.trains_generative_model(self._task):
            return False
        return self._ranks.is_first or self._ranks.is_sharded

    def _emit_answers(self, step: int) -> None:
        if not self._is_base_emitted:
            started = time.monotonic()
            for index, (shown, answer) in enumerate(self._get_base_answers(is_base=False)):
                self._emit(0, index, shown, "base", answer)
            self._is_base_emitted = True
            self._base_seconds = time.monotonic() - started
        answers = self._generate([prompt.text for prompt in self.prepare_prompts()])
        for index, (prompt, answer) in enumerate(zip(self.prepare_prompts(), answers, strict=True)):
            self._emit(step, index, prompt.shown, "tuned", answer)

    def score_answers(self) -> float | None:
        """Return the mean score of answers to the first validation rows, 0 to 1, the same on every rank.

        None if the recipe doesn't ask for one, no row has a reference answer, or answers can't be
        generated, which is emitted as a warning.
        """
        if self._spec.best_by == "loss":
            return None
        score = None
        if self._ranks.is_first or self._ranks.is_sharded:
            score = self._run_or_warn(text("answering validation rows"), self._compute_score)
        return self._ranks.broadcast(score)

    def _compute_score(self) -> float | None:
        questions = self._get_questions()
        answers = self._generate([question.prompt for question in questions])
        metric = create_metric(self._spec.best_by)
        pairs = zip(questions, answers, strict=True)
        scores = [metric.score(question.item, answer) for question, answer in pairs]
        valid = [score for score in scores if score is not None]
        return sum(valid) / len(valid) if valid else None

    def _get_questions(self) -> list[_Question]:
        """Return the rows to answer: those that have a reference and that the chat template accepts."""
        if self._questions is None:
            found = (self._to_question(sample) for sample in read_heldout(self._run))
            questions = (question for question in found if question is not None)
            self._questions = self._from_first_rank([*islice(questions, self._spec.scored_rows)])
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

    def _run_or_warn(self, stage: Text, action: Callable[[], _T]) -> _T | None:
        """Return the result of an action that generates answers, without changing weights or random state.

        None if memory runs out or the model computes NaN, which is emitted as a warning: training continues.
        With sharded weights the exception passes through, because other ranks wait inside the model.
        """
        self._job.show_stage(stage)

        def run_unnoticed() -> _T:
            with self._enter_evaluation_mode(), preserve_random_state():
                return action()

        if self._ranks.is_sharded:
            return run_unnoticed()
        try:
            result = capture_oom(run_unnoticed)
        except NotFiniteError:
            self._job.emit(events.Warned(problem=samples_not_finite_warning()))
            return None
        if isinstance(result, OutOfMemory):
            release_memory()
            self._job.emit(events.Warned(problem=samples_memory_warning()))
            return None
        return result

    def prepare_prompts(self) -> list[SamplePrompt]:
        """Return the recipe's prompts and those of held-out rows that the chat template accepts."""
        if self._prompts is None:
            recipe_samples = [Sample(self._task, text=text) if TASKS[self._task].is_document
                   else Sample("sft", (Message(role="user", content=text),))
                   for text in self._spec.sample_prompts]  # fmt: skip
            rows = read_heldout(self._run)[: self._heldout_rows] if self._heldout_rows else []
            prompts = [*self._render(recipe_samples, whole=True), *self._render(rows, whole=False)]
            self._prompts = self._from_first_rank(prompts)
        return self._prompts

    def _render(self, samples: Sequence[Sample], *, whole: bool) -> Iterator[SamplePrompt]:
        for sample in samples:
            if sample.text:
                text = sample.text if whole else sample.text[:_TEXT_PROMPT]
                yield SamplePrompt(text, (self._tuned.base.tokenizer.bos_token or "") + text)
                continue
            turns = sample.messages if whole else _get_turns_before_answer(sample.messages)
            try:
                text = encoder.render(self._tuned.base.tokenizer, turns, sample.tools, prompt=True)
            except UnusableRow:
                continue
            yield SamplePrompt(turns[-1].content, text)

    def _get_base_answers(self, *, is_base: bool) -> list[tuple[str, str]]:
        """Return prompts as shown and the base model's answers, from the run folder where possible.

        Empty if the adapter changes the base weights and no answers were recorded before the first step.
        """
        shown = [prompt.shown for prompt in self.prepare_prompts()]
        file = self._run.samples_file
        request = {"prompts": shown, "tokens": self._spec.sample_tokens}
        saved = _read_saved(self._run)
        is_same = request.items() <= saved.items()
        answers = saved.get("base") if is_same else None
        is_complete = isinstance(answers, list) and len(answers) == len(shown)
        if answers := self._from_first_rank(answers if is_complete else None):
            return list(zip(shown, answers, strict=True))
        if not is_base and self._tuned.initial_adapter is not None:
            return []
        if is_base:
            answers = self._generate([prompt.text for prompt in self.prepare_prompts()])
        else:
            with self._tuned.model.disable_adapter():
                answers = self._generate([prompt.text for prompt in self.prepare_prompts()])
        if self._ranks.is_first:
            text = json.dumps(request | {"base": answers}, ensure_ascii=False, indent=1)
            write_atomic(file, text)
            checksums.record_checksums(self._run, self._run.path, [file.name])
        return list(zip(shown, answers, strict=True))

    def _generate(self, prompts: list[str]) -> list[str]:
        with self._inference_context():
            return answering.complete(
                self._tuned.model,
                self._tuned.base.tokenizer,
                prompts,
                self._spec.sample_tokens,
                self._job,
                in_step=self._ranks.is_sharded,
            )

    def _from_first_rank(self, value: _T) -> _T:
        """Return rank 0's value where all ranks take part."""
        return self._ranks.broadcast(value) if self._ranks.is_sharded else value

    @contextmanager
    def _enter_evaluation_mode(self) -> Iterator[None]:
        was_training = self._tuned.model.training
        self._tuned.model.eval()
        try:
            yield
        finally:
            self._tuned.model.train(was_training)

    def _emit(
        self, step: int, index: int, prompt: str, source: Literal["base", "tuned"], text: str
    ) -> None:
        self._job.emit(
            events.Sampled(step=step, index=index, prompt=prompt, source=source, text=text)
        )


def _read_saved(run: RunFolder) -> dict[str, Any]:
    """Return the saved answers, {} if there are none or the file is damaged: they are made again."""
    try:
        saved = read_json(run.samples_file, limits.LARGE_FILE)
        if checksums.find_damage(run, run.path, names=[run.samples_file.name]) is not None:
            return {}
    except (OSError, ValueError):
        return {}
    return saved if isinstance(saved, dict) else {}


def _get_turns_before_answer(turns: Sequence[Message]) -> tuple[Message, ...]:
    """Return the turns up to the first answer."""
    end = next((i for i, turn in enumerate(turns) if turn.role == "assistant"), len(turns))
    return tuple(turns[:end]) or tuple(turns[:1])
