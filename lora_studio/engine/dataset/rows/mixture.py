"""Mix several sources into one dataset: the format of each, one sample per row, and weights."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_studio.core.dataset.formats.columns import SPEAKER
from lora_studio.core.dataset.formats.conversion import without_media
from lora_studio.core.dataset.formats.detection import FormatVerdict, convert, detect
from lora_studio.core.dataset.repairs import repair
from lora_studio.core.dataset.spec import DatasetSpec, DataSource, Repair, RowFormat
from lora_studio.core.messages import Text, counted, text
from lora_studio.core.problems import Problem, ProblemError, Where, error, fail
from lora_studio.core.protocol.events import SourceFound
from lora_studio.core.tasks.samples import Message, Sample, TaskName
from lora_studio.core.tasks.table import TASKS
from lora_studio.engine.dataset.files.blocks import NO_FORMAT
from lora_studio.engine.dataset.rows.scan import open_store
from lora_studio.engine.dataset.rows.store import RawRow, RowStore, mix64, sample_rows
from lora_studio.engine.runtime.channel import JobContext

#: Examples for the mapping, the rows to search for them, and their maximum length in characters.
_EXAMPLES, _SEARCHED, _LONGEST = 3, 20, 65_536

#: Formats that were recognized, by the content of the files and the settings of the source.
_MOST_VERDICTS = 64
_verdicts: dict[tuple[str, str, tuple[Repair, ...]], FormatVerdict] = {}


@dataclass(frozen=True)
class MixedRows:
    """All sources of a dataset after scanning; the validation file, if any, is the last one.

    `sources` says what each source is, without counts of usable rows: those need a pass over all rows
    (`rows.verdicts`, tokenizing). `task` is the task that all sources have.
    """

    spec: DatasetSpec
    task: TaskName
    sources: tuple[SourceFound, ...]
    stores: tuple[RowStore, ...]

    def read_sample(self, source: int, position: int) -> Sample:
        """Return one row by its source and its position there, from 0; raises UnusableRow."""
        row = self.stores[source].read_raw(position)
        if row.values is None:
            raise (row.fault or NO_FORMAT).to_error()
        about = self.sources[source]
        if about.format is None:
            raise NO_FORMAT.to_error()
        return make_sample(row.values, about.format, about.mapping, self.spec)


#: People who are offered as the speaker.
_MOST_PEOPLE = 200


def make_sample(
    values: dict[str, Any], source_format: RowFormat, mapping: dict[str, str], spec: DatasetSpec
) -> Sample:
    """Return a row as a sample, repaired and with the spec's system prompt; raises UnusableRow."""
    if "remove_media" in spec.fixes:
        values = without_media(values)
    sample = convert(values, source_format, mapping)
    if spec.fixes:
        sample = repair(sample, spec.fixes)
    if spec.system_prompt and TASKS[sample.task].takes_system_prompt:
        return _with_system(sample, spec.system_prompt)
    return sample


def _with_system(sample: Sample, prompt: str) -> Sample:
    if any(turn.role == "system" for turn in sample.messages):
        return sample
    system = Message(role="system", content=prompt)
    return replace(sample, messages=(system, *sample.messages))


def open_dataset(spec: DatasetSpec, job: JobContext) -> MixedRows:
    """Return all sources of a dataset, scanned or from the cache.

    Raises ProblemError for a source that can't be trained on, and for sources of different tasks.
    """
    if not spec.sources:
        raise fail(
            "dataset.no_sources",
            "The dataset has no sources.",
            "Add a file, a folder, or a dataset from the Hugging Face Hub.",
            where=Where(step="dataset", field="sources"),
        )
    stores = [open_store(source, job) for source in list_sources(spec)]
    described = [
        describe_source(source, store, recognize_format(store, source, spec.fixes))
        for source, store in zip(list_sources(spec), stores, strict=True)
    ]
    refused = [
        problem
        for source in described
        if source.format is None
        for problem in source.problems
        if problem.severity == "error"
    ]
    if refused:
        raise ProblemError(refused)
    task, problems = find_common_task(described)
    if task is None:
        raise ProblemError(problems)
    return MixedRows(spec, task, tuple(described), tuple(stores))


def list_sources(spec: DatasetSpec) -> tuple[DataSource, ...]:
    """Return the sources of a spec, with its validation file as the last one.

    Prompts for rewards and texts with labels are detected only where their columns say so: the file has
    these formats where the first source was given them. Of chats, it has the same speaker.
    """
    if not spec.validation_file:
        return spec.sources
    validation = DataSource(path=spec.validation_file, split="validation")
    if spec.sources and (first := spec.sources[0]).format in ("prompts", "labeled_text"):
        same = {"format": first.format, "mapping": first.mapping}
        validation = validation.model_copy(update=same)
    elif spec.sources and SPEAKER in first.mapping:
        validation = validation.model_copy(update={"mapping": {SPEAKER: first.mapping[SPEAKER]}})
    return (*spec.sources, validation)


def recognize_format(
    store: RowStore, source: DataSource, fixes: Sequence[Repair] = ()
) -> FormatVerdict:
    """Return the format of a source's rows, detected from rows all over it.

    Cached: it takes a tenth of a second, and every page of rows asks for it.
    """
    key = (store.key, source.model_dump_json(), tuple(fixes))
    if key not in _verdicts:
        if len(_verdicts) >= _MOST_VERDICTS:
            _verdicts.clear()
        _verdicts[key] = _recognize_format(store, source, fixes)
    return _verdicts[key]


def _recognize_format(
    store: RowStore, source: DataSource, fixes: Sequence[Repair]
) -> FormatVerdict:
    rows = sample_rows(store)
    values = [row.values for row in rows]
    verdict = detect(values, store.facts.columns, source.format, source.mapping, fixes)
    if rows or not store.facts.faults:
        return verdict
    problem = _only_faults_problem(store, source)
    return replace(verdict, evidence=problem.what, problems=(problem,))


def _only_faults_problem(store: RowStore, source: DataSource) -> Problem:
    main_fault = max(store.facts.faults, key=lambda entry: entry.count)
    first = store.read_raw(main_fault.rows[0] - 1)
    return error(
        "dataset.no_usable_rows",
        counted(
            len(store),
            "The only row of {name} can't be read. Row {row:d}: {reason}.",
            "None of the {n} rows of {name} can be read. Row {row:d}: {reason}.",
            name=Path(source.path).name,
            row=first.number,
            reason=main_fault.reason,
        ),
        "Correct the rows, or choose another file.",
        where=_get_location(store, first),
    )


def _get_location(store: RowStore, row: RawRow) -> Where:
    return Where(
        step="dataset",
        field="sources",
        file=store.get_source_file(row.number - 1).path,
        line=row.line or None,
        row=row.number,
    )


def describe_source(source: DataSource, store: RowStore, verdict: FormatVerdict) -> SourceFound:
    """Return what a scanned source is, before its rows are judged (`rows` is None)."""
    rows = map(store.read_raw, range(len(store)))
    facts = store.facts
    return describe_rows(source, verdict, rows, store.title, facts.columns, facts.problems)


def describe_rows(
    source: DataSource,
    verdict: FormatVerdict,
    rows: Iterable[RawRow],
    title: Text,
    columns: tuple[str, ...],
    problems: Sequence[Problem] = (),
) -> SourceFound:
    """Return a description of a source from its first rows, title and columns.

    Its examples are the first readable rows that are short enough to show.
    """
    readable = (
        row.raw for row in itertools.islice(rows, _SEARCHED) if 0 < len(row.raw) <= _LONGEST
    )
    return SourceFound(
        path=source.path,
        container=title,
        format=verdict.format,
        task=verdict.task,
        confidence=verdict.confidence,
        evidence=verdict.evidence,
        others=verdict.others,
        columns=columns,
        mapping=verdict.mapping,
        people=verdict.people[:_MOST_PEOPLE],
        examples=tuple(itertools.islice(readable, _EXAMPLES)),
        problems=(*_add_location(verdict.problems, source), *problems),
    )


def _add_location(problems: Sequence[Problem], source: DataSource) -> list[Problem]:
    """Return the problems of a verdict with the source that they are about."""
    where = {"step": "dataset", "field": "sources", "file": source.path}
    return [
        problem
        if problem.where.file
        else problem.model_copy(update={"where": problem.where.model_copy(update=where)})
        for problem in problems
    ]


def find_common_task(sources: Sequence[SourceFound]) -> tuple[TaskName | None, list[Problem]]:
    """Return the task of all sources; None and the problem where they differ or have none."""
    tasks = {source.task: source for source in sources if source.task is not None}
    if len(tasks) == 1:
        return next(iter(tasks)), []
    if not tasks:
        return None, []
    return None, [
        error(
            "dataset.mixed_tasks",
            "The sources can't be trained on together: {sources}.",
            "Train on one kind of data at a time, or choose another format for one of them.",
            where=Where(step="dataset", field="sources"),
            sources=tuple(
                text(TASKS[task].contents, file=Path(source.path).name)
                for task, source in tasks.items()
            ),
        )
    ]


# --- weights --------------------------------------------------------------------------------------


def repeat_by_weight(
    rows: NDArray[np.int64], weights: Sequence[float], seed: int
) -> NDArray[np.int64]:
    """Return the rows of one epoch: (source, position) pairs, [rows, 2], as often as their weights.

    Rows with weight 2.5 occur twice, and a seeded half of them once more. Which ones depends on seed,
    source and position alone, so that appending rows hardly changes it.
    """
    if all(weights[source] == 1.0 for source in np.unique(rows[:, 0])):
        return rows
    times = np.ones(len(rows), dtype=np.int64)
    for source, weight in enumerate(weights):
        positions = np.flatnonzero(rows[:, 0] == source)
        copies = int(weight)
        times[positions] = copies
        more = round((weight - copies) * len(positions))
        start = mix64(np.array([seed, source], dtype=np.uint64))
        numbers = mix64(rows[positions, 1].astype(np.uint64) ^ start[0] ^ mix64(start[1:]))
        times[positions[np.argsort(numbers, kind="stable")[:more]]] += 1
    return np.repeat(rows, times, axis=0)
