"""Follow the events of a run: its state, its progress, its best evaluation, and missing steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from lora_studio.core.messages import NO_TEXT, Text
from lora_studio.core.protocol import events
from lora_studio.core.protocol.commands import COMMANDS
from lora_studio.core.tasks.classification import ACCURACY, MACRO_F1
from lora_studio.core.training.retrieval import MRR, RECALLS

State = Literal[
    "new", "running", "paused", "stopped", "interrupted", "failed", "trained", "merged", "exported"
]  # fmt: skip

#: State of a run after each command that changes it, by the command's kind.
_STATE_AFTER: dict[str, State] = {
    kind: command.state_after for kind, command in COMMANDS.items() if command.state_after
}
#: Scores of evaluations that are kept of the best one; all are 0 to 1, and higher is better.
SCORES = (ACCURACY, MACRO_F1, *RECALLS.values(), MRR)


@dataclass
class LostSteps:
    """Follows the steps of a run; `ranges` are the first and last step of each gap up to step `last`."""

    ranges: list[tuple[int, int]] = field(default_factory=list)
    last: int = 0

    def on_event(self, event: object) -> None:
        """Follow an event, in the order of the file."""
        match event:
            case events.TrainingStarted() | events.Recovered():
                self.rewind(event.step)
            case events.StepDone():
                self.on_step(event.step)

    def on_step(self, step: int) -> None:
        """Follow the event of a step."""
        if step <= self.last:
            self.rewind(step - 1)
        self.expect(step - 1)
        self.last = step

    def expect(self, step: int) -> None:
        """Add a gap up to a step that training is known to have done."""
        if step > self.last:
            self.ranges.append((self.last + 1, step))
            self.last = step

    def rewind(self, step: int) -> None:
        """Drop what follows a step, since training continues from it."""
        self.last = min(self.last, step)
        self.ranges = [(first, min(last, step)) for first, last in self.ranges if first <= step]


@dataclass
class RunState:
    """What the events of a run say, up to byte `position` of their file.

    `changing` is the running command, if it changes the state of the run. `records` are the successive evaluations with the lowest loss so far, as (step, loss, scores), so that
    the best one is still known when training resumes from an earlier checkpoint. The scores are those
    of classifiers and embeddings by name. Where `has_rewards`, the loss is the negative mean reward. `command` is the
    one without an ending yet, `began` its start time; `training` says whether it is a training.
    """

    position: int = 0
    state: State = "new"
    changing: str = ""
    command: str = ""
    training: bool = False
    began: float = 0.0
    time: float = 0.0
    trained: float = 0.0
    step: int = 0
    steps: int = 0
    loss: float | None = None
    records: list[tuple[int, float, dict[str, float]]] = field(default_factory=list)
    has_rewards: bool = False
    problem: Text = NO_TEXT
    lost: LostSteps = field(default_factory=LostSteps)

    @property
    def best_eval(self) -> float | None:
        """The lowest eval loss; None for reward training."""
        return None if self.has_rewards else self._lowest

    @property
    def best_reward(self) -> float | None:
        """The highest mean reward of an evaluation; None for other training."""
        return -self._lowest if self.has_rewards and self._lowest is not None else None

    @property
    def best_scores(self) -> dict[str, float]:
        """How well labels are predicted, or texts found, in the evaluation with the lowest loss."""
        return self.records[-1][2] if self.records else {}

    @property
    def _lowest(self) -> float | None:
        return self.records[-1][1] if self.records else None

    @property
    def seconds(self) -> float:
        """Duration of its training, interrupted parts included."""
        return self.trained + (max(0.0, self.time - self.began) if self.training else 0.0)

    def on_event(self, event: events.Event) -> None:
        """Follow an event, in the order of the file. A command without an ending is interrupted,
        unless a worker runs it.
        """
        self.lost.on_event(event)
        match event:
            case events.Started():
                self._end(self.time)
                self.command, self.began = event.id, event.time
                self.training = event.command == "train"
                self.changing = event.command if event.command in _STATE_AFTER else ""
                self.state = "interrupted" if self.changing else self.state
            case events.Done() | events.Cancelled() | events.Failed():
                if self.changing:
                    self.state = self._get_state_after(event)
                if event.id == self.command:
                    self._end(event.time)
                    self.problem = (
                        event.problem.what if isinstance(event, events.Failed) else NO_TEXT
                    )
            case events.TrainingStarted():
                self.steps = event.steps
                self._rewind(event.step)
            case events.Recovered():
                self._rewind(event.step)
            case events.Evaluated():
                self.has_rewards = event.has_rewards
                is_known = not (event.has_rewards and math.isnan(event.loss))
                if is_known and (self._lowest is None or event.loss < self._lowest):
                    scores = {name: event.metrics[name] for name in SCORES if name in event.metrics}
                    self.records.append((event.step, event.loss, scores))
            case events.StepDone():
                self.step, self.steps, self.loss = event.step, event.steps, event.loss
        self.time = event.time

    def _get_state_after(self, ending: events.Done | events.Cancelled | events.Failed) -> State:
        if isinstance(ending, events.Done):
            return "paused" if ending.paused else _STATE_AFTER[self.changing]
        return "stopped" if isinstance(ending, events.Cancelled) else "failed"

    def _end(self, time: float) -> None:
        if self.training:
            self.trained += max(0.0, time - self.began)
        self.command, self.training = "", False

    def _rewind(self, step: int) -> None:
        self.step = min(self.step, step)
        self.records = [record for record in self.records if record[0] <= step]
