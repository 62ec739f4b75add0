"""Collect in one pass over all rows what comparing them needs: keys, lengths, faults, sketches.

About 200 bytes per row, in files if there are many, so that two million rows need little memory. The
pass takes about 0.3 ms of a core per row of 100 words and runs on all cores: 200,000 rows took 68 s of
the processor and 253 MB over idle (tests/benchmarks/data.py).
"""

from __future__ import annotations

import bisect
import json
import shutil
import tempfile
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lora_studio.core import limits
from lora_studio.core.dataset.faults import Fault, find_faults
from lora_studio.core.dataset.formats.columns import fill_slots, list_columns
from lora_studio.core.dataset.repairs import repair
from lora_studio.core.dataset.spec import Repair
from lora_studio.core.system.files import create_folder
from lora_studio.core.tasks.samples import Sample, UnusableKind, UnusableRow
from lora_studio.core.tasks.table import TASKS
from lora_studio.engine.dataset.files.blocks import NO_FORMAT, SkipReason, load_reason, parse_values
from lora_studio.engine.dataset.quality.keys import (
    describe_shape,
    get_context,
    get_keys,
    normalize_sides,
)
from lora_studio.engine.dataset.quality.near_duplicates import (
    BANDS,
    PRINTS,
    Sides,
    compute_sketches,
    find_boilerplate,
)
from lora_studio.engine.dataset.rows import mixture
from lora_studio.engine.dataset.rows import store as store_module
from lora_studio.engine.dataset.rows.mixture import MixedRows
from lora_studio.engine.dataset.rows.store import Hashes, RowStore, hash_text, read_batch_at
from lora_studio.engine.runtime import disk, process_pool, torch_settings
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import CancelledError

#: A row: the position of its source, and its own in the source, both from 0.
RowId = tuple[int, int]

#: Rows that boilerplate is detected from, rows from which several processes are used (each needs a
#: second and 100 MB), and rows from which facts are stored in files.
_SAMPLED, _PASSES = 1000, 8
_MANY = 10_000
_IN_FILES = 200_000
_MOST_PROCESSES = 8

#: Maximum number of shapes to store. Rows of a dataset with more have no common shape.
_SHAPES = 10_000

#: Rows listed for each fault and each reason.
_NAMED = 1000

_COLUMNS: dict[str, tuple[type, tuple[int, ...]]] = {
    "source": (np.uint16, ()),
    "index": (np.uint32, ()),
    "length": (np.uint32, ()),  # in characters
    "exact": (np.uint64, ()),  # equal for rows that are equal but for spacing
    "prompt": (np.uint64, ()),  # of what comes before the last answer, 0 where nothing does
    "answer": (np.uint64, ()),  # of the last or the chosen answer
    "other": (np.uint64, ()),  # of the rejected answer
    "near": (np.uint64, ()),  # equal for rows that are equal but for case and punctuation too
    "group": (np.uint64, ()),  # of the value in the group column, 0 where there is none
    "shape": (np.uint64, ()),  # of the columns and their kinds
    "label": (np.int8, ()),  # -1 where there is none
    "bands": (np.uint32, (BANDS,)),
    "prints": (np.uint8, (PRINTS,)),
}


@dataclass
class FactCounts:
    """How many rows something applies to, and the first of them."""

    count: int = 0
    rows: list[RowId] = field(default_factory=list)

    def add(self, other: FactCounts) -> None:
        """Add the rows of another count."""
        self.count += other.count
        self.rows = [*self.rows, *other.rows][:_NAMED]


@dataclass
class RowFacts:
    """Facts of the usable rows: one element per row in every array, in the order of the sources.

    `skipped` are the other rows by reason, `faults` the rows with each fault before repairs;
    `shapes` maps the keys in the column `shape` to shapes, unless there are very many. Of texts with labels,
    `labels` maps the keys in the column `answer` to labels, and `spellings` are the rows of each label before
    repairs, both unless there are too many for a classifier.
    """

    columns: dict[str, NDArray[Any]]
    common: Hashes
    skipped: dict[SkipReason, FactCounts] = field(default_factory=dict)
    faults: dict[Fault, FactCounts] = field(default_factory=dict)
    shapes: dict[int, str] = field(default_factory=dict)
    labels: dict[int, str] = field(default_factory=dict)
    spellings: dict[str, FactCounts] = field(default_factory=dict)

    def __getitem__(self, column: str) -> NDArray[Any]:
        """Return a column, [rows]."""
        return self.columns[column]

    def __len__(self) -> int:
        """Return the number of usable rows."""
        return len(self.columns["index"])

    def drop_sketches(self) -> None:
        """Free the largest columns, once rows have been compared."""
        for name in ("bands", "prints"):
            self.columns.pop(name, None)

    def add(self, other: RowFacts) -> None:
        """Add the counts of another object, without its columns."""
        for reason, tally in other.skipped.items():
            self.skipped.setdefault(reason, FactCounts()).add(tally)
        for fault, tally in other.faults.items():
            self.faults.setdefault(fault, FactCounts()).add(tally)
        if len(self.shapes) < _SHAPES:
            self.shapes |= other.shapes
        if len(self.labels) <= limits.LABELS:
            self.labels |= other.labels
        for label, tally in other.spellings.items():
            if label in self.spellings or len(self.spellings) <= limits.LABELS:
                self.spellings.setdefault(label, FactCounts()).add(tally)


def measure(
    rows: MixedRows, fixes: Collection[Repair], job: JobContext, *, with_faults: bool = False
) -> RowFacts:
    """Return the facts of all rows after the row-wise repairs in `fixes`; raises CancelledError.

    `with_faults` also collects faults of rows before those repairs, which is a third of the time.
    """
    total = sum(len(store) for store in rows.stores)
    work = _Work(rows, frozenset(fixes), with_faults, _find_boilerplate(rows, fixes, total, job))
    facts = _allocate(total, work.common)
    pieces = [
        (source, batch)
        for source, store in enumerate(rows.stores)
        for batch in range(len(store.facts.batches))
    ]
    used = done = 0
    for part in _iter_results(work, pieces, total, job):
        for name, values in part.columns.items():
            facts.columns[name][used : used + len(part)] = values
        facts.add(part)
        used += len(part)
        done += len(part) + sum(tally.count for tally in part.skipped.values())
        job.report_progress("reading rows", done, total, "rows")
    facts.columns = {name: values[:used] for name, values in facts.columns.items()}
    return facts


class RowFactsReader:
    """Reads single rows in any order from mapped files: a store reads a whole batch for each."""

    def __init__(self, rows: MixedRows, fixes: Collection[Repair]) -> None:
        """Read from all sources, with the row-wise repairs in `fixes`."""
        self._rows, self._fixes = rows, fixes
        self._files = [pa.memory_map(str(store.file)) for store in rows.stores]

    def read_sample(self, source: int, index: int) -> Sample:
        """Return one row in the form in which rows are compared; raises UnusableRow."""
        batches = self._rows.stores[source].facts.batches
        number = bisect.bisect_right(batches, index, key=lambda batch: batch[1]) - 1
        offset, first = batches[number]
        batch = read_batch_at(self._files[source], offset)
        if fault := batch.column("fault")[index - first].as_py():
            raise load_reason(fault).to_error()
        values = parse_values(bytes(batch.column("raw")[index - first].as_buffer()))
        return repair(make_plain_sample(self._rows, source, values, self._fixes), self._fixes)


def make_plain_sample(
    rows: MixedRows, source: int, values: dict[str, Any], fixes: Collection[Repair] = ()
) -> Sample:
    """Return a row as a sample without the dataset's system prompt; raises UnusableRow.

    The system prompt is the same for all rows, so it doesn't distinguish them, and changing it must
    not change how they are grouped or split. Of the `fixes`, only the removal of media applies.
    """
    about = rows.sources[source]
    if about.format is None:
        raise NO_FORMAT.to_error()
    spec = rows.spec
    if spec.system_prompt:
        spec = spec.model_copy(update={"system_prompt": ""})
    if "remove_media" in fixes:
        spec = spec.model_copy(update={"fixes": ("remove_media",)})
    return mixture.make_sample(values, about.format, about.mapping, spec)


# --- the pass ---------------------------------------------------------------------------------


def _check_pool() -> None:
    """Raise CancelledError in a process of a pool that was canceled."""
    if process_pool.is_cancelled():
        raise CancelledError


@dataclass(frozen=True)
class _Work:
    """Everything that a process needs to read some of the rows."""

    rows: MixedRows
    fixes: frozenset[Repair]
    with_faults: bool
    common: Hashes

    def read(self, piece: tuple[int, int], check: Callable[[], None] = _check_pool) -> RowFacts:
        """Return the facts of the rows in one batch of a source; `check` raises CancelledError."""
        source, batch = piece
        facts = RowFacts({}, self.common)
        entries: list[dict[str, int]] = []
        sides: list[Sides] = []
        contexts: list[int] = []
        for index, values, fault in _iter_raw(self.rows.stores[source], batch):
            check()
            counts = FactCounts(1, [(source, index)])
            try:
                if values is None:
                    raise load_reason(fault).to_error()
                sample = self._repair(source, values, facts, counts)
            except UnusableRow as error:
                facts.skipped.setdefault(SkipReason.from_error(error), FactCounts()).add(counts)
                continue
            sides.append(normalize_sides(sample))
            contexts.append(hash_text(get_context(sample)))
            if TASKS[sample.task].has_classes:
                label = sample.messages[-1].content
                facts.labels[hash_text(label)] = label
            shape = self._get_shape(source, values)
            facts.shapes[hash_text(shape)] = shape
            keys = {
                "source": source,
                "index": index,
                "group": hash_text(self._group(values)),
                "near": hash_text("\x1d".join((*sides[-1], str(contexts[-1])))),
                "shape": hash_text(shape),
            }
            entries.append(keys | get_keys(sample))
        bands, prints = compute_sketches(
            sides, np.array(contexts, dtype=np.uint64), self.common, check
        )
        facts.columns = {
            name: np.array([entry[name] for entry in entries], dtype=kind)
            for name, (kind, shape) in _COLUMNS.items()
            if not shape
        } | {"bands": bands, "prints": prints}
        return facts

    def _repair(
        self, source: int, values: dict[str, Any], facts: RowFacts, counts: FactCounts
    ) -> Sample:
        try:
            sample = make_plain_sample(self.rows, source, values)
        except UnusableRow as error:
            if error.kind is not UnusableKind.MEDIA or "remove_media" not in self.fixes:
                raise
            facts.faults.setdefault("media", FactCounts()).add(counts)
            sample = make_plain_sample(self.rows, source, values, self.fixes)
        if self.with_faults and source < len(self.rows.spec.sources):
            for kind in find_faults(sample):
                facts.faults.setdefault(kind, FactCounts()).add(counts)
            if TASKS[sample.task].has_classes:
                label = sample.messages[-1].content
                facts.spellings.setdefault(label, FactCounts()).add(counts)
        return repair(sample, self.fixes)

    def _get_shape(self, source: int, values: dict[str, Any]) -> str:
        """Return the shape of the used columns, "" where it isn't needed."""
        if not self.with_faults and "drop_minority_schema" not in self.fixes:
            return ""
        mapping = self.rows.sources[source].mapping
        used = set(list_columns(mapping, values)) or values.keys()
        return describe_shape({name: value for name, value in values.items() if name in used})

    def _group(self, values: dict[str, Any]) -> str:
        """Return the value of the group column as text, "" where there is none."""
        column = self.rows.spec.group_column
        group = fill_slots(values, {"group": column}) if column else {}
        return json.dumps(group, sort_keys=True) if group else ""


def _iter_raw(store: RowStore, batch: int) -> Iterator[tuple[int, dict[str, Any] | None, str]]:
    """Yield (index, values, fault) of the rows of a batch, ten times as fast as one by one."""
    data, first = store.read_batch(batch), store.facts.batches[batch][1]
    named = zip(data.column("raw"), data.column("fault").to_pylist(), strict=True)
    for index, (raw, fault) in enumerate(named, first):
        values = None if fault else parse_values(bytes(raw.as_buffer()))
        yield index, values, fault


def _find_boilerplate(
    rows: MixedRows, fixes: Collection[Repair], total: int, job: JobContext
) -> Hashes:
    """Return the boilerplate of rows from all over the dataset, duplicates counted once."""
    step = max(1, total // _SAMPLED)
    distinct: dict[Sides, None] = {}
    size = 0
    reader = RowFactsReader(rows, fixes)
    for source, store in enumerate(rows.stores):
        positions = range(0, len(store), step)
        # In passes over the whole source, so that a sample of long rows is from all over it, too.
        for index in (index for start in range(_PASSES) for index in positions[start::_PASSES]):
            job.check()
            if size > 4 * limits.COMPARED_CHARACTERS:
                break
            try:
                sides = normalize_sides(reader.read_sample(source, index))
            except UnusableRow:
                continue
            distinct[sides] = None
            size += sum(map(len, sides))
    return find_boilerplate(list(distinct))


def _allocate(total: int, common: Hashes) -> RowFacts:
    """Return arrays for `total` rows: in memory, or in files that are deleted with the facts."""
    if total < _IN_FILES:
        return RowFacts(
            {name: np.zeros((total, *shape), kind) for name, (kind, shape) in _COLUMNS.items()},
            common,
        )
    # In the cache, which deletes it later if this process dies.
    create_folder(store_module.get_root_folder())
    folder = Path(tempfile.mkdtemp(prefix=".facts-", dir=store_module.get_root_folder()))
    facts = RowFacts(
        {
            name: disk.map_new_file(folder / name, kind, (total, *shape))
            for name, (kind, shape) in _COLUMNS.items()
        },
        common,
    )
    weakref.finalize(facts, shutil.rmtree, folder, ignore_errors=True)
    return facts


def _iter_results(
    work: _Work, pieces: Sequence[tuple[int, int]], total: int, job: JobContext
) -> Iterator[RowFacts]:
    """Yield the facts of each piece in order, from several processes for many rows."""
    cores = min(torch_settings.count_cores(), _MOST_PROCESSES)
    if total < _MANY or cores < 2:
        return (work.read(piece, job.check) for piece in pieces)
    return process_pool.map_in_processes(work.read, pieces, cores, job)
