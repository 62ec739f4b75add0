"""Recognize, page through, measure and check datasets."""

from __future__ import annotations

from lora_studio.core.protocol import commands
from lora_studio.engine.jobs.registry import handles
from lora_studio.engine.runtime.channel import JobContext


@handles(commands.InspectDataset)
def inspect_dataset(command: commands.InspectDataset, job: JobContext) -> None:
    """Report the rows, the format and the faults of a dataset."""
    from lora_studio.engine.dataset import inspection

    inspection.inspect(command, job)


@handles(commands.ReadRows)
def read_rows(command: commands.ReadRows, job: JobContext) -> None:
    """Report a page of rows."""
    from lora_studio.engine.dataset import inspection

    inspection.read_page(command, job)


@handles(commands.ShowRow)
def show_row(command: commands.ShowRow, job: JobContext) -> None:
    """Report one row, as stored in the file and as the model sees it."""
    from lora_studio.engine.dataset import row_view

    row_view.show(command, job)


@handles(commands.MeasureDataset)
def measure_dataset(command: commands.MeasureDataset, job: JobContext) -> None:
    """Report the lengths of all rows in tokens."""
    from lora_studio.engine.dataset import lengths

    lengths.measure(command, job)


@handles(commands.PlanDataset)
def plan_dataset(command: commands.PlanDataset, job: JobContext) -> None:
    """Report the rows, tokens and lengths that a training would have."""
    from lora_studio.engine.dataset import lengths

    lengths.plan(command, job)


@handles(commands.LintDataset)
def lint_dataset(command: commands.LintDataset, job: JobContext) -> None:
    """Report faults in the data; with a model, also faults that only show in tokens."""
    from lora_studio.engine.dataset import inspection

    inspection.check(command, job)
