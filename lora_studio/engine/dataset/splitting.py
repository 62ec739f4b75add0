"""Split a dataset into training and validation rows.

Rows that are duplicates, near duplicates, of one conversation (where rows name the row before them)
or have the same value in the group column form a group, and a group is never split. The side of a
group depends on a number between 0 and 1, a hash of the seed and its first row: below the validation
share it is held out. So appending a row changes nothing for earlier rows, unless it joins two
groups, which then both take the side of the earlier one.

That alone would hold out 50 ± 7 of 1000 rows at a share of 5 %. Where it would miss the share by more
than a tenth, groups are added or left out in the order of their numbers. Few rows then change sides
when others are appended, and in a large dataset none. A requested number of rows is held out exactly, as
far as groups allow, from the groups with the smallest numbers. A group that is too large is trained on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_studio import __version__
from lora_studio.core.dataset.spec import Repair
from lora_studio.core.messages import text
from lora_studio.core.system.files import write_atomic
from lora_studio.engine.dataset.quality import dataset_comparison
from lora_studio.engine.dataset.quality.dataset_comparison import ComparisonResult, Mask
from lora_studio.engine.dataset.quality.near_duplicates import DuplicateGroups
from lora_studio.engine.dataset.quality.row_facts import RowFacts
from lora_studio.engine.dataset.rows.mixture import MixedRows
from lora_studio.engine.dataset.rows.store import Hashes, mix64
from lora_studio.engine.runtime.channel import JobContext

#: How far the rows held out may be from the requested share, as a fraction of it.
_TOLERANCE = 0.1

#: Increase this whenever the same rows would be split or written differently.
_VERSION = 4
#: Rows from which a split is cached, since it takes longer than a few seconds.
_CACHED_FROM = 5_000
#: Splits of a dataset that are kept: each setting that is tried while planning gives another one.
_MOST_CACHED = 4


#: Rows as (source, index) pairs, [rows, 2].
RowIds = NDArray[np.int64]


@dataclass(frozen=True)
class DatasetSplit:
    """All rows, each in one of the parts, in the order of the sources.

    `dropped` are those that recorded repairs of the whole dataset leave out.
    """

    training: RowIds
    validation: RowIds
    dropped: dict[Repair, RowIds]


def split(
    rows: MixedRows, seed: int, job: JobContext, usable: RowIds | None = None
) -> DatasetSplit:
    """Apply the repairs of the whole dataset and split the rest; raises CancelledError.

    `usable` are the rows to split; all rows that have a sample where it is None. The rows of a validation file are the validation rows; without one, rows are
    held out from the sources.
    """
    spec = rows.spec
    holds_out = not spec.validation_file and (spec.validation_share or spec.validation_count)
    if usable is not None and not holds_out and not {*spec.fixes} & dataset_comparison.WHOLE:
        is_training = usable[:, 0] < len(spec.sources)
        return DatasetSplit(usable[is_training], usable[~is_training], {})
    file = rows.stores[0].folder / f"split-{_get_key(rows, seed, usable)}"
    if (cached := _read(file)) is not None:
        return cached
    compared = dataset_comparison.compare_rows(rows, job)
    job.show_stage(text("splitting the rows"))
    divided = _divide(rows, compared, seed, usable, job)
    if len(compared.facts) >= _CACHED_FROM:
        _write(file, divided)
    return divided


def find_dropped_rows(
    rows: MixedRows, usable: RowIds, job: JobContext
) -> dict[int, NDArray[np.int64]]:
    """Return the positions of the rows that repairs of the whole dataset leave out, by source.

    `usable` are the rows to repair. Raises CancelledError.
    """
    if not {*rows.spec.fixes} & dataset_comparison.WHOLE:
        return {}
    # With the faults, which the check for problems asks for next, so that rows are compared once.
    compared = dataset_comparison.compare_rows(rows, job, with_faults=True)
    present = _find_present(compared.facts, usable)
    out = dataset_comparison.apply_repairs(compared, rows.spec.fixes, present, job)[1]
    dropped = np.logical_or.reduce([*out.values()])
    return {
        source: compared.facts["index"][dropped & (compared.facts["source"] == source)]
        for source in range(len(rows.spec.sources))
    }


def _find_present(facts: RowFacts, usable: RowIds | None) -> Mask:
    if usable is None:
        return np.ones(len(facts), dtype=bool)
    return np.isin(_pack(_get_ids(facts, np.ones(len(facts), bool))), _pack(usable))


def _pack(ids: RowIds) -> NDArray[np.int64]:
    return ids[:, 0] << 40 | ids[:, 1]


def _divide(
    rows: MixedRows,
    compared: ComparisonResult,
    seed: int,
    usable: RowIds | None,
    job: JobContext,
) -> DatasetSplit:
    spec, facts = rows.spec, compared.facts
    present = _find_present(facts, usable)
    dropped: dict[Repair, RowIds] = {}
    out_by_fix = dataset_comparison.apply_repairs(compared, spec.fixes, present, job)[1]
    for fix, out in out_by_fix.items():
        if out.any():
            dropped[fix] = _get_ids(facts, out)
        present &= ~out
    held_out = compared.held_out & present
    if not spec.validation_file:
        groups = _group_rows(rows, compared, present)
        numbers = mix64(facts["exact"] ^ mix64(np.full(len(facts), seed, dtype=np.uint64)))
        chosen = choose_held_out(
            groups[present], numbers[groups[present]], spec.validation_share, spec.validation_count
        )
        held_out[np.flatnonzero(present)[chosen]] = True
    return DatasetSplit(_get_ids(facts, present & ~held_out), _get_ids(facts, held_out), dropped)


def _get_key(rows: MixedRows, seed: int, usable: RowIds | None) -> str:
    """Return a hash of all that a split depends on."""
    spec = rows.spec
    facts: list[Any] = [
        _VERSION, __version__, seed, sorted(spec.fixes), spec.group_column,
        spec.validation_share, spec.validation_count, bool(spec.validation_file),
        [
            (store.key, source.format, sorted(source.mapping.items()))
            for store, source in zip(rows.stores, rows.sources, strict=True)
        ],
    ]  # fmt: skip
    digest = hashlib.sha256(json.dumps(facts).encode())
    if usable is not None:
        digest.update(np.ascontiguousarray(usable, np.int64).tobytes())
    return digest.hexdigest()[:16]


def _write(file: Path, divided: DatasetSplit) -> None:
    """Write a line of JSON with the repairs and the rows of each part, then the rows themselves."""
    for older in sorted(file.parent.glob("split-*"), key=_get_time)[: -_MOST_CACHED + 1]:
        older.unlink(missing_ok=True)
    parts = [divided.training, divided.validation, *divided.dropped.values()]
    head = json.dumps([[*divided.dropped], [len(part) for part in parts]]).encode()
    write_atomic(file, head + b"\n" + b"".join(part.tobytes() for part in parts))


def _get_time(file: Path) -> float:
    with contextlib.suppress(OSError):  # another process has deleted it
        return file.stat().st_mtime
    return 0.0


def _read(file: Path) -> DatasetSplit | None:
    try:
        head, _, data = file.read_bytes().partition(b"\n")
        fixes, counts = json.loads(head)
        ids = np.frombuffer(data, dtype=np.int64).reshape(-1, 2)
    except (OSError, ValueError):  # missing or damaged
        return None
    if sum(counts) != len(ids):
        return None
    parts = np.split(ids, np.cumsum(counts)[:-1])
    return DatasetSplit(parts[0], parts[1], dict(zip(fixes, parts[2:], strict=True)))


def choose_held_out(
    groups: NDArray[np.int64], numbers: Hashes, share: float, count: int = 0
) -> NDArray[np.bool_]:
    """Return which rows are held out, by the rule above; never all, and some if possible.

    `groups` [rows] is the group of each row, `numbers` [rows] the 64-bit number of its group.
    """
    rows = len(groups)
    requested = min(count or round(share * rows), rows - 1)
    if rows < 2 or (requested < 1 and not share):
        return np.zeros(rows, dtype=bool)
    requested = max(requested, 1)
    names, first, members, sizes = np.unique(
        groups, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.lexsort((names, numbers[first]))
    below = numbers[first] / 2.0**64 < share
    lowest, highest = requested, requested
    if not count:
        highest = max(requested, min(math.floor(requested * (1 + _TOLERANCE)), rows - 1))
        lowest = max(1, math.ceil(requested * (1 - _TOLERANCE)))
    held_out = np.zeros(len(names), dtype=bool)
    chosen = 0
    for group in order.tolist():
        if chosen >= lowest and (count or not below[group]):
            break
        if chosen + sizes[group] <= highest:
            held_out[group] = True
            chosen += int(sizes[group])
    if not chosen and len(names) > 1:
        # Every group is larger than what was requested: the smallest comes closest.
        held_out[np.lexsort((numbers[first], sizes))[0]] = True
    return held_out[members]


def _group_rows(rows: MixedRows, compared: ComparisonResult, present: Mask) -> NDArray[np.int64]:
    """Return the first present row of each row's group."""
    joined = DuplicateGroups(len(present))
    joined.join_equal(np.where(present, compared.leaders, np.arange(len(present)) + len(present)))
    column = compared.facts["group"]
    if column.any():
        named = np.flatnonzero(present & (column != 0))
        joined.join_equal(column[named], named)
    for source, store in enumerate(rows.stores):
        if (trees := store.read_trees()) is not None:
            in_source = np.flatnonzero(present & (compared.facts["source"] == source))
            joined.join_equal(trees[compared.facts["index"][in_source]], in_source)
    return joined.find_leaders()


def _get_ids(facts: RowFacts, mask: Mask) -> RowIds:
    return np.column_stack([facts["source"][mask], facts["index"][mask]]).astype(np.int64)
