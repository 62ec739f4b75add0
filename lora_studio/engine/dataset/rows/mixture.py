"""Several sources become one dataset: what each holds, one sample per row, how often a row is seen."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_studio.core.dataset.faults import iter_texts
from lora_studio.core.dataset.formats.detection import FormatVerdict, convert, detect
from lora_studio.core.dataset.formats.mapping import find_column_names
from lora_studio.core.dataset.media_placeholders import can_contain_mark, find_media_mark
from lora_studio.core.dataset.repairs import repair
from lora_studio.core.dataset.samples import Sample, UnusableRow
from lora_studio.core.dataset.spec import DatasetSpec, DataSource, Message, RowFormat, Task
from lora_studio.core.formatting import number, plural
from lora_studio.core.problems import Problem, ProblemError, Where, fail
from lora_studio.core.protocol.events import SourceFound
from lora_studio.engine.dataset.rows.hashing import mix64
from lora_studio.engine.dataset.rows.scan import open_store
from lora_studio.engine.dataset.rows.store import RawRow, RowStore
from lora_studio.engine.runtime.channel import JobContext

#: Rows that a format is told from, and the number of places in a source that they are taken from.
_EVIDENCE, _PLACES = 500, 20

#: Rows among which one is looked for that a mapping can be tried on, and its longest in characters.
_TRIED, _LONGEST = 20, 65_536

#: What sources were recognised as, by the content of their files and what is chosen for them.
_REMEMBERED = 64
_verdicts: dict[tuple[str, str], FormatVerdict] = {}


@dataclass(frozen=True)
class MixedRows:
    """All sources of a dataset, read; after those of the spec comes that of its validation file.

    `found` says what each source is, without counts of usable rows: only what looks at every row
    (`engine.verdicts`, tokenising) knows them. `task` is what the sources have in common.
    """

    spec: DatasetSpec
    task: Task
    found: tuple[SourceFound, ...]
    stores: tuple[RowStore, ...]

    def sample(self, source: int, position: int) -> Sample:
        """One row by its source and its position there, from 0; raises UnusableRow."""
        row = self.stores[source].raw(position)
        if row.values is None:
            raise UnusableRow(row.fault)
        found = self.found[source]
        if found.format is None:
            raise UnusableRow("its source has no known format")
        return sample_of(row.values, found.format, found.mapping, self.spec)


def sample_of(
    values: dict[str, Any], source_format: RowFormat, mapping: dict[str, str], spec: DatasetSpec
) -> Sample:
    """The sample that a row holds, repaired, under the spec's system prompt; raises UnusableRow."""
    sample = convert(values, source_format, mapping)
    if spec.fixes:
        sample = repair(sample, spec.fixes)
    if spec.system_prompt and sample.task != "text":
        return _with_system(sample, spec.system_prompt)
    return sample


def _with_system(sample: Sample, prompt: str) -> Sample:
    if any(turn.role == "system" for turn in sample.messages):
        return sample
    system = Message(role="system", content=prompt)
    return replace(sample, messages=(system, *sample.messages))


def open(spec: DatasetSpec, job: JobContext) -> MixedRows:  # noqa: A001 - dataset.open is what it does
    """Every source of a dataset, scanned or from the cache; raises ProblemError.

    A source that nothing can be trained on is an error here, and so are sources of different tasks.
    """
    if not spec.sources:
        raise fail(
            "dataset.no_sources",
            "There is no data yet.",
            "Choose a file, a folder or a dataset of the hub.",
            where=Where(step="dataset", field="sources"),
        )
    stores = [open_store(source, job) for source in sources_of(spec)]
    found = [
        described(source, store, recognised(store, source))
        for source, store in zip(sources_of(spec), stores, strict=True)
    ]
    refused = [
        problem
        for source in found
        if source.format is None
        for problem in source.problems
        if problem.severity == "error"
    ]
    if refused:
        raise ProblemError(refused)
    task, problems = common_task(found)
    if task is None:
        raise ProblemError(problems)
    return MixedRows(spec, task, tuple(found), tuple(stores))


def sources_of(spec: DatasetSpec) -> tuple[DataSource, ...]:
    """The sources of a spec, that of its validation file as the last one."""
    if not spec.validation_file:
        return spec.sources
    return (*spec.sources, DataSource(path=spec.validation_file, split="validation"))


def recognised(store: RowStore, source: DataSource) -> FormatVerdict:
    """What the rows of a source are, told from rows all over it.

    Remembered, since it takes a tenth of a second and every page of rows asks for it.
    """
    key = (store.key, source.model_dump_json())
    if key not in _verdicts:
        if len(_verdicts) >= _REMEMBERED:
            _verdicts.clear()
        _verdicts[key] = _recognised(store, source)
    return _verdicts[key]


def _recognised(store: RowStore, source: DataSource) -> FormatVerdict:
    rows = evidence(store)
    values = [row.values for row in rows]
    verdict = detect(values, store.facts.columns, source.format, source.mapping)
    if rows or not store.facts.faults:
        return replace(verdict, problems=(*verdict.problems, *_marks(store, rows, verdict)))
    problem = _faults_alone(store, source)
    return replace(verdict, evidence=problem.what, problems=(problem,))


def _faults_alone(store: RowStore, source: DataSource) -> Problem:
    reason, (_, rows) = max(store.facts.faults.items(), key=lambda entry: entry[1][0])
    first = store.raw(rows[0] - 1)
    return Problem(
        code="dataset.no_usable_rows",
        what=f"No row of {Path(source.path).name} can be read ({plural(len(store), 'row')}). Of row "
        f"{first.number}: {reason}.",
        remedy="Correct the rows, or choose another file.",
        where=_place(store, first),
    )


def _place(store: RowStore, row: RawRow) -> Where:
    return Where(
        step="dataset",
        field="sources",
        file=store.file_of(row.number - 1).path,
        line=row.line or None,
        row=row.number,
    )


def _marks(store: RowStore, rows: Sequence[RawRow], verdict: FormatVerdict) -> Iterator[Problem]:
    """A warning where rows hold marks of pictures, films or sounds, which nothing is put for."""
    found = [(row, mark) for row in rows if (mark := _mark(row, verdict))]
    if not found:
        return
    row, mark = found[0]
    values = row.values or {}
    mapped = [name for slot in verdict.mapping.values() for name in find_column_names(slot, values)]
    inside = next(
        (name for name in (*mapped, *values) if mark in str(values.get(name))), next(iter(values))
    )
    yield Problem(
        code="dataset.media_marks",
        what=f"{plural(len(found), 'row')} of {number(len(rows))} looked at "
        f"{'holds' if len(found) == 1 else 'hold'} a mark of a picture, a film or a sound, such as {mark} in "
        f"“{inside}” of row {row.number}. It is read as text: the model would answer to what it "
        "does not see.",
        remedy="Choose data of text alone, or take these rows out of the file, unless the mark is meant "
        "as text. The check of the data names all of them.",
        where=_place(store, row),
        severity="warning",
    )


def _mark(row: RawRow, verdict: FormatVerdict) -> str:
    """The mark in what a row is trained as, "" for none."""
    if verdict.format is None or not can_contain_mark(row.raw):
        return ""
    try:
        sample = convert(row.values, verdict.format, verdict.mapping)
    except UnusableRow:
        return ""
    return next(filter(None, map(find_media_mark, iter_texts(sample))), "")


def evidence(store: RowStore) -> list[RawRow]:
    """Rows with values from all over a source, from some places only: each costs reading a block of rows."""
    count = len(store.facts.batches)
    places = sorted({round(index * (count - 1) / (_PLACES - 1)) for index in range(_PLACES)})
    each = -(-_EVIDENCE // len(places))
    found = []
    for place in places:
        rows = store.batch(place).num_rows
        first = store.facts.batches[place][1]
        for index in range(0, rows, max(1, rows // each)):
            row = store.raw(first + index)
            if row.values is not None:
                found.append(row)
    return found


def described(source: DataSource, store: RowStore, verdict: FormatVerdict) -> SourceFound:
    """What a scanned source is, before its rows are judged one by one (`rows` is None)."""
    rows = map(store.raw, range(len(store)))
    return outlined(source, verdict, rows, store.title, store.facts.columns, store.facts.problems)


def outlined(
    source: DataSource,
    verdict: FormatVerdict,
    rows: Iterable[RawRow],
    title: str,
    columns: tuple[str, ...],
    problems: Sequence[Problem] = (),
) -> SourceFound:
    """The same of what is known of a source so far: its rows from the first on, kinds and columns.

    Its `first` is the first row that can be read and is not too long to be shown, "" for none.
    """
    tried = itertools.islice(rows, _TRIED)
    return SourceFound(
        path=source.path,
        container=title,
        format=verdict.format,
        task=verdict.task,
        confidence=verdict.confidence,
        evidence=str(verdict.evidence),
        others=verdict.others,
        columns=columns,
        mapping=verdict.mapping,
        first=next((row.raw for row in tried if 0 < len(row.raw) <= _LONGEST), ""),
        problems=(*_located(verdict.problems, source), *problems),
    )


def _located(problems: Sequence[Problem], source: DataSource) -> list[Problem]:
    """The problems of a verdict with the source they are about."""
    where = {"step": "dataset", "field": "sources", "file": source.path}
    return [
        found
        if found.where.file
        else found.model_copy(update={"where": found.where.model_copy(update=where)})
        for found in problems
    ]


def common_task(found: Sequence[SourceFound]) -> tuple[Task | None, list[Problem]]:
    """The task of all sources; None with the problem where they differ or have none."""
    tasks = {source.task: source for source in found if source.task is not None}
    if len(tasks) == 1:
        return next(iter(tasks)), []
    if not tasks:
        return None, []
    parts = "; ".join(
        f"{Path(source.path).name} is for {_WORDS[task]}" for task, source in tasks.items()
    )
    return None, [
        Problem(
            code="dataset.mixed_tasks",
            what=f"The sources cannot be trained on together: {parts}.",
            remedy="Train on one sort of data at a time, or choose another format for one of them.",
            where=Where(step="dataset", field="sources"),
        )
    ]


_WORDS: dict[Task, str] = {
    "sft": "conversations",
    "text": "plain text",
    "preference": "pairs of answers",
    "kto": "labelled answers",
}


# --- weights --------------------------------------------------------------------------------------


def weighted(places: NDArray[np.int64], weights: Sequence[float], seed: int) -> NDArray[np.int64]:
    """The rows of one epoch: (source, position) pairs, [rows, 2], each as often as its weight says.

    A row of weight 2.5 is there twice, and of such rows a seeded half once more. Which ones follows
    from seed, source and position alone, so that appended rows hardly change it.
    """
    if all(weights[source] == 1.0 for source in np.unique(places[:, 0])):
        return places
    times = np.ones(len(places), dtype=np.int64)
    for source, weight in enumerate(weights):
        here = np.flatnonzero(places[:, 0] == source)
        whole = int(weight)
        times[here] = whole
        more = round((weight - whole) * len(here))
        start = mix64(np.array([seed, source], dtype=np.uint64))
        numbers = mix64(places[here, 1].astype(np.uint64) ^ start[0] ^ mix64(start[1:]))
        times[here[np.argsort(numbers, kind="stable")[:more]]] += 1
    return np.repeat(places, times, axis=0)
