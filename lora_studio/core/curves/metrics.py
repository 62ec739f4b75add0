"""Build the curves of a run from its events: each step once, even if training was killed and
resumed.
"""

from __future__ import annotations

import bisect
import io
from array import array
from collections.abc import Iterable, Iterator, Mapping

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


class MetricColumn:
    """Numbers by ascending step in compact arrays: 16 bytes for each."""

    def __init__(self) -> None:
        """Create an empty column."""
        self.steps = array("q")
        self.values = array("d")

    def __len__(self) -> int:
        return len(self.steps)

    def put(self, step: int, value: float) -> None:
        """Add a number; it replaces the values of this step and all later steps."""
        if self.steps and step <= self.steps[-1]:
            self.rewind(step - 1)
        self.steps.append(step)
        self.values.append(value)

    def rewind(self, step: int) -> None:
        """Drop the values after a step."""
        size = bisect.bisect_right(self.steps, step)
        del self.steps[size:], self.values[size:]


class MetricSeries:
    """The metrics of a run, event by event.

    A training that resumes from a checkpoint sends its step (`TrainingStarted.step`,
    `Recovered.step`): the steps after it are dropped, since they are computed again.

    `steps` has one column for each of `STEP_VALUES`, `load` for those of `LOAD_VALUES` that were
    measured, `metrics` and `evaluation_metrics` for the additional metrics of an objective;
    `evaluations` are losses, which evaluations of reward training don't have. `checkpoints` are steps, and
    `lost` the steps that are missing.
    """

    def __init__(self) -> None:
        """Create a series without values."""
        self.steps = {name: MetricColumn() for name in STEP_VALUES}
        self.load: dict[str, MetricColumn] = {}
        self.metrics: dict[str, MetricColumn] = {}
        self.evaluations = MetricColumn()
        self.evaluation_metrics: dict[str, MetricColumn] = {}
        self.checkpoints: list[int] = []
        self.recoveries: list[events.Recovered] = []
        self.lost = LostSteps()

    @property
    def loss(self) -> MetricColumn:
        """Training loss of each step, in nats per trained token or in the objective's unit."""
        return self.steps["loss"]

    @property
    def last_step(self) -> int:
        """The latest step, 0 before the first."""
        return self.loss.steps[-1] if self.loss else 0

    def on_event(self, event: object) -> bool:
        """Add the values of an event; return whether anything changed."""
        self.lost.on_event(event)
        match event:
            case events.TrainingStarted():
                self.rewind(event.step)
                self.recoveries = [item for item in self.recoveries if 0 < item.step <= event.step]
            case events.StepDone():
                for name, column in self.steps.items():
                    column.put(event.step, float(getattr(event, name)))
                load = {name: getattr(event, name) for name in LOAD_VALUES}
                _put_all(self.load, event.step, load)
                _put_all(self.metrics, event.step, event.metrics)
            case events.Evaluated():
                if not event.has_rewards:
                    self.evaluations.put(event.step, event.loss)
                _put_all(self.evaluation_metrics, event.step, event.metrics)
            case events.CheckpointSaved():
                self.checkpoints = [
                    *_list_steps_until(self.checkpoints, event.step - 1),
                    event.step,
                ]
            case events.Recovered():
                self.rewind(event.step)
                self.recoveries.append(event)
            case _:
                return False
        return True

    def rewind(self, step: int) -> None:
        """Drop the values of later steps, which will be computed again."""
        for column in (
            *self.steps.values(), *self.load.values(), *self.metrics.values(),
            self.evaluations, *self.evaluation_metrics.values(),
        ):  # fmt: skip
            column.rewind(step)
        self.checkpoints = _list_steps_until(self.checkpoints, step)

    def get_columns(self) -> dict[str, MetricColumn]:
        """Return every column of numbers by step, under its name in a table."""
        return {
            **self.steps,
            **self.load,
            **self.metrics,
            **(
                {"eval_loss": self.evaluations}
                if len(self.evaluations) or not self.evaluation_metrics
                else {}
            ),
            **{f"eval_{name}": column for name, column in self.evaluation_metrics.items()},
        }

    def to_csv(self) -> str:
        """Return a table with one line per step; cells without a measurement are empty."""
        return "".join(iter_csv_lines({"": self}))


def iter_csv_lines(runs: Mapping[str, MetricSeries]) -> Iterator[str]:
    """Yield a table of runs by name, line by line; with several runs, the first column names the
    run."""
    out = io.StringIO()
    writer = CsvWriter(out)
    several = len(runs) > 1
    names = list(dict.fromkeys(name for run in runs.values() for name in run.get_columns()))
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
    columns = [run.get_columns().get(name, MetricColumn()) for name in names]
    places = [0] * len(columns)
    for step in run.loss.steps:
        line = [str(step)]
        for number, column in enumerate(columns):
            while places[number] < len(column) and column.steps[places[number]] < step:
                places[number] += 1
            position = places[number]
            has_value = position < len(column) and column.steps[position] == step
            line.append(_format_cell(column.values[position]) if has_value else "")
        yield line


def build_series(stream: Iterable[object]) -> MetricSeries:
    """Return the metrics in a stream of events."""
    metrics = MetricSeries()
    for event in stream:
        metrics.on_event(event)
    return metrics


def read_metrics(run: RunFolder) -> MetricSeries:
    """Return the metrics in the events file of a run."""
    return build_series(run.iter_events())


def _put_all(
    columns: dict[str, MetricColumn], step: int, metrics: Mapping[str, float | None]
) -> None:
    for name, value in metrics.items():
        if value is None:
            continue
        columns.setdefault(name, MetricColumn()).put(step, value)


def _list_steps_until(steps: list[int], step: int) -> list[int]:
    return [earlier for earlier in steps if earlier <= step]


def _format_cell(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)
