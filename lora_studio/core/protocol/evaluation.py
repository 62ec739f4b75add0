"""Commands and events of evaluations."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from lora_studio.core.dataset.spec import DataSource
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
    """Read test sets: how many items they have, which rows were trained on, and which metrics suit them.

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
    """A column is complete. `means` are its mean scores by test set and metric."""

    kind: Literal["column_evaluated"] = "column_evaluated"
    column: ColumnReport
    means: dict[str, dict[str, float]] = Field(default_factory=dict)


class EvaluationFinished(BaseEvent):
    """Everything that can be evaluated was; the results are in the folder `evaluation` of the run."""

    kind: Literal["evaluation_finished"] = "evaluation_finished"
    evaluation: str
    failed: int = 0
    cached: int = 0


#: The kinds of benchmarks that can be evaluated.
OUTPUT_TYPES = ("multiple_choice", "generate_until", "loglikelihood_rolling")


class BenchmarkInfo(BaseModel):
    """A benchmark of lm-eval: `dataset` is the Hub dataset with its items, `file` its definition.

    `output_type` is how models answer: "multiple_choice", "generate_until", or
    "loglikelihood_rolling", the perplexity of texts.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore")

    name: str
    dataset: str = ""
    output_type: str = ""
    file: str = ""

    @property
    def is_supported(self) -> bool:
        """Whether it can be evaluated, as far as its definition says."""
        return self.output_type in ("", *OUTPUT_TYPES)


class ListBenchmarks(BaseCommand):
    """List the benchmarks whose name or dataset contains all words of `search`.

    The first time, lm-eval's definitions are indexed, which takes up to a minute.
    """

    title = text("Listing the benchmarks")
    lane = "reader"
    in_project = False
    kind: Literal["list_benchmarks"] = "list_benchmarks"
    search: str = ""
    limit: int = Field(200, ge=1, le=20_000)


class BenchmarksListed(BaseEvent):
    """The benchmarks that were found, by name; `total` is how many there are without the limit."""

    kind: Literal["benchmarks_listed"] = "benchmarks_listed"
    benchmarks: tuple[BenchmarkInfo, ...]
    total: int


class Classify(BaseCommand):
    """Predict the labels of texts with the classifier of a run, which stays loaded for further texts."""

    title = text("Classifying texts")
    step = "training"
    ends_with_parent = True
    kind: Literal["classify"] = "classify"
    run: str
    texts: tuple[str, ...] = Field(min_length=1)


class ClassifyFile(BaseCommand):
    """Predict the labels of the rows of a file with the classifier of a run, some hundred at a time.

    `column` has the texts; it may also be a template with several columns. Without it, the column is the one of
    training, or one that holds texts.
    """

    title = text("Classifying texts")
    step = "training"
    ends_with_parent = True
    kind: Literal["classify_file"] = "classify_file"
    run: str
    source: DataSource
    column: str = ""


class TextsClassified(BaseEvent):
    """The probability of each of the `labels` for each text, in the order of the texts.

    `rows` are those of a file, as JSON objects. A text without tokens has no probabilities. `cut` texts were longer than the run's max. sequence length, and only
    their beginning was classified.
    """

    kind: Literal["texts_classified"] = "texts_classified"
    labels: tuple[str, ...]
    probabilities: tuple[tuple[float, ...], ...]
    cut: int = 0
    rows: tuple[str, ...] = ()
