"""Faults in the data: which rows have them, and what can be done. `engine.lint_kinds` has the words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lora_studio.core.dataset.repairs import REASONS
from lora_studio.core.dataset.spec import DatasetSpec, Fix
from lora_studio.core.formatting import number, plural
from lora_studio.core.protocol.events import DatasetLinted, Finding
from lora_studio.engine.dataset.quality import dataset_comparison
from lora_studio.engine.dataset.quality import facts as quality_facts
from lora_studio.engine.dataset.quality.dataset_comparison import ComparisonResult, Mask
from lora_studio.engine.dataset.quality.facts import FactCounts, RowFacts, RowId
from lora_studio.engine.dataset.quality.lint_rules import COMPARED, FAULTS, GRAVITY, KINDS
from lora_studio.engine.dataset.rows import mixture
from lora_studio.engine.dataset.rows.chains import MEANT
from lora_studio.engine.runtime.channel import JobContext

if TYPE_CHECKING:  # it imports transformers, which takes seconds
    from lora_studio.engine.dataset.rows.token_table import TokenTable

#: Rows named in a finding.
_NAMED = 1000

#: Labels of which fewer than this share is of one kind are worth a warning.
_RARE_LABEL = 0.1

#: How much longer than now a limit may be that is proposed; memory grows with it.
_LONGER = 4


@dataclass
class LintReport:
    """Findings as they are made."""

    fixes: Sequence[Fix]
    findings: list[Finding] = field(default_factory=list)

    def add(self, code: str, tally: FactCounts, reason: str = "", **more: Any) -> None:
        """Reports some rows, if there are any."""
        if not tally.count:
            return
        kind = KINDS[code]
        self.findings.append(
            Finding(
                code=code,
                title=kind.title,
                what=kind.what.format(rows=plural(tally.count, "row"), reason=reason),
                count=tally.count,
                rows=tuple((source, index + 1) for source, index in tally.rows[:_NAMED]),
                severity=kind.severity,
                **{"fix": kind.fix, "fixed": kind.fix in self.fixes} | more,
            )
        )


def lint(spec: DatasetSpec, job: JobContext, tables: Sequence[TokenTable] = ()) -> DatasetLinted:
    """Looks for every fault; raises ProblemError or CancelledError.

    A finding whose repair is recorded is `fixed`, and the rows that repair leaves out are not
    looked at again. `tables` are the rows in tokens, if a model is known.
    """
    # Row-wise repairs are made in the pass itself, which notes what was there before them.
    rows = mixture.open(spec.model_copy(update={"fixes": ()}), job)
    facts = quality_facts.measure(rows, spec.fixes, job, with_faults=True)
    compared = dataset_comparison.compare(rows, facts, spec.fixes, job)
    report = LintReport(spec.fixes)
    _add_rows_alone(report, facts)
    there = _add_compared(report, compared)
    _add_answers(report, compared, there)
    _add_labels(report, facts, there)
    if tables and rows.task != "text":
        _add_tokens(report, tables, spec)
    report.findings.sort(key=lambda found: (found.fixed, GRAVITY[found.severity], -found.count))
    looked_at = sum(len(store) for store in rows.stores[: len(spec.sources)])
    return DatasetLinted(rows=looked_at, findings=tuple(report.findings))


def _add_rows_alone(report: LintReport, facts: RowFacts) -> None:
    """What single rows show, and those that no sample could be made of."""
    empty = FactCounts()
    for reason, tally in facts.left_out.items():
        if reason in (*map(str, REASONS.values()), *MEANT):
            continue
        if reason.endswith("is empty"):
            empty.add(tally)
        else:
            report.add("lint.left_out", tally, reason)
    for code, fault in FAULTS.items():
        tally = facts.faults.get(fault, FactCounts())
        if code == "lint.empty_turns" and empty.count:
            # Rows whose only answer is empty are left out whether or not it is asked for.
            fixed = not tally.count or "drop_empty_turns" in report.fixes
            empty.add(tally)
            report.add(code, empty, fixed=fixed)
        else:
            report.add(code, tally)


def _add_compared(report: LintReport, compared: ComparisonResult) -> Mask:
    """What comparing rows shows; returns the rows that recorded repairs leave."""
    everything = np.ones(len(compared.facts), dtype=bool)
    about, out = dataset_comparison.left_out(compared, report.fixes, everything)
    for code in COMPARED:
        fix = KINDS[code].fix
        assert fix is not None
        tally = _tally(compared.facts, about[fix])
        match code:
            case "lint.contradictions":
                tally.add(compared.facts.faults.get("same_pair", FactCounts()))
                report.add(code, tally)
            case "lint.duplicates":
                near_too = "drop_near_duplicates" in report.fixes
                report.add(code, tally, fixed=near_too or fix in report.fixes)
            case _:
                report.add(code, tally, _reason(code, compared.facts, about[fix]))
    for mask in out.values():
        everything &= ~mask
    return everything & ~compared.held_out


def _reason(code: str, facts: RowFacts, about: Mask) -> str:
    if not about.any():
        return ""
    if code == "lint.outliers":
        longest, median = int(facts["length"][about].max()), int(np.median(facts["length"]))
        return f"up to {number(longest)} characters, where half of all rows have at most {number(median)}"  # fmt: skip
    if code == "lint.other_shape":
        keys, counts = np.unique(facts["shape"][about], return_counts=True)
        return facts.shapes[int(keys[counts.argmax()])]
    return ""


def _add_answers(report: LintReport, compared: ComparisonResult, there: Mask) -> None:
    found = dataset_comparison.conflicting_answers(compared, there)
    report.add("lint.conflicting_answers", _tally(compared.facts, found))


def _add_labels(report: LintReport, facts: RowFacts, there: Mask) -> None:
    labels = facts["label"]
    marks = {"good": there & (labels == 1), "bad": there & (labels == 0)}
    counts = {name: int(mask.sum()) for name, mask in marks.items()}
    total = sum(counts.values())
    rare = min(counts, key=lambda name: counts[name])
    common = "bad" if rare == "good" else "good"
    if not total:
        return
    if not counts[rare]:
        report.add("lint.one_label", _tally(facts, marks[common]), common)
    elif counts[rare] < _RARE_LABEL * total:
        reason = f"{rare}, against {number(counts[common])} whose label is {common}"
        report.add("lint.rare_label", _tally(facts, marks[rare]), reason)


def _add_tokens(report: LintReport, tables: Sequence[TokenTable], spec: DatasetSpec) -> None:
    """What only tokens show: answers behind the limit, whole or in part."""
    cut, late, needed = FactCounts(), FactCounts(), 0
    for source, table in enumerate(tables[: len(spec.sources)]):
        limits = np.minimum(table.length, spec.max_length)
        is_late = table.first >= spec.max_length
        within = table.trained_within(limits, np.arange(len(table)))
        is_cut = ~is_late & (within < table.targets)
        late.add(_marked(source, table.row, is_late))
        if spec.too_long == "cut":
            cut.add(_marked(source, table.row, is_cut))
        needed = max([needed, *table.length[is_late | is_cut].tolist()])
    longer = -(-needed // 64) * 64
    change: tuple[str, Any] = ("max_length", longer)
    if longer > _LONGER * spec.max_length:
        change = ("too_long", "skip")
    report.add("lint.cut_answers", cut, number(spec.max_length), change=change)
    reason = f"the answer begins behind the limit of {number(spec.max_length)} tokens"
    longer_change = ("max_length", longer)
    report.add("lint.nothing_to_train", late, reason, change=longer_change)


def _marked(source: int, rows: NDArray[Any], mask: Mask) -> FactCounts:
    found = rows[mask]
    return FactCounts(len(found), [(source, int(row)) for row in found[:_NAMED]])


def _tally(facts: RowFacts, mask: Mask) -> FactCounts:
    return FactCounts(int(mask.sum()), list(_named(facts, np.flatnonzero(mask)[:_NAMED])))


def _named(facts: RowFacts, positions: NDArray[np.int64]) -> Iterator[RowId]:
    for position in positions:
        yield int(facts["source"][position]), int(facts["index"][position])
