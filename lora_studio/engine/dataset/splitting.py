"""Which rows train and which the loss is measured on.

Rows that are equal, nearly equal, of one conversation (where rows name the row before them) or have
the same value in the group column form a group, and a group is never divided. The side of a group follows from a number between 0 and 1 that is a hash of
the seed and of its first row alone: below the share it is held out. So a row appended to the data
changes nothing for the rows before it, unless it joins two groups, which then both take the side of
the earlier one.

That alone would keep out 50 ± 7 of 1000 rows at a share of 5 %. Where what is kept out would miss
the share by more than a tenth, the groups next in order of their numbers make up for it: few rows
change sides when others are appended, and none of a large dataset. A wanted count is met exactly as
far as groups allow, by those with the least numbers. A group too large to fit stays in training.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from lora_studio import __version__
from lora_studio.core.dataset.repairs import REASONS
from lora_studio.core.system.files import write_atomic
from lora_studio.engine.dataset.quality import dataset_comparison
from lora_studio.engine.dataset.quality import facts as quality_facts
from lora_studio.engine.dataset.quality.dataset_comparison import ComparisonResult, Mask
from lora_studio.engine.dataset.quality.facts import RowFacts, RowId
from lora_studio.engine.dataset.quality.near_duplicates import DuplicateGroups
from lora_studio.engine.dataset.rows.hashing import Hashes, mix64
from lora_studio.engine.dataset.rows.mixture import MixedRows
from lora_studio.engine.runtime.channel import JobContext

#: How far the rows held out may be from the share asked for, as a part of it.
_TOLERANCE = 0.1

#: Raised whenever the same rows would be divided otherwise; rows from which on a split is kept in
#: the cache, since it takes longer than a few seconds.
_VERSION = 2
_KEPT_FROM = 5_000


class RowIds(Sequence[RowId]):
    """Rows as (source, index) pairs, 8 bytes each."""

    def __init__(self, sources: NDArray[Any], indices: NDArray[Any]) -> None:
        """One element a row in both arrays."""
        self.packed: NDArray[np.int64] = sources.astype(np.int64) << 40 | indices.astype(np.int64)

    @classmethod
    def of_packed(cls, packed: NDArray[np.int64]) -> RowIds:
        """The rows that such an array in the attribute `packed` stands for."""
        return cls(packed >> 40, packed & (1 << 40) - 1)

    def array(self) -> NDArray[np.int64]:
        """The same as an array, [rows, 2]."""
        return np.column_stack([self.packed >> 40, self.packed & (1 << 40) - 1])

    def __len__(self) -> int:
        return len(self.packed)

    @overload
    def __getitem__(self, place: int) -> RowId: ...
    @overload
    def __getitem__(self, place: slice) -> list[RowId]: ...
    def __getitem__(self, place: int | slice) -> RowId | list[RowId]:
        if isinstance(place, slice):
            return [_unpacked(packed) for packed in self.packed[place].tolist()]
        return _unpacked(int(self.packed[place]))

    def __iter__(self) -> Iterator[RowId]:
        return map(_unpacked, self.packed.tolist())


def _unpacked(packed: int) -> RowId:
    return packed >> 40, packed & (1 << 40) - 1


@dataclass(frozen=True)
class DatasetSplit:
    """All rows that were to be divided, each in one place, in the order of the sources.

    `dropped` are those that recorded repairs of the whole dataset leave out, by reason.
    """

    training: RowIds
    validation: RowIds
    dropped: dict[str, RowIds]


def split(
    rows: MixedRows, seed: int, job: JobContext, usable: NDArray[np.int64] | None = None
) -> DatasetSplit:
    """Leaves out what the recorded repairs leave out and divides the rest; raises CancelledError.

    `usable` are (source, index) pairs, [rows, 2], without those that prove of no use later on;
    otherwise it is all rows that have a sample. The rows of a validation file are the validation
    rows; without any, rows are held out of the sources.
    """
    spec = rows.spec
    holds_out = not spec.validation_file and (spec.validation_share or spec.validation_count)
    if usable is not None and not holds_out and not {*spec.fixes} & dataset_comparison.WHOLE:
        is_training = usable[:, 0] < len(spec.sources)
        return DatasetSplit(RowIds(*usable[is_training].T), RowIds(*usable[~is_training].T), {})
    file = rows.stores[0].folder / f"split-{_key(rows, seed, usable)}"
    if (kept := _kept(file)) is not None:
        return kept
    facts = quality_facts.measure(rows, spec.fixes, job)
    compared = dataset_comparison.compare(rows, facts, spec.fixes, job)
    found = _divided(rows, compared, seed, usable)
    if len(facts) >= _KEPT_FROM:
        _keep(file, found)
    return found


def _divided(
    rows: MixedRows, compared: ComparisonResult, seed: int, usable: NDArray[np.int64] | None
) -> DatasetSplit:
    spec, facts = rows.spec, compared.facts
    there = np.ones(len(facts), dtype=bool)
    if usable is not None:
        there = np.isin(_ids(facts, there).packed, RowIds(*usable.T).packed)
    dropped: dict[str, RowIds] = {}
    for fix, out in dataset_comparison.left_out(compared, spec.fixes, there)[1].items():
        if out.any():
            dropped[str(REASONS[fix])] = _ids(facts, out)
        there &= ~out
    held_out = compared.held_out & there
    if not spec.validation_file:
        groups = _groups(rows, compared, there)
        numbers = mix64(facts["exact"] ^ mix64(np.full(len(facts), seed, dtype=np.uint64)))
        chosen = choose(
            groups[there], numbers[groups[there]], spec.validation_share, spec.validation_count
        )
        held_out[np.flatnonzero(there)[chosen]] = True
    return DatasetSplit(_ids(facts, there & ~held_out), _ids(facts, held_out), dropped)


def _key(rows: MixedRows, seed: int, usable: NDArray[np.int64] | None) -> str:
    """Stands for all that a split rests on."""
    spec = rows.spec
    facts: list[Any] = [
        _VERSION, __version__, seed, sorted(spec.fixes), spec.group_column,
        spec.validation_share, spec.validation_count, bool(spec.validation_file),
        [
            (store.key, found.format, sorted(found.mapping.items()))
            for store, found in zip(rows.stores, rows.found, strict=True)
        ],
    ]  # fmt: skip
    digest = hashlib.sha256(json.dumps(facts).encode())
    if usable is not None:
        digest.update(np.ascontiguousarray(usable, np.int64).tobytes())
    return digest.hexdigest()[:16]


def _keep(file: Path, found: DatasetSplit) -> None:
    """The reasons in JSON on a line, then for each place how many rows, and the rows."""
    parts = [found.training, found.validation, *found.dropped.values()]
    head = json.dumps([[*found.dropped], [len(part) for part in parts]]).encode()
    write_atomic(file, head + b"\n" + b"".join(part.packed.tobytes() for part in parts))


def _kept(file: Path) -> DatasetSplit | None:
    try:
        head, _, data = file.read_bytes().partition(b"\n")
        reasons, counts = json.loads(head)
        packed = np.frombuffer(data, dtype=np.int64)
    except (OSError, ValueError):  # not there, or not as it was written
        return None
    if sum(counts) != len(packed):
        return None
    parts = [RowIds.of_packed(part) for part in np.split(packed, np.cumsum(counts)[:-1])]
    return DatasetSplit(parts[0], parts[1], dict(zip(reasons, parts[2:], strict=True)))


def choose(
    groups: NDArray[np.int64], numbers: Hashes, share: float, count: int = 0
) -> NDArray[np.bool_]:
    """Marks the rows that are held out, by the rule above; never all, and some if that is possible.

    `groups` names the group of each row, `numbers` is the 64-bit number of its group.
    """
    rows = len(groups)
    wanted = min(count or round(share * rows), rows - 1)
    if rows < 2 or (wanted < 1 and not share):
        return np.zeros(rows, dtype=bool)
    wanted = max(wanted, 1)
    names, first, members, sizes = np.unique(
        groups, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.lexsort((names, numbers[first]))
    below = numbers[first] / 2.0**64 < share
    least, most = wanted, wanted
    if not count:
        most = max(wanted, min(math.floor(wanted * (1 + _TOLERANCE)), rows - 1))
        least = max(1, math.ceil(wanted * (1 - _TOLERANCE)))
    held_out = np.zeros(len(names), dtype=bool)
    taken = 0
    for group in order.tolist():
        if taken >= least and (count or not below[group]):
            break
        if taken + sizes[group] <= most:
            held_out[group] = True
            taken += int(sizes[group])
    if not taken and len(names) > 1:
        # Every group is larger than what was asked for: the smallest comes nearest.
        held_out[np.lexsort((numbers[first], sizes))[0]] = True
    return held_out[members]


def _groups(rows: MixedRows, compared: ComparisonResult, there: Mask) -> NDArray[np.int64]:
    """The first row, of those that are there, of the group of each."""
    joined = DuplicateGroups(len(there))
    joined.join_equal(np.where(there, compared.leaders, np.arange(len(there)) + len(there)))
    column = compared.facts["group"]
    if column.any():
        named = np.flatnonzero(there & (column != 0))
        joined.join_equal(column[named], named)
    for source, store in enumerate(rows.stores):
        if (trees := store.trees()) is not None:
            here = np.flatnonzero(there & (compared.facts["source"] == source))
            joined.join_equal(trees[compared.facts["index"][here]], here)
    return joined.leaders()


def _ids(facts: RowFacts, mask: Mask) -> RowIds:
    return RowIds(facts["source"][mask], facts["index"][mask])
