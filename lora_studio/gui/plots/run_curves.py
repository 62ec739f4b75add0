"""The curves of one run, built from its events."""

from __future__ import annotations

from collections.abc import Iterable

from lora_studio.core.curves.metrics import LOAD_VALUES, MetricSeries
from lora_studio.core.protocol import events
from lora_studio.core.protocol.training import has_rewards
from lora_studio.gui.plots.history import MetricHistory
from lora_studio.gui.plots.trace import MarkKind

#: Fields of `StepDone` that are plotted, in addition to the objective's own metrics.
STEP_FIELDS = (
    "loss", "learning_rate", "grad_norm", "tokens_per_s", "memory_bytes", *LOAD_VALUES,
)  # fmt: skip


class RunCurves:
    """The histories of training steps and evaluations, and marks of events."""

    def __init__(self, name: str = "") -> None:
        """Create empty curves of a run called `name`."""
        self.name = name
        self.steps, self.evaluations = MetricHistory(), MetricHistory()
        self._marks: list[tuple[float, MarkKind]] = []
        self._notes: tuple[float, ...] = ()
        self._kinds: dict[MarkKind, None] = {}

    @classmethod
    def from_series(cls, name: str, series: MetricSeries) -> RunCurves:
        """Return the curves of a run whose series were read completely."""
        curve = cls(name)
        columns = {
            name: series.get_columns()[name] for name in STEP_FIELDS if name in series.get_columns()
        }
        curve.steps.fill({**columns, **series.metrics})
        curve.evaluations.fill({"loss": series.evaluations, **series.evaluation_metrics})
        return curve

    def add_event(self, event: object) -> bool:
        """Add the data of an event; return whether it had any."""
        match event:
            case events.StepDone():
                values = {name: getattr(event, name) for name in STEP_FIELDS}
                self.steps.add(event.step, values | event.metrics if event.metrics else values)
            case events.Evaluated():
                loss = {} if event.has_rewards else {"loss": event.loss}
                self.evaluations.add(event.step, loss | event.metrics)
            case events.CheckpointSaved():
                self._mark(event.step, "checkpoint")
            case events.TrainingStarted():
                self._begin(event.step)
            case events.Recovered():
                self._rewind(event.step)
                self._mark(event.step, "recovered")
            case events.Done(paused=True) if len(self.steps):
                self._mark(float(self.steps.steps[-1]), "paused")
            case _:
                return False
        return True

    @property
    def has_rewards(self) -> bool:
        """Whether these are the curves of reward training."""
        return has_rewards(self.steps.names)

    @property
    def main(self) -> str:
        """The quantity that shows how well training goes: the loss, or the mean reward."""
        return events.REWARD if self.has_rewards else "loss"

    def clear(self) -> None:
        """Remove everything."""
        self.steps.clear()
        self.evaluations.clear()
        self._marks, self._kinds, self._notes = [], {}, ()

    @property
    def marks(self) -> list[tuple[float, MarkKind]]:
        """Return events and the user's notes, each with its step."""
        return [*((step, "note") for step in self._notes), *self._marks]

    def set_notes(self, steps: Iterable[float]) -> bool:
        """Set the steps with notes; return whether they changed."""
        previous, self._notes = self._notes, tuple(steps)
        return self._notes != previous

    def mark_kinds(self) -> list[MarkKind]:
        """Return the kinds of events that happened, in order of first occurrence."""
        noted: list[MarkKind] = ["note"] if self._notes else []
        return [*self._kinds, *noted]

    def list_marks_near(self, step: float, reach: float) -> list[MarkKind]:
        """Return the kinds of events within `reach` steps of a step, each once."""
        return list(dict.fromkeys(kind for at, kind in self.marks if abs(at - step) <= reach))

    def _begin(self, step: int) -> None:
        """Remove everything after `step`, where training starts or resumes."""
        self._rewind(step)
        if step:
            self._mark(step, "resumed")

    def _rewind(self, step: int) -> None:
        self.steps.truncate_after(step)
        self.evaluations.truncate_after(step)
        self._marks = [mark for mark in self._marks if mark[0] <= step]
        self._kinds = dict.fromkeys(kind for _, kind in self._marks)

    def _mark(self, step: float, kind: MarkKind) -> None:
        self._marks.append((step, kind))
        self._kinds.setdefault(kind, None)
