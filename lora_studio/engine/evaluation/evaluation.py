"""Evaluate: read the test sets, then let one column after another answer; stored as it goes."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lora_studio import __version__
from lora_studio.core.evaluation import own_models, own_plans, storage
from lora_studio.core.evaluation.columns import Column
from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.plan import EvaluationPlan
from lora_studio.core.evaluation.results import ColumnReport, EvaluationFacts, ItemResult
from lora_studio.core.evaluation.storage import EvaluationFolder, LineWriter
from lora_studio.core.evaluation.tables import compute_means
from lora_studio.core.evaluation.test_sets import TestSetReport
from lora_studio.core.messages import text
from lora_studio.core.network.secrets import print_exception
from lora_studio.core.problems import Problem, ProblemError, error, fail
from lora_studio.core.project import run_consent
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.evaluation import answer_cache, judging
from lora_studio.engine.evaluation.answer_cache import AnswerCache
from lora_studio.engine.evaluation.column_run import ColumnRun
from lora_studio.engine.evaluation.column_runners import RunnerFactory
from lora_studio.engine.evaluation.runners import ColumnRunner
from lora_studio.engine.evaluation.scoring import ItemScorer, choose_measures
from lora_studio.engine.evaluation.test_sets import read_test_sets
from lora_studio.engine.evaluation.torch_runner import TorchModels
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import (
    CancelledError,
    PausedError,
    is_device_lost,
    to_problem,
)

#: Seconds between two reports that answers were recorded.
_REPORT_INTERVAL = 1.0


def evaluate(command: commands.Evaluate, job: JobContext) -> events.Done:
    """Start or continue an evaluation; raises ProblemError if no column could be evaluated."""
    run = RunFolder(Path(command.run))
    project = run.load_project()
    folder, plan = _open_folder(run, command)
    job.pausable = True
    factory = RunnerFactory(run, project, TorchModels(job), job)
    try:
        with answer_cache.open_database() as database:
            _Evaluation(folder, plan, factory, database, job).run()
    except PausedError:
        return events.Done(paused=True)
    finally:
        factory.release()
    return events.Done()


def _open_folder(
    run: RunFolder, command: commands.Evaluate
) -> tuple[EvaluationFolder, EvaluationPlan]:
    """Return the folder, and the plan that was asked about: the file may change at any time."""
    if command.evaluation:
        folder = storage.open_evaluation(run.evaluations, command.evaluation)
        own_plans.require_own(plan := folder.read_plan(), run_consent.find_home(run.path))
        return folder, plan
    if command.plan is None:
        raise fail(
            "evaluation.no_plan",
            "Nothing to evaluate was specified.",
            "Choose the models and a test set.",
        )
    own_plans.remember(command.plan)
    return storage.create_evaluation(run.evaluations, command.plan), command.plan


@dataclass
class _Evaluation:
    """One evaluation as it runs."""

    folder: EvaluationFolder
    plan: EvaluationPlan
    factory: RunnerFactory
    database: sqlite3.Connection | None
    job: JobContext
    items: list[EvaluationItem] = field(default_factory=list)
    facts: EvaluationFacts = field(default_factory=EvaluationFacts)
    answered: set[tuple[str, str]] = field(default_factory=set)

    def run(self) -> None:
        """Evaluate every column, then let the judge compare their answers."""
        self._read_items()
        scorer = ItemScorer(self.facts.measures, judges=self.plan.judge is not None)
        rows = self.folder.read().answers
        self.answered = {key for key, row in rows.items() if row.problem is None}
        progress = _Progress(self.folder.path.name, self._count_needed(scorer), self.job)
        progress.done = len(self.answered)
        self.job.emit(
            events.EvaluationStarted(
                evaluation=self.folder.path.name,
                items=len(self.items),
                columns=tuple(column.key for column in self.plan.columns),
                answered=progress.done,
                test_sets=self.facts.test_sets,
            )
        )
        self._save(finished=None)
        with self.folder.append(self.folder.answers_file) as writer:
            for column in self.plan.columns:
                self._run_column(column, scorer, writer, progress)
        self._judge()
        self._finish()

    def _read_items(self) -> None:
        """Read the test sets, or what an earlier start has read; raises ProblemError without items."""
        self.facts, self.items = self.folder.read_facts(), self.folder.read_items()
        if self.items and self.facts.measures:
            return
        self.items, reports = read_test_sets(
            self.factory.run, self.factory.project, self.plan.test_sets, self.plan.columns, self.job
        )
        for report in reports:
            if report.problem is not None:
                self.job.emit(events.Warned(problem=report.problem))
        if not self.items:
            raise ProblemError(_no_items_problem(reports))
        self.facts = EvaluationFacts(
            created=time.time(),
            app_version=__version__,
            test_sets=tuple(reports),
            measures=choose_measures(self.plan, reports),
        )
        ItemScorer(
            self.facts.measures
        )  # an unknown measure is a problem before anything is computed
        self.folder.write_items(self.items)
        self._save(finished=None)

    def _count_needed(self, scorer: ItemScorer) -> int:
        """Return the number of results of a complete evaluation."""
        return sum(len(self._list_needed(column, scorer)) for column in self.plan.columns)

    def _list_needed(self, column: Column, scorer: ItemScorer) -> list[EvaluationItem]:
        """Return the items that a column can answer or score."""
        needs = ((item, scorer.get_needs(item, column)) for item in self.items)
        return [item for item, need in needs if need.answer or need.logprobs]

    # --- columns --------------------------------------------------------------------------------

    def _run_column(
        self, column: Column, scorer: ItemScorer, writer: LineWriter, progress: _Progress
    ) -> None:
        """Evaluate a column; if its model fails, the others continue."""
        report = ColumnReport(key=column.key, unmeasured=scorer.list_unmeasured(column, self.items))
        missing = [
            item
            for item in self._list_needed(column, scorer)
            if (item.id, column.key) not in self.answered
        ]
        before = self._find_report(column)
        if before is not None and not missing and before.problem is None:
            return
        try:
            with self.factory.open(column.model) as runner:
                _require_same_model(before, runner)
                report = report.model_copy(
                    update={
                        "model_hash": runner.model_hash,
                        "recorded": self._digest_recorded(column),
                    }
                )
                self._set_report(report)
                report = self._answer(column, runner, scorer, writer, progress, report, missing)
        except CancelledError:
            raise
        except Exception as failure:
            if is_device_lost(failure):
                raise  # the next start of the evaluation continues it, in a new process
            print_exception(failure)
            problem = to_problem(failure, commands.Evaluate.title)
            report = report.model_copy(update={"problem": problem})
            self.job.emit(events.ColumnRefused(column=column.key, problem=problem))
        self._set_report(self._with_counts(report))

    def _answer(
        self,
        column: Column,
        runner: ColumnRunner,
        scorer: ItemScorer,
        writer: LineWriter,
        progress: _Progress,
        report: ColumnReport,
        missing: Sequence[EvaluationItem],
    ) -> ColumnReport:
        """Answer the items that a column lacks; returns the report of the complete column."""

        def record(result: ItemResult) -> None:
            writer.write(result)
            progress.add(column, result)

        progress.show(column)
        cache = AnswerCache(self.database, runner.model_hash)
        work = ColumnRun(column, runner, scorer, self.plan.sampling, cache, record)
        began = time.perf_counter()
        work.run(missing)
        report = report.model_copy(
            update={
                "device": runner.device,
                "seconds": report.seconds + time.perf_counter() - began,
                "complete": True,
            }
        )
        report = self._with_counts(report)
        results = self.folder.read()
        means = compute_means(results)
        own = {
            test_set: {name: by[column.key] for name, by in measured.items() if column.key in by}
            for test_set, measured in means.items()
        }
        self.job.emit(events.ColumnEvaluated(column=report, means=own))
        return report

    def _digest_recorded(self, column: Column) -> str:
        """Return what identifies the run's own model later, even without reading its weights."""
        run = self.factory.run
        recorded = checksums.read_recorded(run)
        # Resolved: the run's path leads through the descriptor of its folder while a job holds it.
        return own_models.digest_model(column.model, run.path.resolve().name, recorded)

    def _with_counts(self, report: ColumnReport) -> ColumnReport:
        """Return a report with the counts of what is stored."""
        rows = [row for row in self.folder.read().answers.values() if row.column == report.key]
        return report.model_copy(
            update={
                "answered": sum(row.problem is None for row in rows),
                "cached": sum(row.cached for row in rows),
                "failed": sum(row.problem is not None for row in rows),
            }
        )

    def _find_report(self, column: Column) -> ColumnReport | None:
        return next((each for each in self.facts.columns if each.key == column.key), None)

    def _set_report(self, report: ColumnReport) -> None:
        others = [each for each in self.facts.columns if each.key != report.key]
        order = [column.key for column in self.plan.columns]
        reports = sorted([*others, report], key=lambda each: order.index(each.key))
        self.facts = self.facts.model_copy(update={"columns": tuple(reports)})
        self._save(finished=None)

    # --- judge and end --------------------------------------------------------------------------

    def _judge(self) -> None:
        """Let the judge compare answers; a judge that fails doesn't lose the evaluation."""
        if self.plan.judge is None:
            return
        self.facts = self.facts.model_copy(update={"judge_problem": None})  # of an earlier start
        try:
            with self.factory.open(self.plan.judge.model) as runner:
                judging.judge(self.folder, self.plan.judge, runner, self.database, self.job)
        except CancelledError:
            raise
        except Exception as failure:
            if is_device_lost(failure):
                raise
            print_exception(failure)
            problem = to_problem(failure, text("The judge"))
            self.facts = self.facts.model_copy(update={"judge_problem": problem})
            self.job.emit(events.Warned(problem=problem))

    def _finish(self) -> None:
        """Record the end; raises ProblemError if no column could be evaluated."""
        self._save(finished=time.time())
        rows = self.folder.read().answers.values()
        problems = [each.problem for each in self.facts.columns if each.problem is not None]
        if not rows and problems:
            raise ProblemError(problems)
        self.job.emit(
            events.EvaluationFinished(
                evaluation=self.folder.path.name,
                failed=sum(row.problem is not None for row in rows),
                cached=sum(row.cached for row in rows),
            )
        )

    def _save(self, *, finished: float | None) -> None:
        self.facts = self.facts.model_copy(update={"finished": finished})
        self.folder.write_facts(self.facts)


def _require_same_model(before: ColumnReport | None, runner: ColumnRunner) -> None:
    """Raise ProblemError if earlier answers of a column are those of another model."""
    if before is not None and before.answered and before.model_hash not in ("", runner.model_hash):
        raise fail(
            "evaluation.model_changed",
            "The model has changed since this evaluation began.",
            "Start a new evaluation. Answers of models that haven't changed are reused.",
        )


def _no_items_problem(reports: Sequence[TestSetReport]) -> Problem:
    """Return why there is nothing to evaluate."""
    for report in reports:
        if report.problem is not None:
            return report.problem
    trained = sum(report.trained for report in reports)
    return error(
        "evaluation.no_items",
        "All rows of the test set were trained on."
        if trained
        else "The test set has no usable rows.",
        "Choose a file with rows that the model wasn't trained on.",
    )


@dataclass
class _Progress:
    """Reports how many results there are of all that are needed, and the remaining time."""

    evaluation: str
    total: int
    job: JobContext
    done: int = 0
    _computed: int = 0
    _began: float = 0.0
    _reported: float = 0.0

    def show(self, column: Column) -> None:
        """Report that a column begins."""
        self._began = self._began or time.monotonic()
        stage = text("evaluating {column}", column=column.key)
        self.job.show_stage(stage, self.done, self.total, "answers", self._get_eta())

    def add(self, column: Column, result: ItemResult) -> None:
        """Count a result; reported at most once a second."""
        self.done += 1
        self._computed += not result.cached
        now = time.monotonic()
        if now - self._reported < _REPORT_INTERVAL and self.done != self.total:
            return
        self._reported = now
        self.show(column)
        self.job.emit(
            events.AnswersRecorded(
                evaluation=self.evaluation,
                column=column.key,
                done=self.done,
                total=self.total,
                eta_s=self._get_eta(),
            )
        )

    def _get_eta(self) -> float | None:
        if not self._computed:
            return None
        passed = time.monotonic() - self._began
        return passed * max(0, self.total - self.done) / self._computed
