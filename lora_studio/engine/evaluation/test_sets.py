"""Read all test sets of an evaluation, without any model."""

from __future__ import annotations

import random
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_studio.core.chat import AdapterChatModel, FolderChatModel
from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.evaluation import metrics
from lora_studio.core.evaluation.columns import Column
from lora_studio.core.evaluation.items import (
    OWN_METRIC,
    EvaluationItem,
    create_item,
    find_choices,
    make_ids_unique,
)
from lora_studio.core.evaluation.test_sets import (
    AnyTestSet,
    BenchmarkTask,
    FileRows,
    ForgettingSet,
    HeldoutRows,
    PlaygroundPrompts,
    TestSetReport,
)
from lora_studio.core.messages import NO_TEXT, Text, text
from lora_studio.core.playground import Playground
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.project import access_requests
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import names as run_names
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.heldout import read_heldout
from lora_studio.core.tasks.samples import Message, Sample, UnusableRow
from lora_studio.core.tasks.table import TASKS
from lora_studio.engine.dataset import splitting
from lora_studio.engine.dataset.rows import mixture
from lora_studio.engine.dataset.rows.store import hash_text
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
    trained = find_trained_prompts(run, columns, job)
    read = [read_test_set(run, project, each, trained, job) for each in test_sets]
    return [item for each in read for item in each.items], [each.report for each in read]


_NO_PROMPT = text("it has no prompt")
_BAD_ANSWER = text("its answer is labeled as bad")


@dataclass
class ReadItems:
    """The items of one test set, and counts of what was left out."""

    report: TestSetReport
    items: list[EvaluationItem] = field(default_factory=list)


def read_test_set(
    run: RunFolder,
    project: Project,
    test_set: AnyTestSet,
    trained: TrainedPrompts,
    job: JobContext,
) -> ReadItems:
    """Return the items of a test set; a set that can't be used has none, and its problem."""
    try:
        return _read(run, project, test_set, trained, job)
    except ProblemError as error:
        report = TestSetReport(key=test_set.key, title=test_set.title, problem=error.problems[0])
        return ReadItems(report)


def _read(
    run: RunFolder,
    project: Project,
    test_set: AnyTestSet,
    trained: TrainedPrompts,
    job: JobContext,
) -> ReadItems:
    match test_set:
        case HeldoutRows():
            _require_heldout(run)
            candidates = _iter_samples(test_set.key, enumerate(read_heldout(run), 1), run.heldout_file.name)  # fmt: skip
        case FileRows():
            candidates = _iter_file_items(project, test_set, job)
        case PlaygroundPrompts():
            candidates = _iter_playground_items(run, test_set)
        case ForgettingSet():
            from lora_studio.core.evaluation.forgetting import load_forgetting_items

            candidates = iter(load_forgetting_items())
        case BenchmarkTask():
            from lora_studio.engine.evaluation.benchmarks import load_benchmark_items

            candidates = iter(load_benchmark_items(test_set, job))
    is_foreign = isinstance(test_set, HeldoutRows | FileRows | PlaygroundPrompts)
    return _select(test_set, candidates, trained if is_foreign else TrainedPrompts())


def _select(
    test_set: AnyTestSet,
    candidates: Iterable[EvaluationItem | UnusableRow],
    trained: TrainedPrompts,
) -> ReadItems:
    """Return the items that weren't trained on, each once, as many as the limit allows."""
    reasons: Counter[Text] = Counter()
    items: dict[str, EvaluationItem] = {}
    rows = trained_rows = repeated = 0
    for candidate in candidates:
        rows += 1
        if isinstance(candidate, UnusableRow):
            reasons[candidate.reason] += 1
        elif trained.has(candidate.messages, (candidate.reference or "") if candidate.is_text else ""):  # fmt: skip
            trained_rows += 1
        elif candidate.id in items:
            repeated += 1
        else:
            items[candidate.id] = candidate
    chosen = make_ids_unique(list(items.values()))
    not_drawn = 0
    if test_set.limit and len(chosen) > test_set.limit:
        not_drawn = len(chosen) - test_set.limit
        drawn = random.Random(test_set.seed).sample(range(len(chosen)), test_set.limit)
        chosen = [chosen[index] for index in sorted(drawn)]
    report = TestSetReport(
        key=test_set.key,
        title=test_set.title,
        rows=rows,
        items=len(chosen),
        trained=trained_rows,
        repeated=repeated,
        unusable=sum(reasons.values()),
        not_drawn=not_drawn,
        reasons=tuple(reasons.most_common()),
        without_reference=sum(not item.reference and not item.choices for item in chosen),
        suggested=suggest_for_set(chosen),
        unchecked=trained.unchecked,
    )
    return ReadItems(report, chosen)


def suggest_for_set(items: Sequence[EvaluationItem]) -> tuple[str, ...]:
    """Return the metrics that suit a test set; items with metrics of their own count as one."""
    suggested = metrics.suggest_metrics(items)
    return (OWN_METRIC, *suggested) if any(item.metric for item in items) else suggested


def _require_heldout(run: RunFolder) -> None:
    """Raise ProblemError if the run held out no rows, or none but training rows."""
    recorded = run.read_manifest().get("heldout")
    source = recorded.get("from") if isinstance(recorded, dict) else None
    if not run.heldout_file.exists() or source not in (None, "validation rows"):
        raise fail(
            "evaluation.nothing_held_out",
            "This run held out no rows of its dataset.",
            "Choose a file with rows that it wasn't trained on, or train with a validation share.",
            where=Where(file=str(run.heldout_file)),
        )


def _iter_samples(
    key: str, samples: Iterable[tuple[int, Sample | UnusableRow]], source: str
) -> Iterator[EvaluationItem | UnusableRow]:
    """Yield an item for each sample: its last answer is the reference, what precedes it the prompt."""
    for row, sample in samples:
        try:
            if isinstance(sample, UnusableRow):
                raise sample
            yield to_item(key, sample, source, row)
        except UnusableRow as error:
            yield error


def to_item(key: str, sample: Sample, source: str, row: int) -> EvaluationItem:
    """Return the item of a sample; raises UnusableRow for one that asks for nothing."""
    facts: dict[str, Any] = {"source": source, "row": row}
    if TASKS[sample.task].is_document:
        if not sample.text.strip():
            raise UnusableRow(_NO_PROMPT)
        return create_item(test_set=key, reference=sample.text, **facts)
    if sample.label is False:
        raise UnusableRow(_BAD_ANSWER)
    prompt, answers = TASKS[sample.task].split_last_answer(sample)
    if TASKS[sample.task].yields_vectors:
        answers = ()  # the passage to retrieve isn't a reference answer
    if not any(turn.role == "user" for turn in prompt):
        raise UnusableRow(_NO_PROMPT)
    plain = tuple(turn.model_copy(update={"trained": False, "untrained": ()}) for turn in prompt)
    reference = next((turn.content for turn in answers if turn.role == "assistant"), "")
    if choices := find_choices(plain[-1].content, reference):
        facts["correct"] = choices.index(reference.strip())
    return create_item(
        test_set=key,
        messages=plain,
        reference=reference if reference.strip() else None,
        choices=choices,
        tools=sample.tools,
        **facts,
    )


def _iter_file_items(
    project: Project, test_set: FileRows, job: JobContext
) -> Iterator[EvaluationItem | UnusableRow]:
    """Yield the items of a file, recognized as training data is, with the project's system prompt."""
    spec = DatasetSpec(sources=(test_set.source,), system_prompt=project.dataset.system_prompt)
    rows = mixture.open_dataset(spec, job)
    total = len(rows.stores[0])

    def iter_rows() -> Iterator[tuple[int, Sample | UnusableRow]]:
        for position in range(total):
            if position % 256 == 0:
                job.report_progress(text("reading the test set"), position, total, "rows")
            try:
                yield position + 1, rows.read_sample(0, position)
            except UnusableRow as error:
                yield position + 1, error

    return _iter_samples(test_set.key, iter_rows(), Path(test_set.source.path).name)


def _iter_playground_items(
    run: RunFolder, test_set: PlaygroundPrompts
) -> Iterator[EvaluationItem | UnusableRow]:
    """Yield the first question of each saved conversation, with its system message."""
    folder = Path(test_set.project) if test_set.project else access_requests.find_run_home(run.path)
    conversations = Playground(folder).load_conversations()
    if not conversations:
        raise fail(
            "evaluation.no_prompts",
            "The Playground of this project has no saved conversations.",
            "Ask a question in the Playground first, or choose another test set.",
            where=Where(file=str(folder)),
        )
    for row, conversation in enumerate(conversations, 1):
        if not conversation.turns or not conversation.turns[0].user.strip():
            yield UnusableRow(_NO_PROMPT)
            continue
        messages = [Message(role="user", content=conversation.turns[0].user)]
        if conversation.system.strip():
            messages.insert(0, Message(role="system", content=conversation.system))
        yield create_item(test_set=test_set.key, messages=messages, source="playground", row=row)


@dataclass
class TrainedPrompts:
    """Digests of the prompts that runs were trained on; `unchecked` says why some are unknown."""

    digests: set[int] = field(default_factory=set)
    unchecked: Text = NO_TEXT

    def has(self, messages: Sequence[Message], text: str = "") -> bool:
        """Return whether a prompt, or a plain text, was trained on."""
        return _digest(messages, text) in self.digests


def find_trained_prompts(
    run: RunFolder, columns: Iterable[Column], job: JobContext
) -> TrainedPrompts:
    """Return what the run, and every other run whose adapter or model is a column, was trained on.

    The rows are read from the dataset as it is now; a run whose dataset has changed or is missing is
    named in `unchecked`.
    """
    found = TrainedPrompts()
    runs = {run.path.resolve(): run}
    for column in columns:
        for other in _list_runs(column):
            runs.setdefault(other.path.resolve(), other)
    for each in runs.values():
        try:
            _add_prompts(each, found, job)
        except ProblemError as error:
            found.unchecked = text(
                "The rows that {run:run} was trained on can't be read: {reason}",
                run=run_names.read_stored_name(each),
                reason=error.problems[0].what,
            )
    return found


def _list_runs(column: Column) -> list[RunFolder]:
    """Return the runs that a column's adapters or model come from."""
    match column.model:
        case AdapterChatModel():
            folders = [Path(adapter.folder) for adapter in column.model.adapters]
        case FolderChatModel():
            folders = [Path(column.model.folder)]
        case _:
            return []
    parents = [parent for folder in folders for parent in folder.parents[:2]]
    return [RunFolder(parent) for parent in parents if RunFolder(parent).project_file.is_file()]


def _add_prompts(run: RunFolder, trained: TrainedPrompts, job: JobContext) -> None:
    """Add the prompts of a run's training rows; raises ProblemError."""
    project = run.load_project()
    if not project.dataset.sources:
        return  # an imported adapter: what it was trained on is unknown
    rows = mixture.open_dataset(project.dataset, job)
    if _has_changed(run, rows):
        trained.unchecked = text(
            "The data files were changed since {run:run} was trained, so rows that it was trained on can't be "
            "recognized for certain.",
            run=run_names.read_stored_name(run),
        )
    divided = splitting.split(rows, project.training.seed, job)
    for number, (source, row) in enumerate(divided.training):
        if number % 256 == 0:
            job.report_progress(
                text("reading the training rows"), number, len(divided.training), "rows"
            )
        try:
            sample = rows.read_sample(int(source), int(row))
        except UnusableRow:
            continue
        prompt, _ = TASKS[sample.task].split_last_answer(sample)
        trained.digests.add(_digest(prompt, sample.text))


def _has_changed(run: RunFolder, rows: mixture.MixedRows) -> bool:
    """Return whether a source isn't what the run recorded; False if it recorded nothing."""
    recorded = run.read_manifest().get("dataset")
    sources = recorded.get("sources") if isinstance(recorded, dict) else None
    if not isinstance(sources, list):
        return False
    hashes = [source.get("sha256") for source in sources if isinstance(source, dict)]
    return any(
        expected not in (None, store.sha256)
        for expected, store in zip(hashes, rows.stores, strict=False)
    )


def _digest(messages: Sequence[Message], plain: str) -> int:
    """Return 64 bits for a prompt, apart from its system message, case, and spaces."""
    parts = [
        f"{turn.role}\0{_normalize(turn.content)}" for turn in messages if turn.role != "system"
    ]
    return hash_text("\0\0".join(parts) if parts else _normalize(plain))


def _normalize(content: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", content).casefold().split())
