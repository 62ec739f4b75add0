"""Answers to a few prompts at each evaluation: the base model's, made once, beside the tuned one's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

from lora_studio.core.dataset.samples import Sample, UnusableRow
from lora_studio.core.dataset.spec import Message, Task
from lora_studio.core.problems import Problem, Where
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import write_atomic
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine import generation
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tokens import encoder
from lora_studio.engine.training import checkpoints
from lora_studio.engine.training.distributed.ranks import ProcessGroup
from lora_studio.engine.training.memory import ladder

_T = TypeVar("_T")

#: Characters of a text that is to be continued.
_OPENING = 200


@dataclass(frozen=True)
class SamplePrompt:
    """What a person reads, and the text that the model goes on from."""

    shown: str
    text: str


class Sampler:
    """Greedy, at most so many tokens, and without a trace: weights and random numbers stay."""

    def __init__(
        self,
        run: RunFolder,
        spec: TrainingSpec,
        rows: int,
        tuned: AdaptedModel,
        task: Task,
        job: JobContext,
        computing: Callable[[], AbstractContextManager[object]],
        ranks: ProcessGroup,
    ) -> None:
        """`rows` of those held out are asked as well; `computing` is the context that the model
        computes in, such as autocast. All `ranks` have to ask where each holds a part of the weights."""
        self._run, self._spec, self._tuned, self._job = run, spec, tuned, job
        self._rows, self._task, self._computing = rows, task, computing
        self._ranks = ranks
        self._prompts: list[SamplePrompt] | None = None
        self._base_is_told = False

    def begin(self, step: int) -> None:
        """Before training: an adapter that changes the base's weights is the base until its first
        step alone."""
        if step == 0 and self._tuned.initial_adapter is not None and self.prompts():
            self._within_memory(lambda: self._base(is_base=True))

    def take(self, step: int) -> None:
        """Emits an answer of each model to each prompt; a lack of memory leaves them out."""
        if self.prompts():
            self._within_memory(lambda: self._tell(step))

    def _tell(self, step: int) -> None:
        if not self._base_is_told:
            for index, (shown, text) in enumerate(self._base(is_base=False)):
                self._emit(0, index, shown, "base", text)
            self._base_is_told = True
        answers = self._answers(self.prompts())
        for index, (prompt, text) in enumerate(zip(self.prompts(), answers, strict=True)):
            self._emit(step, index, prompt.shown, "tuned", text)

    def _within_memory(self, action: Callable[[], object]) -> None:
        """Does something with the model, and goes on with a warning where memory runs out; but not
        while other ranks wait in the middle of it."""

        def undisturbed() -> None:
            with self._undisturbed():
                action()

        if self._ranks.is_sharded:
            undisturbed()
        elif ladder.tried(undisturbed) is not None:
            ladder.release()
            self._job.emit(events.Warned(problem=_no_memory()))

    def prompts(self) -> list[SamplePrompt]:
        """The user's own, then those of the first held-out rows; one that the chat template refuses
        is left out."""
        if self._prompts is None:
            own = [Sample(self._task, text=text) if self._task == "text"
                   else Sample("sft", (Message(role="user", content=text),))
                   for text in self._spec.sample_prompts]  # fmt: skip
            rows = self._run.heldout()[: self._rows] if self._rows else []
            found = [*self._rendered(own, whole=True), *self._rendered(rows, whole=False)]
            self._prompts = self._agreed(found)
        return self._prompts

    def _rendered(self, samples: Sequence[Sample], *, whole: bool) -> Iterator[SamplePrompt]:
        for sample in samples:
            if sample.text:
                text = sample.text if whole else sample.text[:_OPENING]
                yield SamplePrompt(text, (self._tuned.base.tokenizer.bos_token or "") + text)
                continue
            turns = sample.messages if whole else _before_answer(sample.messages)
            try:
                text = encoder.render(self._tuned.base.tokenizer, turns, sample.tools, prompt=True)
            except UnusableRow:
                continue
            yield SamplePrompt(turns[-1].content, text)

    def _base(self, *, is_base: bool) -> list[tuple[str, str]]:
        """Prompts as shown and the base's answers to them, from the run's folder where they are.

        Where the adapter changes the base's weights and its beginning was missed, there are none.
        """
        shown = [prompt.shown for prompt in self.prompts()]
        file = self._run.samples_file
        about = {"prompts": shown, "tokens": self._spec.sample_tokens}
        kept = json.loads(file.read_text("utf-8")) if file.is_file() else {}
        if answers := self._agreed(kept.get("base") if about.items() <= kept.items() else None):
            return list(zip(shown, answers, strict=True))
        if not is_base and self._tuned.initial_adapter is not None:
            return []
        if is_base:
            answers = self._answers(self.prompts())
        else:
            with self._tuned.model.disable_adapter():
                answers = self._answers(self.prompts())
        if self._ranks.is_first:
            text = json.dumps(about | {"base": answers}, ensure_ascii=False, indent=1)
            write_atomic(file, text)
        return list(zip(shown, answers, strict=True))

    def _answers(self, prompts: Sequence[SamplePrompt]) -> list[str]:
        with self._computing():
            return generation.complete(
                self._tuned.model,
                self._tuned.base.tokenizer,
                [prompt.text for prompt in prompts],
                self._spec.sample_tokens,
                self._job,
                in_step=self._ranks.is_sharded,
            )

    def _agreed(self, value: _T) -> _T:
        """What the first rank says, where the others take part."""
        return self._ranks.broadcast(value) if self._ranks.is_sharded else value

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Greedy answers draw nothing, but a model's own layers may."""
        random, was_training = checkpoints.random_state(), self._tuned.model.training
        self._tuned.model.eval()
        try:
            yield
        finally:
            self._tuned.model.train(was_training)
            checkpoints.restore_random_state(random)

    def _emit(
        self, step: int, index: int, prompt: str, source: Literal["base", "tuned"], text: str
    ) -> None:
        self._job.emit(
            events.Sampled(step=step, index=index, prompt=prompt, source=source, text=text)
        )


def _before_answer(turns: Sequence[Message]) -> tuple[Message, ...]:
    """Up to the first answer."""
    place = next((i for i, turn in enumerate(turns) if turn.role == "assistant"), len(turns))
    return tuple(turns[:place]) or tuple(turns[:1])


def _no_memory() -> Problem:
    return Problem(
        code="training.no_memory_for_samples",
        what="There was no memory for sample answers.",
        remedy="Training goes on without them; fewer prompts or tokens need less.",
        where=Where(step="training", field="sample_rows"),
        severity="warning",
    )
