"""Evaluate: read the test sets, then let one column after another answer; stored as it goes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lora_studio import __version__
from lora_studio.core.chat import (
    AdapterChatModel,
    FolderChatModel,
    GgufChatModel,
    OllamaChatModel,
    Sampling,
)
from lora_studio.core.evaluation import metrics, run_verdict, storage
from lora_studio.core.evaluation.columns import AnyColumnModel, Column, ServerModel
from lora_studio.core.evaluation.items import OWN_METRIC, EvaluationItem, create_item
from lora_studio.core.evaluation.metrics import Logprobs
from lora_studio.core.evaluation.plan import (
    EvaluationPlan,
    JudgeSettings,
    build_judge_prompt,
    remember_plan,
    require_own_plan,
)
from lora_studio.core.evaluation.results import (
    ColumnReport,
    EvaluationFacts,
    EvaluationResults,
    ItemResult,
    Judgment,
)
from lora_studio.core.evaluation.storage import EvaluationFolder, LineWriter
from lora_studio.core.evaluation.summary import compute_means
from lora_studio.core.evaluation.test_sets import TestSetReport
from lora_studio.core.messages import text
from lora_studio.core.network.secrets import print_exception
from lora_studio.core.problems import Problem, ProblemError, error, fail
from lora_studio.core.project import access_requests
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import create_folder
from lora_studio.core.system.paths import get_cache_folder
from lora_studio.core.tasks.samples import Message
from lora_studio.engine.devices import lock
from lora_studio.engine.evaluation.gguf_runner import create_gguf_runner
from lora_studio.engine.evaluation.runners import AnswerRequest, ModelRunner
from lora_studio.engine.evaluation.server_runner import (
    create_ollama_runner,
    create_server_runner,
)
from lora_studio.engine.evaluation.test_sets import read_test_sets
from lora_studio.engine.evaluation.torch_runner import (
    TorchModels,
    TorchRunner,
    create_adapter_runner,
    create_model_runner,
)
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import (
    CancelledError,
    PausedError,
    is_device_lost,
    to_problem,
)
from lora_studio.engine.servers.openai_client import Reply

#: Increase this whenever the same model would answer the same prompt differently.
_VERSION = 2

#: Bytes of the cache above which the answers that were used longest ago are removed, half of them.
_MAX_BYTES = 2_000_000_000

_LOOKUP = "SELECT value FROM answers WHERE key = ?"
_TOUCH = "UPDATE answers SET used = ? WHERE key = ?"
_STORE = "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)"
_PRUNE = "DELETE FROM answers WHERE used <= (SELECT used FROM answers ORDER BY used LIMIT 1 OFFSET (SELECT COUNT(*) / 2 FROM answers))"

#: What is stored of a result.
_FIELDS = {"answer", "tokens", "prompt_tokens", "seconds", "ending", "logprobs"}


class AnswerCache:
    """The answers of one model; without a hash of it, nothing is stored or looked up."""

    def __init__(self, connection: sqlite3.Connection | None, model_hash: str) -> None:
        """Take an open database, or None if there is none."""
        self._connection = connection if model_hash else None
        self._model_hash = model_hash

    def get_key(self, prompt: str, sampling: Sampling | None, targets: Sequence[str] = ()) -> bytes:
        """Return the key of an answer, or of log-likelihoods of `targets` where `sampling` is None.

        `prompt` is the rendered text, or the messages as JSON for models on servers.
        """
        settings = None if sampling is None else sampling.model_dump(mode="json")
        parts = [_VERSION, self._model_hash, prompt, settings, list(targets)]
        plain = json.dumps(parts, ensure_ascii=False, sort_keys=True)
        return hashlib.blake2b(plain.encode("utf-8", "replace"), digest_size=16).digest()

    def find(self, key: bytes) -> Mapping[str, Any] | None:
        """Return the stored fields of a result, None without one."""
        if self._connection is None:
            return None
        with contextlib.suppress(sqlite3.Error, ValueError, ValidationError):
            row = self._connection.execute(_LOOKUP, (key,)).fetchone()
            if row is not None:
                value = json.loads(row[0])
                if value.get("logprobs") is not None:
                    value["logprobs"] = Logprobs.model_validate(value["logprobs"])
                self._connection.execute(_TOUCH, (time.time(), key))
                return {name: value[name] for name in _FIELDS if name in value}
        return None

    def store(self, key: bytes, result: ItemResult) -> None:
        """Store a result; a full or damaged disk only makes the next evaluation slower."""
        if self._connection is None or result.problem is not None:
            return
        with contextlib.suppress(sqlite3.Error):
            value = result.model_dump_json(include=_FIELDS, exclude_defaults=True)
            self._connection.execute(_STORE, (key, value, time.time()))


@contextmanager
def open_database() -> Iterator[sqlite3.Connection | None]:
    """Yield the database of the user's cache, None if it can't be opened; a damaged one is replaced."""
    file = get_cache_folder() / "answers" / "answers.sqlite"
    try:
        connection = _connect(file)
    except (OSError, sqlite3.Error):
        connection = None
    try:
        yield connection
    finally:
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                if file.stat().st_size > _MAX_BYTES:
                    connection.execute(_PRUNE)
                    connection.execute("VACUUM")
            connection.close()


def _connect(file: Path) -> sqlite3.Connection:
    create_folder(file.parent)
    try:
        return _prepare(file)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):  # locked, read-only, or a full disk
            raise
        file.unlink()
        return _prepare(file)


def _prepare(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=10.0, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, value TEXT, used REAL)"
        )
    except sqlite3.Error:
        connection.close()
        raise
    return connection


@dataclass(frozen=True)
class ItemNeeds:
    """Whether an item has to be answered, and whether log-likelihoods are needed."""

    answer: bool
    logprobs: bool


class ItemScorer:
    """The metrics of an evaluation, by the key of the test set."""

    def __init__(self, names: Mapping[str, Sequence[str]], *, judges: bool = False) -> None:
        """Take the names of the metrics by test set; raises ProblemError for an unknown one.

        With `judges`, every item is answered, for the judge to compare.
        """
        self._judges = judges
        self._metrics = {
            test_set: [metrics.create_metric(name) for name in chosen if name != OWN_METRIC]
            for test_set, chosen in names.items()
        }
        self._own: dict[str, metrics.AnswerMetric] = {}

    def get_needs(self, item: EvaluationItem, column: Column) -> ItemNeeds:
        """Return what an item needs from a column."""
        chosen = self._list(item)
        needs_logprobs = any(metric.needs_logprobs for _, metric in chosen)
        is_answered = not item.is_text and (
            self._judges or not chosen or any(not metric.needs_logprobs for _, metric in chosen)
        )
        return ItemNeeds(is_answered, needs_logprobs and column.can_measure_logprobs)

    def score(
        self, item: EvaluationItem, answer: str | None, logprobs: Logprobs | None
    ) -> dict[str, float]:
        """Return the scores of an answer and of log-likelihoods, where there are any."""
        scores: dict[str, float] = {}
        for name, metric in self._list(item):
            value = None
            if metric.needs_logprobs:
                value = None if logprobs is None else metric.score_logprobs(item, logprobs)
            elif answer is not None:
                value = metric.score(item, answer)
            if value is not None:
                scores[name] = value
        return scores

    def list_unmeasured(self, column: Column, items: Iterable[EvaluationItem]) -> tuple[str, ...]:
        """Return the metrics that can't be computed for a column, because it is on a server."""
        if column.can_measure_logprobs:
            return ()
        every = (metric for item in items for _, metric in self._list(item))
        return tuple(dict.fromkeys(each.name for each in every if each.needs_logprobs))

    def _list(self, item: EvaluationItem) -> list[tuple[str, metrics.AnswerMetric]]:
        """Return the metrics of an item, by the names of their scores."""
        chosen = [(each.name, each) for each in self._metrics.get(item.test_set, ())]
        if not item.metric:
            return chosen
        if item.metric not in self._own:
            self._own[item.metric] = metrics.create_metric(item.metric)
        own = self._own[item.metric]
        return [(OWN_METRIC, own), *(pair for pair in chosen if pair[1].needs_logprobs)]


def choose_metrics(
    plan: EvaluationPlan, reports: Sequence[TestSetReport]
) -> dict[str, tuple[str, ...]]:
    """Return the names of the metrics by test set: those of the plan, else those that suit each."""
    return {
        report.key: (
            tuple(name for name in report.suggested if name == OWN_METRIC) + plan.metrics
            if plan.metrics
            else report.suggested
        )
        for report in reports
        if report.items
    }


@dataclass
class RunnerFactory:
    """Creates runners for the models of an evaluation; `models` holds the one in memory.

    The training device is held as long as a model may be on it, so that no other job waits beside a model, and
    no model waits for another job. A model that was loaded on the CPU gives it back.
    """

    run: RunFolder
    project: Project
    models: TorchModels
    job: JobContext
    _held: ExitStack | None = None

    def __post_init__(self) -> None:
        """Have the models report that they need no training device."""
        self.models.on_cpu = self._release_device

    @contextmanager
    def open(self, model: AnyColumnModel) -> Iterator[ModelRunner]:
        """Yield the runner of a model, with the training device held for one in torch.

        Raises ProblemError.
        """
        if not isinstance(model, AdapterChatModel | FolderChatModel):
            self.release()
        runner = self._create(model)
        if isinstance(runner, TorchRunner):
            if not self.models.has_on_cpu(runner.spec):
                self._hold_device()
            yield runner
            return
        try:
            yield runner
        finally:
            runner.close()

    def release(self) -> None:
        """Free the memory of the model in torch, and then the training device."""
        try:
            self.models.release()
        finally:
            self._release_device()

    def _hold_device(self) -> None:
        if self._held is None:
            held = ExitStack()
            held.enter_context(
                lock.hold_devices(self.project.model, self.run, "evaluation", self.job)
            )
            self._held = held

    def _release_device(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    def _create(self, model: AnyColumnModel) -> ModelRunner:
        match model:
            case AdapterChatModel():
                return create_adapter_runner(self.models, self.run, self.project, model)
            case FolderChatModel():
                return create_model_runner(self.models, self.project, model)
            case GgufChatModel():
                return create_gguf_runner(self.project, model, self.job)
            case OllamaChatModel():
                return create_ollama_runner(model, self.job)
            case ServerModel():
                return create_server_runner(model, self.job)


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
        with open_database() as database:
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
        folder = storage.open_evaluation(run.evaluations_folder, command.evaluation)
        require_own_plan(plan := folder.read_plan(), access_requests.find_run_home(run.path))
        return folder, plan
    if command.plan is None:
        raise fail(
            "evaluation.no_plan",
            "Nothing to evaluate was specified.",
            "Choose the models and a test set.",
        )
    remember_plan(command.plan)
    return storage.create_evaluation(run.evaluations_folder, command.plan), command.plan


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
    scorer: ItemScorer = field(init=False)
    progress: _Progress = field(init=False)

    def run(self) -> None:
        """Evaluate every column, then let the judge compare their answers."""
        self._read_items()
        self.scorer = ItemScorer(self.facts.metrics, judges=self.plan.judge is not None)
        rows = self.folder.read().answers
        self.answered = {key for key, row in rows.items() if row.problem is None}
        total = sum(len(self._list_needed(column)) for column in self.plan.columns)
        self.progress = _Progress(self.folder.path.name, total, self.job, len(self.answered))
        self.job.emit(
            events.EvaluationStarted(
                evaluation=self.folder.path.name,
                items=len(self.items),
                columns=tuple(column.key for column in self.plan.columns),
                answered=len(self.answered),
                test_sets=self.facts.test_sets,
            )
        )
        self._save(finished=None)
        with self.folder.append(self.folder.answers_file) as writer:
            for column in self.plan.columns:
                self._run_column(column, writer)
        self._judge()
        self._finish()

    def _read_items(self) -> None:
        """Read the test sets, or what an earlier start has read; raises ProblemError without items."""
        self.facts, self.items = self.folder.read_facts(), self.folder.read_items()
        if self.items and self.facts.metrics:
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
            metrics=choose_metrics(self.plan, reports),
        )
        ItemScorer(self.facts.metrics)  # an unknown metric is a problem before anything is computed
        self.folder.write_items(self.items)
        self._save(finished=None)

    def _list_needed(self, column: Column) -> list[EvaluationItem]:
        """Return the items that a column can answer or score."""
        needs = ((item, self.scorer.get_needs(item, column)) for item in self.items)
        return [item for item, need in needs if need.answer or need.logprobs]

    # --- columns --------------------------------------------------------------------------------

    def _run_column(self, column: Column, writer: LineWriter) -> None:
        """Evaluate a column; if its model fails, the others continue."""
        unmeasured = self.scorer.list_unmeasured(column, self.items)
        report = ColumnReport(key=column.key, unmeasured=unmeasured)
        needed = self._list_needed(column)
        missing = [item for item in needed if (item.id, column.key) not in self.answered]
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
                report = self._answer(column, runner, writer, report, missing)
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
        runner: ModelRunner,
        writer: LineWriter,
        report: ColumnReport,
        missing: Sequence[EvaluationItem],
    ) -> ColumnReport:
        """Answer the items that a column lacks; returns the report of the complete column."""

        def record(result: ItemResult) -> None:
            writer.write(result)
            self.progress.add(column, result)

        self.progress.show(column)
        cache = AnswerCache(self.database, runner.model_hash)
        work = ColumnRun(column, runner, self.scorer, self.plan.sampling, cache, record)
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
        means = compute_means(self.folder.read(), column.key)
        self.job.emit(events.ColumnEvaluated(column=report, means=means))
        return report

    def _digest_recorded(self, column: Column) -> str:
        """Return what identifies the run's own model later, even without reading its weights."""
        run = self.factory.run
        recorded = checksums.read_recorded(run)
        # Resolved: the run's path leads through the descriptor of its folder while a job holds it.
        return run_verdict.digest_model(column.model, run.path.resolve().name, recorded)

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
                judge(self.folder, self.plan.judge, runner, self.database, self.job)
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


def _require_same_model(before: ColumnReport | None, runner: ModelRunner) -> None:
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


#: Greedy, and long enough for a few words before the verdict.
_SAMPLING = Sampling(temperature=0.0, top_p=1.0, max_tokens=512)

#: The last verdict in a reply: [[A]], [[B]], or [[tie]].
_VERDICT = re.compile(r"\[\[\s*(a|b|tie)\s*\]\]", re.IGNORECASE)
#: A reply of one word.
_BARE = re.compile(r"\W*(?:answer\s+)?(a|b|tie)\W*", re.IGNORECASE)


@dataclass(frozen=True)
class _Pair:
    """Two columns' answers to an item, in the order in which the judge sees them."""

    item: EvaluationItem
    first: str
    second: str


def judge(
    folder: EvaluationFolder,
    settings: JudgeSettings,
    runner: ModelRunner,
    database: sqlite3.Connection | None,
    job: JobContext,
) -> None:
    """Compare every column with the baseline on every item, and append the judgments; raises
    ProblemError if the judge fails altogether. Equal answers are a tie that the judge isn't asked about.
    """
    results = folder.read()
    questions: dict[_Pair, tuple[str, str]] = {}  # the IDs of those in both orders
    waiting: dict[str, list[_Pair]] = defaultdict(list)  # for the reply to a question
    items: dict[str, EvaluationItem] = {}
    replies: dict[str, ItemResult] = {}
    with folder.append(folder.judgments_file) as writer:

        def decide(reply: ItemResult) -> None:
            replies[reply.item] = reply
            job.report_progress(text("judging answers"), len(replies), len(items), "replies")
            for pair in waiting[reply.item]:
                straight, swapped = questions[pair]
                if straight in replies and swapped in replies:
                    writer.write(_decide(pair, replies[straight], replies[swapped]))

        for pair in _iter_pairs(results, settings):
            keys = (pair.first, pair.second)
            first, second = (results.answers[pair.item.id, key].answer for key in keys)
            if first.strip() == second.strip():
                writer.write(
                    Judgment(item=pair.item.id, first=pair.first, second=pair.second, winner="")
                )
                continue
            asked = [
                _create_question(pair.item, *answers, settings.criteria)
                for answers in ((first, second), (second, first))
            ]
            questions[pair] = asked[0].id, asked[1].id
            for each in asked:
                items[each.id] = each
                waiting[each.id].append(pair)
        column = Column(key="judge", model=settings.model)
        scorer, cache = ItemScorer({}, judges=True), AnswerCache(database, runner.model_hash)
        ColumnRun(column, runner, scorer, _SAMPLING, cache, decide).run(list(items.values()))


def _create_question(
    item: EvaluationItem, first: str, second: str, criteria: str
) -> EvaluationItem:
    prompt = build_judge_prompt(item, first, second, criteria)
    return create_item(test_set="judge", messages=(Message(role="user", content=prompt),))


def _iter_pairs(results: EvaluationResults, settings: JudgeSettings) -> Iterator[_Pair]:
    """Yield the pairs that aren't judged yet and have two answers."""
    baseline = settings.baseline or results.plan.columns[0].key
    judged = {(each.item, each.first, each.second) for each in results.judgments if each.problem is None}  # fmt: skip
    for item in results.items:
        for column in results.plan.columns:
            if item.is_text or column.key == baseline or (item.id, baseline, column.key) in judged:
                continue
            rows = [results.answers.get((item.id, key)) for key in (baseline, column.key)]
            if all(row is not None and row.problem is None for row in rows):
                yield _Pair(item, baseline, column.key)


def _decide(pair: _Pair, reply: ItemResult, swapped: ItemResult) -> Judgment:
    """Return the judgment from the replies in both orders; replies that contradict are a tie."""
    problem = reply.problem or swapped.problem
    verdicts = [parse_verdict(reply.answer), parse_verdict(swapped.answer)]
    winner: str | None = None
    if problem is None and None not in verdicts:
        straight = {"a": pair.first, "b": pair.second, "tie": ""}[str(verdicts[0])]
        reverse = {"a": pair.second, "b": pair.first, "tie": ""}[str(verdicts[1])]
        winner = straight if straight == reverse else ""
    return Judgment(
        item=pair.item.id,
        first=pair.first,
        second=pair.second,
        winner=winner,
        replies=(reply.answer, swapped.answer),
        problem=problem,
    )


def parse_verdict(reply: str) -> str | None:
    """Return "a", "b", or "tie", or None if a reply names no winner."""
    if marks := _VERDICT.findall(reply):
        return str(marks[-1]).lower()
    lines = reply.strip().splitlines()
    match = _BARE.fullmatch(lines[-1]) if lines else None
    return match[1].lower() if match else None


#: Characters of an answer that are stored and measured; a server may ignore the limit on tokens.
_LONGEST_ANSWER = 200_000


@dataclass
class _Work:
    """An item of a column, and what is known of it so far."""

    request: AnswerRequest
    needs: ItemNeeds
    keys: tuple[bytes, bytes]
    logprobs: Logprobs | None = None
    reply: Reply | None = None
    cached: bool = True

    @property
    def item(self) -> EvaluationItem:
        return self.request.item

    @property
    def is_complete(self) -> bool:
        lacks_answer = self.needs.answer and self.reply is None
        return not lacks_answer and not (self.needs.logprobs and self.logprobs is None)


@dataclass
class ColumnRun:
    """One column of an evaluation; `on_result` is called with each result as soon as it is complete."""

    column: Column
    runner: ModelRunner
    scorer: ItemScorer
    sampling: Sampling
    cache: AnswerCache
    on_result: Callable[[ItemResult], None]

    def run(self, items: Sequence[EvaluationItem]) -> None:
        """Answer and score items; raises ProblemError if the model fails altogether."""
        pending = [work for item in items if (work := self._prepare(item)) is not None]
        self._score([work for work in pending if work.needs.logprobs and work.logprobs is None])
        self._answer([work for work in pending if work.needs.answer and work.reply is None])

    def _prepare(self, item: EvaluationItem) -> _Work | None:
        """Return an item to compute, None if it is complete already or can't be given to the model."""
        needs = self.scorer.get_needs(item, self.column)
        try:
            prompt = self.runner.render(item)
        except ProblemError as error:
            self._fail(item, error)
            return None
        form = "text" if item.is_text else "chat" if item.raw_prompt is None else "raw"
        targets = [*item.choices, item.reference or "", form]
        keys = (
            self.cache.get_key(prompt, self.sampling, item.stops),
            self.cache.get_key(prompt, None, targets),
        )
        work = _Work(AnswerRequest(item, prompt), needs, keys)
        if needs.answer and (stored := self.cache.find(keys[0])) is not None:
            work.reply = _to_reply(stored)
        if needs.logprobs and (stored := self.cache.find(keys[1])) is not None:
            work.logprobs = stored.get("logprobs")
        if work.is_complete:
            self.on_result(self._to_result(work))
            return None
        work.cached = False
        return work

    def _score(self, works: Sequence[_Work]) -> None:
        if not works:
            return
        for index, logprobs in self.runner.score([work.request for work in works]):
            work = works[index]
            work.logprobs = logprobs
            self.cache.store(work.keys[1], ItemResult(item="", column="", logprobs=logprobs))
            if work.is_complete:
                self.on_result(self._to_result(work))

    def _answer(self, works: Sequence[_Work]) -> None:
        if not works:
            return
        requests = [work.request for work in works]
        for index, reply in self.runner.generate(requests, self.sampling):
            work = works[index]
            work.reply = _shorten(reply)
            self.cache.store(work.keys[0], self._to_result(work))
            self.on_result(self._to_result(work))

    def _to_result(self, work: _Work) -> ItemResult:
        reply = work.reply or Reply()
        answer = reply.text if work.needs.answer else None
        return ItemResult(
            item=work.item.id,
            column=self.column.key,
            answer=reply.text,
            tokens=reply.tokens,
            prompt_tokens=reply.prompt_tokens,
            seconds=reply.seconds,
            ending=reply.ending,
            scores=self.scorer.score(work.item, answer, work.logprobs),
            logprobs=work.logprobs,
            cached=work.cached,
            problem=reply.problem,
        )

    def _fail(self, item: EvaluationItem, error: ProblemError) -> None:
        """Record an item that the model can't be given: it counts as failed."""
        scores = self.scorer.score(item, "", None)
        problem = error.problems[0]
        self.on_result(ItemResult(item=item.id, column=self.column.key, scores=scores, problem=problem))  # fmt: skip


def _to_reply(stored: Mapping[str, Any]) -> Reply:
    return Reply(
        text=stored.get("answer", ""),
        tokens=stored.get("tokens", 0),
        prompt_tokens=stored.get("prompt_tokens", 0),
        seconds=stored.get("seconds", 0.0),
        ending=stored.get("ending", ""),
    )


def _shorten(reply: Reply) -> Reply:
    """Return a reply whose text isn't longer than what is stored and measured."""
    if len(reply.text) <= _LONGEST_ANSWER:
        return reply
    return Reply(reply.text[:_LONGEST_ANSWER], reply.tokens, reply.prompt_tokens, reply.seconds, "length")  # fmt: skip
