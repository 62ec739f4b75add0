"""Judge which rows of a source are usable, and why others aren't: one cached verdict per row."""

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
from lora_studio.core.messages import Text
from lora_studio.core.protocol.events import Skipped, SourceFound
from lora_studio.core.system.files import write_atomic
from lora_studio.engine.dataset.files.blocks import parse_values
from lora_studio.engine.dataset.reasons import NO_FORMAT, SkipReason, dump_reason, load_reason
from lora_studio.engine.dataset.rows import mixture
from lora_studio.engine.dataset.rows.store import RowStore
from lora_studio.engine.runtime import process_pool, torch_settings
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.disk import get_source_digest
from lora_studio.engine.runtime.failures import CancelledError

#: Rows from which several processes are used; each needs half a second and 60 MB to start.
_MANY = 20_000
_MOST_PROCESSES = 8
#: Row numbers listed for each reason.
_NAMED_ROWS = 10


@dataclass(frozen=True)
class Verdicts:
    """One code per row, int32 [rows]: 0 for usable, else the number of its reason, from 1."""

    codes: NDArray[np.int32]
    reasons: tuple[SkipReason, ...]

    @property
    def used(self) -> int:
        """Return the number of usable rows."""
        return int(np.count_nonzero(self.codes == 0))

    def get_skipped(self) -> tuple[Skipped, ...]:
        """Return the reasons with counts and the first row numbers, the most frequent first."""
        counts = np.bincount(self.codes, minlength=len(self.reasons) + 1)
        entries = [
            Skipped(
                reason=reason.text,
                count=int(counts[code]),
                rows=tuple(
                    int(row) + 1 for row in np.flatnonzero(self.codes == code)[:_NAMED_ROWS]
                ),
            )
            for code, reason in enumerate(self.reasons, start=1)
            if counts[code]
        ]
        return tuple(sorted(entries, key=lambda entry: (-entry.count, entry.rows)))

    def find_positions(self, which: str, reason: Text | None = None) -> NDArray[np.int64]:
        """Return positions (from 0) of the `used` or `skipped` rows, or of those with one reason."""
        if reason:
            codes = [code for code, one in enumerate(self.reasons, start=1) if one.text == reason]
            return np.flatnonzero(np.isin(self.codes, codes))
        return np.flatnonzero((self.codes == 0) == (which == "used"))


def judge_source(
    store: RowStore, source: SourceFound, spec: DatasetSpec, job: JobContext
) -> Verdicts:
    """Return the verdict on every row of a source, cached if possible; raises CancelledError."""
    spec = spec.model_copy(update={"system_prompt": ""})
    work = _Work(store, source.format, source.mapping, spec)
    file = store.folder / f"verdicts-{work.get_key()}"
    if (cached := _read(file, len(store))) is not None:
        return cached
    codes = np.zeros(len(store), dtype=np.int32)
    reasons: dict[SkipReason, int] = {}
    done = 0
    job.report_progress("checking rows", 0, len(store), "rows")
    for part, named in _iter_results(work, job):
        renumbered = [0, *(reasons.setdefault(reason, len(reasons) + 1) for reason in named)]
        codes[done : done + len(part)] = np.array(renumbered, np.int32)[part]
        done += len(part)
        job.report_progress("checking rows", done, len(store), "rows")
    head = json.dumps([dump_reason(reason) for reason in reasons]).encode()
    write_atomic(file, head + b"\n" + codes.tobytes())
    return Verdicts(codes, tuple(reasons))


def _read(file: Path, rows: int) -> Verdicts | None:
    try:
        head, _, data = file.read_bytes().partition(b"\n")
        codes = np.frombuffer(data, dtype=np.int32)
        reasons = tuple(map(load_reason, json.loads(head)))
    except (OSError, ValueError):
        return None
    return Verdicts(codes, reasons) if len(codes) == rows else None


@dataclass(frozen=True)
class _Work:
    """Everything that a process needs to judge some rows."""

    store: RowStore
    format: RowFormat | None
    mapping: dict[str, str]
    spec: DatasetSpec

    def get_key(self) -> str:
        """Return a hash of all that a verdict depends on, including this program's code."""
        facts: list[Any] = [
            get_source_digest(),
            self.format,
            sorted(self.mapping.items()),
            sorted(self.spec.fixes),
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def judge(self, index: int) -> tuple[NDArray[np.int32], list[SkipReason]]:
        """Return codes of the rows of one batch, and the reasons that they number.

        Raises CancelledError.
        """
        batch = self.store.read_batch(index)
        reasons: dict[SkipReason, int] = {}
        codes = np.zeros(batch.num_rows, dtype=np.int32)
        raws, faults = batch.column("raw"), batch.column("fault")
        for row, (raw, fault) in enumerate(zip(raws, faults.to_pylist(), strict=True)):
            if process_pool.is_cancelled():
                raise CancelledError
            if reason := load_reason(fault) if fault else self._reason(raw.as_buffer()):
                codes[row] = reasons.setdefault(reason, len(reasons) + 1)
        return codes, list(reasons)

    def _reason(self, raw: Any) -> SkipReason | None:
        if self.format is None:
            return NO_FORMAT
        try:
            mixture.make_sample(parse_values(bytes(raw)), self.format, self.mapping, self.spec)
        except UnusableRow as error:
            return SkipReason.from_error(error)
        return None


def _iter_results(
    work: _Work, job: JobContext
) -> Iterator[tuple[NDArray[np.int32], list[SkipReason]]]:
    """Yield codes and reasons of every batch in order, from several processes for many rows."""
    batches = range(len(work.store.facts.batches))
    cores = min(torch_settings.count_cores(), _MOST_PROCESSES)
    if len(work.store) < _MANY or cores < 2 or work.format is None:
        return map(work.judge, batches)
    return process_pool.map_in_processes(work.judge, batches, cores, job)
