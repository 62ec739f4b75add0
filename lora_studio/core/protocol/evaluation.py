"""Commands and events of evaluations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.plan import EvaluationPlan
from lora_studio.core.evaluation.results import ColumnReport
from lora_studio.core.evaluation.test_sets import TestSet, TestSetReport
from lora_studio.core.messages import text
from lora_studio.core.problems import Problem
from lora_studio.core.protocol.base import BaseCommand, BaseEvent


class Evaluate(BaseCommand):
    """Evaluate models on test sets and store the results in a run.

    `evaluation` names an earlier evaluation of the run to continue, "" for a new one. A `Pause` ends it
    after the current batch, and `Cancel` keeps the answers so far, too: both can be continued.
    """

    title = text("Evaluating")
    changes_run = True
    kind: Literal["evaluate"] = "evaluate"
    run: str
    plan: EvaluationPlan | None = None
    evaluation: str = ""


class InspectTestSets(BaseCommand):
    """Read test sets: how many items they have, which rows were trained on, and which measures suit them.

    The first `preview` items of each are reported, too.
    """

    title = text("Reading the test sets")
    is_optional = True
    reads_foreign_files = True
    lane = "reader"
    kind: Literal["inspect_test_sets"] = "inspect_test_sets"
    run: str
    test_sets: tuple[TestSet, ...]
    preview: int = 5


class TestSetsInspected(BaseEvent):
    """What test sets contain, and their first items."""

    __test__ = False  # the name is no test's

    kind: Literal["test_sets_inspected"] = "test_sets_inspected"
    test_sets: tuple[TestSetReport, ...]
    items: tuple[EvaluationItem, ...] = ()


class EvaluationStarted(BaseEvent):
    """An evaluation was started or continued: `evaluation` is the name of its folder in the run.

    `items` × columns answers are needed, of which `answered` are already there.
    """

    kind: Literal["evaluation_started"] = "evaluation_started"
    evaluation: str
    items: int
    columns: tuple[str, ...]
    answered: int = 0
    test_sets: tuple[TestSetReport, ...] = ()


class ColumnRefused(BaseEvent):
    """A column can't be evaluated, and why; the others continue."""

    kind: Literal["column_refused"] = "column_refused"
    column: str
    problem: Problem


class AnswersRecorded(BaseEvent):
    """New answers were written, at most once a second: `done` of `total` over all columns.

    `eta_s` is the remaining time in seconds, None while unknown.
    """

    kind: Literal["answers_recorded"] = "answers_recorded"
    evaluation: str
    column: str
    done: int
    total: int
    eta_s: float | None = None


class ColumnEvaluated(BaseEvent):
    """A column is complete. `means` are its mean scores by test set and measure."""

    kind: Literal["column_evaluated"] = "column_evaluated"
    column: ColumnReport
    means: dict[str, dict[str, float]] = Field(default_factory=dict)


class EvaluationFinished(BaseEvent):
    """Everything that can be evaluated was; the results are in the folder `evaluation` of the run."""

    kind: Literal["evaluation_finished"] = "evaluation_finished"
    evaluation: str
    failed: int = 0
    cached: int = 0
