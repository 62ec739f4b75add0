"""Read all test sets of an evaluation, without any model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lora_studio.core.evaluation.columns import Column
from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.test_sets import AnyTestSet, TestSetReport
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.evaluation import test_items, trained_rows
from lora_studio.engine.runtime.channel import JobContext


def inspect(command: commands.InspectTestSets, job: JobContext) -> None:
    """Report what test sets contain, and their first items."""
    run = RunFolder(Path(command.run))
    items, reports = read_test_sets(run, run.load_project(), command.test_sets, (), job)
    shown: list[EvaluationItem] = []
    for report in reports:
        shown += [item for item in items if item.test_set == report.key][: command.preview]
    job.emit(events.TestSetsInspected(test_sets=tuple(reports), items=tuple(shown)))


def read_test_sets(
    run: RunFolder,
    project: Project,
    test_sets: Sequence[AnyTestSet],
    columns: Sequence[Column],
    job: JobContext,
) -> tuple[list[EvaluationItem], list[TestSetReport]]:
    """Return the items of all test sets, and a report on each."""
    trained = trained_rows.find_trained_prompts(run, columns, job)
    read = [test_items.read_test_set(run, project, each, trained, job) for each in test_sets]
    return [item for each in read for item in each.items], [each.report for each in read]
