"""Build the curves of a run from its events: each step once, even if training was killed and
resumed.
"""

from __future__ import annotations

import bisect
import io
import struct
from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from lora_studio.core.formatting import CsvWriter
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.state import LostSteps

#: The values recorded for every step; names and units are those of `events.StepDone`.
STEP_VALUES = (
    "epoch", "loss", "learning_rate", "grad_norm", "tokens", "tokens_per_s", "memory_bytes",
)  # fmt: skip

#: Device utilization and temperature, recorded where they can be measured.
LOAD_VALUES = ("gpu_percent", "gpu_celsius", "cpu_percent")

#: What happened at a step.
Milestone = Literal["checkpoint", "recovered", "paused", "resumed"]

#: A value that wasn't measured: a NaN that, as NA in R, differs from others in its lowest bits.
_MISSING_BITS = struct.pack("<Q", 0x7FF8_0000_0000_07A2)
MISSING: float = struct.unpack("<d", _MISSING_BITS)[0]


def is_missing(value: float) -> bool:
    """Return whether a value wasn't measured, other than one that is NaN."""
    return value != value and struct.pack("<d", value) == _MISSING_BITS


class MetricTable:
    """Quantities by ascending step; every column has a value for each step, which may be `MISSING`.

    `rewinds` counts how often steps were dropped: what was computed from the columns before is void.
    """

    def __init__(self) -> None:
        """Create an empty table."""
        self.steps = array("d")
        self.columns: dict[str, array[float]] = {}
        self.rewinds = 0

    def add(self, step: float, values: Mapping[str, float | None]) -> None:
        """Add a step; it replaces this step and all later ones. None stands for no measurement."""
        if self.steps and step <= self.steps[-1]:
            self.rewind(step - 1)
        for name, value in values.items():
            if value is not None and name not in self.columns:
                self.columns[name] = array("d", [MISSING]) * len(self.steps)
        self.steps.append(step)
        for name, column in self.columns.items():
            value = values.get(name)
            column.append(MISSING if value is None else value)

    def rewind(self, step: float) -> None:
        """Drop what follows a step."""
        size = bisect.bisect_right(self.steps, step)
        if size < len(self.steps):
            self.rewinds += 1
            del self.steps[size:]
            for column in self.columns.values():
                del column[size:]

    def clear(self) -> None:
        """Drop all steps and columns."""
        self.rewinds += 1
        self.steps, self.columns = array("d"), {}

    def get(self, name: str) -> dict[int, float]:
        """Return the measured values of a quantity by step."""
        values = zip(self.steps, self.columns.get(name, ()), strict=False)
        return {int(step): value for step, value in values if not is_missing(value)}


class MetricSeries:
    """The metrics of a run, event by event.

    A training that resumes from a checkpoint sends its step (`TrainingStarted.step`,
    `Recovered.step`): the steps after it are dropped, since they are computed again.

    `steps` and `evaluations` have the additional metrics of an objective as well; those of reward training
    have no eval loss. `marks` are milestones, each with its step, and `lost` the steps that are missing.
    """

    def __init__(self) -> None:
        """Create a series without values."""
        self.steps, self.evaluations = MetricTable(), MetricTable()
        self.marks: list[tuple[float, Milestone]] = []
        self.lost = LostSteps()

    @property
    def loss(self) -> dict[int, float]:
        """Training loss by step, in nats per trained token or in the objective's unit."""
        return self.steps.get("loss")

    @property
    def last_step(self) -> int:
        """The latest step, 0 before the first."""
        return int(self.steps.steps[-1]) if self.steps.steps else 0

    def on_event(self, event: object) -> bool:
        """Add the values of an event; return whether anything changed."""
        self.lost.on_event(event)
        match event:
            case events.TrainingStarted():
                self._rewind(event.step)
                if event.step:
                    self.marks.append((event.step, "resumed"))
                else:
                    self.marks = []
            case events.StepDone():
                values = {name: getattr(event, name) for name in (*STEP_VALUES, *LOAD_VALUES)}
                self.steps.add(event.step, values | event.metrics if event.metrics else values)
            case events.Evaluated():
                loss = {} if event.has_rewards else {"loss": event.loss}
                self.evaluations.add(event.step, loss | event.metrics)
            case events.CheckpointSaved():
                self.marks.append((event.step, "checkpoint"))
            case events.Recovered():
                self._rewind(event.step)
                self.marks.append((event.step, "recovered"))
            case events.Done(paused=True) if self.last_step:
                self.marks.append((self.last_step, "paused"))
            case _:
                return False
        return True

    def clear(self) -> None:
        """Remove everything."""
        self.steps.clear()
        self.evaluations.clear()
        self.marks, self.lost = [], LostSteps()

    def _rewind(self, step: int) -> None:
        """Drop the values of later steps, which will be computed again."""
        self.steps.rewind(step)
        self.evaluations.rewind(step)
        self.marks = [mark for mark in self.marks if mark[0] <= step]

    def list_columns(self) -> list[str]:
        """Return the names of the columns in a table of all values."""
        measured = self.steps.columns
        load = [name for name in LOAD_VALUES if name in measured]
        evaluated = self.evaluations.columns or ("loss",)
        return [
            *dict.fromkeys([*STEP_VALUES, *load, *measured]), *(f"eval_{name}" for name in evaluated)
        ]  # fmt: skip

    def to_csv(self) -> str:
        """Return a table with one line per step; cells without a measurement are empty."""
        return "".join(iter_csv_lines({"": self}))


def iter_csv_lines(runs: Mapping[str, MetricSeries]) -> Iterator[str]:
    """Yield a table of runs by name, line by line; with several runs, the first column names the
    run."""
    out = io.StringIO()
    writer = CsvWriter(out)
    several = len(runs) > 1
    names = list(dict.fromkeys(name for run in runs.values() for name in run.list_columns()))
    head = [["run", "step", *names] if several else ["step", *names]]
    for name, cells in [
        ("", head),
        *((run, _iter_rows(metrics, names)) for run, metrics in runs.items()),
    ]:
        for line in cells:
            writer.writerow([name, *line] if several and name else line)
            yield out.getvalue()
            out.seek(0)
            out.truncate()


def _iter_rows(run: MetricSeries, names: Iterable[str]) -> Iterator[list[str]]:
    evaluations = {f"eval_{name}": column for name, column in run.evaluations.columns.items()}
    columns = [(run.steps.columns.get(name), evaluations.get(name)) for name in names]
    evaluated_at = {step: index for index, step in enumerate(run.evaluations.steps)}
    for index, step in enumerate(run.steps.steps):
        at = evaluated_at.get(step)
        yield [
            str(int(step)),
            *(
                _format_cell(
                    trained[index]
                    if trained is not None
                    else MISSING
                    if at is None or evaluated is None
                    else evaluated[at]
                )
                for trained, evaluated in columns
            ),
        ]


def build_series(stream: Iterable[object]) -> MetricSeries:
    """Return the metrics in a stream of events."""
    metrics = MetricSeries()
    for event in stream:
        metrics.on_event(event)
    return metrics


def read_metrics(run: RunFolder) -> MetricSeries:
    """Return the metrics in the events file of a run."""
    return build_series(run.iter_events())


def _format_cell(value: float) -> str:
    if is_missing(value):
        return ""
    return str(int(value)) if value.is_integer() else repr(value)
