"""Which rows of a source are usable, and why the others are not: one verdict a row, kept in the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_studio.core.dataset.samples import UnusableRow
from lora_studio.core.dataset.spec import DatasetSpec, RowFormat
from lora_studio.core.protocol.events import Skipped, SourceFound
from lora_studio.core.system.files import write_atomic
from lora_studio.engine.dataset.files.blocks import values_of
from lora_studio.engine.dataset.rows import mixture
from lora_studio.engine.dataset.rows.store import RowStore
from lora_studio.engine.runtime import process_pool
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.source_digest import source_digest

#: Rows from which other processes help; each needs half a second and 60 MB to begin.
_MANY = 20_000
_MOST_PROCESSES = 8
#: Row numbers named for each reason.
_NAMED_ROWS = 10


@dataclass(frozen=True)
class Verdicts:
    """One code a row, int32: 0 for usable, else the place of the reason in `reasons`, from 1."""

    codes: NDArray[np.int32]
    reasons: tuple[str, ...]

    @property
    def used(self) -> int:
        """How many rows are usable."""
        return int(np.count_nonzero(self.codes == 0))

    def skipped(self) -> tuple[Skipped, ...]:
        """Reasons with counts and the first row numbers, the most frequent first."""
        counts = np.bincount(self.codes, minlength=len(self.reasons) + 1)
        found = [
            Skipped(
                reason=reason,
                count=int(counts[code]),
                rows=tuple(
                    int(row) + 1 for row in np.flatnonzero(self.codes == code)[:_NAMED_ROWS]
                ),
            )
            for code, reason in enumerate(self.reasons, start=1)
            if counts[code]
        ]
        return tuple(sorted(found, key=lambda entry: (-entry.count, entry.rows)))

    def positions(self, which: str, reason: str = "") -> NDArray[np.int64]:
        """Positions (from 0) of the `used` or the `skipped` rows, or those skipped for one reason."""
        if reason:
            code = self.reasons.index(reason) + 1 if reason in self.reasons else -1
            return np.flatnonzero(self.codes == code)
        return np.flatnonzero((self.codes == 0) == (which == "used"))


def of_source(store: RowStore, found: SourceFound, spec: DatasetSpec, job: JobContext) -> Verdicts:
    """The verdict on every row of a source; raises CancelledError."""
    work = _Work(store, found.format, found.mapping, spec.model_copy(update={"system_prompt": ""}))
    file = store.folder / f"verdicts-{work.key()}"
    if (kept := _kept(file, len(store))) is not None:
        return kept
    codes = np.zeros(len(store), dtype=np.int32)
    reasons: dict[str, int] = {}
    done = 0
    job.progress("checking rows", 0, len(store), "rows")
    for part, named in _results(work, job):
        places = np.array([0, *(reasons.setdefault(r, len(reasons) + 1) for r in named)], np.int32)
        codes[done : done + len(part)] = places[part]
        done += len(part)
        job.progress("checking rows", done, len(store), "rows")
    verdicts = Verdicts(codes, tuple(reasons))
    head = json.dumps(verdicts.reasons).encode()
    write_atomic(file, head + b"\n" + codes.tobytes())
    return verdicts


def _kept(file: Path, rows: int) -> Verdicts | None:
    try:
        head, _, data = file.read_bytes().partition(b"\n")
        codes = np.frombuffer(data, dtype=np.int32)
        reasons = tuple(json.loads(head))
    except (OSError, ValueError):
        return None
    return Verdicts(codes, reasons) if len(codes) == rows else None


@dataclass(frozen=True)
class _Work:
    """What a process needs to judge some rows."""

    store: RowStore
    format: RowFormat | None
    mapping: dict[str, str]
    spec: DatasetSpec

    def key(self) -> str:
        """Stands for all that a verdict rests on, this program's own code included."""
        facts: list[Any] = [
            source_digest(),
            self.format,
            sorted(self.mapping.items()),
            sorted(self.spec.fixes),
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def judge(self, index: int) -> tuple[NDArray[np.int32], list[str]]:
        """Codes of the rows of one batch, and the reasons they stand for."""
        batch = self.store.batch(index)
        reasons: dict[str, int] = {}
        codes = np.zeros(batch.num_rows, dtype=np.int32)
        raws, faults = batch.column("raw"), batch.column("fault")
        for place, (raw, fault) in enumerate(zip(raws, faults.to_pylist(), strict=True)):
            if reason := fault or self._fault(raw.as_buffer()):
                codes[place] = reasons.setdefault(reason, len(reasons) + 1)
        return codes, list(reasons)

    def _fault(self, raw: Any) -> str:
        if self.format is None:
            return "its source has no known format"
        try:
            mixture.sample_of(values_of(bytes(raw)), self.format, self.mapping, self.spec)
        except UnusableRow as verdict:
            return str(verdict)
        return ""


def _results(work: _Work, job: JobContext) -> Iterator[tuple[NDArray[np.int32], list[str]]]:
    """(codes, reasons) of every batch in order, by several processes where there is much to do."""
    batches = range(len(work.store.facts.batches))
    cores = min(process_pool.cores(), _MOST_PROCESSES)
    if len(work.store) < _MANY or cores < 2 or work.format is None:
        return map(work.judge, batches)
    return process_pool.in_processes(work.judge, batches, cores, job, doing="checks rows")
