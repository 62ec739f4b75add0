"""Compare rows: duplicates, leakage, contradictions, other columns, outliers."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_studio.core.dataset.spec import Repair
from lora_studio.engine.dataset.quality import row_facts
from lora_studio.engine.dataset.quality.keys import normalize_sides
from lora_studio.engine.dataset.quality.near_duplicates import (
    DuplicateGroups,
    NearDuplicateSearch,
    join_near_duplicates,
)
from lora_studio.engine.dataset.quality.row_facts import RowFacts, RowFactsReader
from lora_studio.engine.dataset.rows.mixture import MixedRows
from lora_studio.engine.dataset.rows.store import Hashes, mix64
from lora_studio.engine.runtime.channel import JobContext

Mask = NDArray[np.bool_]

#: Maximum share of rows that can count as having a foreign shape or an extreme length.
_FOREIGN_SHARE = 0.1
_EXTREME_SHARE = 0.01
#: Minimum number of rows to tell what is usual.
_ENOUGH = 20


@dataclass(frozen=True)
class ComparisonResult:
    """All usable rows, and how they relate.

    `leaders` [rows] is the first row of the group of duplicates that each row is in; `held_out`
    [rows] marks the rows of the validation file.
    """

    facts: RowFacts
    leaders: NDArray[np.int64]
    held_out: Mask


#: The last comparison and what it depends on: lengths, findings and split of one dataset need the same.
_last: list[tuple[str, bool, ComparisonResult]] = []


def compare_rows(
    rows: MixedRows, job: JobContext, *, with_faults: bool = False
) -> ComparisonResult:
    """Return the usable rows after row-wise repairs, and how they relate; raises CancelledError.

    The last result is reused. `with_faults` is that of `row_facts.measure`.
    """
    key = _get_key(rows)
    for known, has_faults, result in _last:
        if known == key and has_faults >= with_faults:
            return result
    fixes = rows.spec.fixes
    # The pass applies row-wise repairs itself, and also collects the faults before them.
    unrepaired = replace(rows, spec=rows.spec.model_copy(update={"fixes": ()}))
    facts = row_facts.measure(unrepaired, fixes, job, with_faults=with_faults)
    result = _compare(unrepaired, facts, fixes, job)
    _last[:] = [(key, with_faults, result)]
    return result


def _get_key(rows: MixedRows) -> str:
    spec = rows.spec
    sources = [
        (store.key, source.format, sorted(source.mapping.items()))
        for store, source in zip(rows.stores, rows.sources, strict=True)
    ]
    facts = [sources, sorted(spec.fixes), spec.group_column, len(spec.sources)]
    return json.dumps(facts)


def _compare(
    rows: MixedRows, facts: RowFacts, fixes: Collection[Repair], job: JobContext
) -> ComparisonResult:
    """Return the groups of duplicates and near duplicates, and drop the sketches of `facts`."""
    reader = RowFactsReader(rows, fixes)

    def sides(row: int) -> tuple[str, ...]:
        return normalize_sides(
            reader.read_sample(int(facts["source"][row]), int(facts["index"][row]))
        )

    groups = DuplicateGroups(len(facts))
    groups.join_equal(facts["near"])
    join_near_duplicates(
        groups,
        lambda band: facts["bands"][:, band],
        facts["prints"],
        NearDuplicateSearch(sides, facts.common),
        job,
    )
    facts.drop_sketches()
    held_out = facts["source"] >= len(rows.spec.sources)
    return ComparisonResult(facts, groups.find_leaders(), held_out)


def apply_repairs(
    compared: ComparisonResult, fixes: Collection[Repair], present: Mask, job: JobContext
) -> tuple[dict[Repair, Mask], dict[Repair, Mask]]:
    """Return, by repair, which of the rows `present` it affects, and which it drops if recorded.

    Raises CancelledError between two repairs, each of which takes half a second per two million rows.

    Repairs run in a fixed order, and each sees the rows that the ones before it kept, so that the row
    kept of several duplicates isn't one that another repair drops. Rows of the validation file are
    never dropped.
    """
    present = present & ~compared.held_out
    about: dict[Repair, Mask] = {}
    out: dict[Repair, Mask] = {}
    for fix, find_rows in _FINDERS.items():
        job.check()
        about[fix] = find_rows(compared, present)
        if fix in fixes:
            out[fix] = about[fix]
            if fix == "drop_near_duplicates":
                # Duplicates are near duplicates too.
                out[fix] = _find_later(compared.leaders, present)
            present = present & ~out[fix]
    return about, out


def find_first_of_each(keys: NDArray[Any], present: Mask) -> Mask:
    """Return which of the rows `present` is the first with its key, [rows]."""
    first = np.zeros(len(keys), dtype=bool)
    positions = np.flatnonzero(present)
    first[positions[np.unique(keys[positions], return_index=True)[1]]] = True
    return first


def _find_later(keys: NDArray[Any], present: Mask) -> Mask:
    return present & ~find_first_of_each(keys, present)


def find_duplicates(compared: ComparisonResult, present: Mask) -> Mask:
    """Return the rows that duplicate an earlier one."""
    return _find_later(compared.facts["exact"], present)


def find_near_duplicates(compared: ComparisonResult, present: Mask) -> Mask:
    """Return the rows that nearly duplicate an earlier one, and duplicate none."""
    return _find_later(compared.leaders, present & ~find_duplicates(compared, present))


def find_leaked_rows(compared: ComparisonResult, present: Mask) -> Mask:
    """Return the rows that duplicate or nearly duplicate one of the validation file."""
    return present & np.isin(compared.leaders, compared.leaders[compared.held_out])


def find_contradictions(compared: ComparisonResult, present: Mask) -> Mask:
    """Return both rows where one prefers, or labels good, what the other rejects, or labels bad."""
    facts = compared.facts
    pairs = present & (facts["other"] != 0) & (facts["answer"] != facts["other"])
    opposed = [
        _join_hashes(facts["prompt"], facts["answer"], facts["other"]),
        _join_hashes(facts["prompt"], facts["other"], facts["answer"]),
    ]
    swapped = pairs & np.isin(opposed[0], opposed[1][pairs])
    labeled = present & (facts["label"] >= 0)
    judged = _join_hashes(facts["prompt"], facts["answer"])
    good, bad = (judged[labeled & (facts["label"] == label)] for label in (1, 0))
    return swapped | (labeled & np.isin(judged, np.intersect1d(good, bad)))


def find_conflicting_answers(compared: ComparisonResult, present: Mask) -> Mask:
    """Return the conversations with the same question as another but a different answer."""
    facts = compared.facts
    with_prompt = present & (facts["prompt"] != 0) & (facts["other"] == 0) & (facts["label"] < 0)
    kinds = find_first_of_each(_join_hashes(facts["prompt"], facts["answer"]), with_prompt)
    prompts, counts = np.unique(facts["prompt"][kinds], return_counts=True)
    return with_prompt & np.isin(facts["prompt"], prompts[counts > 1])


def find_shared_answers(facts: RowFacts, present: Mask) -> Mask:
    """Return the rows with the same answer as another with a different question."""
    kinds = find_first_of_each(_join_hashes(facts["prompt"], facts["answer"]), present)
    answers, counts = np.unique(facts["answer"][kinds], return_counts=True)
    return present & np.isin(facts["answer"], answers[counts > 1])


def find_foreign_shapes(compared: ComparisonResult, present: Mask) -> Mask:
    """Return the rows whose shape is incompatible with that of nine in ten rows of their source.

    Shapes are incompatible when they share no column or differ in the kind of a column; a column
    that is missing in some rows makes no difference.
    """
    facts = compared.facts
    foreign_rows = np.zeros(len(facts), dtype=bool)
    for source in np.unique(facts["source"][present]):
        in_source = present & (facts["source"] == source)
        keys, counts = np.unique(facts["shape"][in_source], return_counts=True)
        if not all(int(key) in facts.shapes for key in keys):
            continue
        shapes = [_parse_shape(facts.shapes[int(key)]) for key in keys]
        usual = _find_usual_kinds(shapes, counts)
        foreign = [
            key for key, shape in zip(keys, shapes, strict=True) if _is_foreign(shape, usual)
        ]
        matching = in_source & np.isin(facts["shape"], np.array(foreign, dtype=np.uint64))
        if matching.sum() <= _FOREIGN_SHARE * in_source.sum():
            foreign_rows |= matching
    return foreign_rows


def _parse_shape(shape: str) -> dict[str, str]:
    return dict(part.split(": ", 1) for part in shape.split("; ") if ": " in part)


def _find_usual_kinds(shapes: list[dict[str, str]], counts: NDArray[np.int64]) -> dict[str, str]:
    """Return the kind that each column has in most rows."""
    counts_by_kind: dict[str, dict[str, int]] = {}
    for shape, count in zip(shapes, counts.tolist(), strict=True):
        for column, kind in shape.items():
            counts_by_kind.setdefault(column, {}).setdefault(kind, 0)
            counts_by_kind[column][kind] += count
    half = counts.sum() / 2
    return {
        column: max(kinds, key=lambda kind: kinds[kind])
        for column, kinds in counts_by_kind.items()
        if sum(kinds.values()) > half
    }


def _is_foreign(shape: dict[str, str], usual: dict[str, str]) -> bool:
    shared = shape.keys() & usual.keys()
    return bool(usual) and (not shared or any(_differ(shape[c], usual[c]) for c in shared))


def _differ(kind: str, usual: str) -> bool:
    """Return whether two kinds exclude each other: objects do when they share no field."""
    head, _, fields = kind.partition("(")
    usual_head, _, usual_fields = usual.partition("(")
    if head != usual_head or bool(fields) != bool(usual_fields):
        return True
    return bool(fields) and not {*fields.rstrip(")").split()} & {*usual_fields.rstrip(")").split()}


def find_outliers(compared: ComparisonResult, present: Mask) -> Mask:
    """Return the rows that are far longer than the rest of their source.

    Those beyond Tukey's outer fence, Q3 + 3 (Q3 - Q1) (*Exploratory Data Analysis*, 1977, 2C), of the
    logarithms, since lengths are about log-normal: one such row in 400,000 is beyond it. They also
    have to be ten times the median, and at most one row in a hundred.
    """
    extreme_rows = np.zeros(len(compared.facts), dtype=bool)
    sources, lengths = compared.facts["source"], compared.facts["length"]
    for source in np.unique(sources[present]):
        in_source = present & (sources == source)
        if in_source.sum() < _ENOUGH:
            continue
        sizes = np.log(np.maximum(lengths[in_source], 1))
        low, middle, high = np.percentile(sizes, [25, 50, 75])
        limit = max(high + 3 * (high - low), middle + np.log(10))
        extreme = in_source & (np.log(np.maximum(lengths, 1)) > limit)
        if extreme.sum() <= max(1, _EXTREME_SHARE * in_source.sum()):
            extreme_rows |= extreme
    return extreme_rows


def _join_hashes(*keys: Hashes) -> Hashes:
    joint = np.zeros(len(keys[0]), dtype=np.uint64)
    for key in keys:
        joint = mix64(joint ^ key)
    return joint


#: The functions that find the rows of a repair, in the order of the repairs.
_FINDERS: dict[Repair, Callable[[ComparisonResult, Mask], Mask]] = {
    "drop_contradictions": find_contradictions,
    "drop_minority_schema": find_foreign_shapes,
    "drop_outliers": find_outliers,
    "drop_leaked": find_leaked_rows,
    "drop_duplicates": find_duplicates,
    "drop_near_duplicates": find_near_duplicates,
}

#: The repairs that need the whole dataset.
WHOLE = frozenset(_FINDERS)
