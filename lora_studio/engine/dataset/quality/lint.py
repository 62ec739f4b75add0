"""Check the data: find rows with faults and propose repairs. `lint_rules` has the texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lora_studio.core.dataset.repairs import REASONS
from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.messages import text
from lora_studio.core.protocol.events import DatasetLinted
from lora_studio.core.tasks.samples import UnusableKind
from lora_studio.core.tasks.table import TASKS
from lora_studio.engine.dataset.quality import dataset_comparison
from lora_studio.engine.dataset.quality.dataset_comparison import ComparisonResult, Mask
from lora_studio.engine.dataset.quality.lint_report import (
    NAMED,
    LintReport,
    count_marked,
    count_rows,
    mark_rows,
)
from lora_studio.engine.dataset.quality.lint_rules import COMPARED, FAULTS, GRAVITY, RULES
from lora_studio.engine.dataset.quality.row_facts import FactCounts, RowFacts
from lora_studio.engine.dataset.rows import mixture
from lora_studio.engine.dataset.rows.chains import EXPECTED
from lora_studio.engine.dataset.rows.mixture import MixedRows
from lora_studio.engine.runtime.channel import JobContext

if TYPE_CHECKING:  # it imports transformers, which takes seconds
    from lora_studio.engine.dataset.rows.sequences import TokenTable
from dataclasses import dataclass

from lora_studio.core import limits
from lora_studio.core.dataset.repairs import fold_label
from lora_studio.core.messages import Text, counted, listed
from lora_studio.core.protocol.dataset import LabelCount, SearchPairCounts
from lora_studio.engine.dataset.quality.dataset_comparison import (
    find_conflicting_answers,
    find_shared_answers,
)

#: A warning is reported for a label that a smaller share of rows has.
_RARE_LABEL = 0.1

#: How many times the current limit a proposed one may be; memory grows with it.
_LONGER = 4


#: Returns the rows for training and those for validation, as (source, position) pairs, [rows, 2].
SplitRows = Callable[[MixedRows], tuple[NDArray[np.int64], NDArray[np.int64]]]


def lint(
    spec: DatasetSpec,
    job: JobContext,
    tables: Sequence[TokenTable] = (),
    split_rows: SplitRows | None = None,
) -> DatasetLinted:
    """Return all findings; raises ProblemError or CancelledError.

    A finding whose repair is recorded is `fixed`, and the rows that the repair leaves out are not
    checked further. `tables` are the tokenized rows, if a model is known. Without `split_rows`, only the
    rows of a validation file are held out.
    """
    rows = mixture.open_dataset(spec, job)
    compared = dataset_comparison.compare_rows(rows, job, with_faults=True)
    facts = compared.facts
    report = LintReport(spec.fixes)
    _add_rows_alone(report, facts)
    present = _add_compared(report, compared, job)
    job.check()
    counts: dict[str, Any] = {}
    if TASKS[rows.task].has_classes:
        training, held_out = present, compared.held_out
        if split_rows is not None:
            training, held_out = (mark_rows(facts, side) for side in split_rows(rows))
        counts = add_class_findings(report, compared, present, training, held_out)
    elif TASKS[rows.task].yields_vectors:
        counts = {"pairs": add_pair_findings(report, facts, present)}
    else:
        _add_answers(report, compared, present)
        _add_labels(report, facts, present)
    if tables and not TASKS[rows.task].is_document:
        _add_tokens(report, tables, spec, facts, present)
    report.findings.sort(key=lambda entry: (entry.fixed, GRAVITY[entry.severity], -entry.count))
    checked = sum(len(store) for store in rows.stores[: len(spec.sources)])
    return DatasetLinted(rows=checked, findings=tuple(report.findings), **counts)


def _add_rows_alone(report: LintReport, facts: RowFacts) -> None:
    """Report faults of single rows, and rows that are skipped."""
    usable = facts.faults.get(FAULTS["lint.empty_turns"], FactCounts())
    empty = FactCounts()
    media = FactCounts()
    media.add(facts.faults.get("media", FactCounts()))
    for reason, tally in facts.skipped.items():
        if reason.text in EXPECTED or reason.text in REASONS.values():
            continue
        if reason.kind == UnusableKind.EMPTY and usable.count:
            empty.add(tally)
        elif reason.kind == UnusableKind.MEDIA:
            media.add(tally)
        else:  # rows whose only answer is empty are always skipped, so there is nothing to fix
            report.add("lint.left_out", tally, reason=reason.text)
    report.add("lint.media", media)
    for code, fault in FAULTS.items():
        tally = facts.faults.get(fault, FactCounts())
        if code == "lint.empty_turns":
            empty.add(tally)
            tally = empty
        report.add(code, tally)


def _add_compared(report: LintReport, compared: ComparisonResult, job: JobContext) -> Mask:
    """Report what comparing rows shows; return the rows that recorded repairs leave, [rows]."""
    all_rows = np.ones(len(compared.facts), dtype=bool)
    about, out = dataset_comparison.apply_repairs(compared, report.fixes, all_rows, job)
    for code in COMPARED:
        fix = RULES[code].fix
        assert fix is not None
        tally = count_marked(compared.facts, about[fix])
        match code:
            case "lint.contradictions":
                tally.add(compared.facts.faults.get("same_pair", FactCounts()))
                report.add(code, tally)
            case "lint.duplicates":
                drops_near = "drop_near_duplicates" in report.fixes
                report.add(code, tally, fixed=drops_near or fix in report.fixes)
            case "lint.outliers" if tally.count:
                longest = int(compared.facts["length"][about[fix]].max())
                median = int(np.median(compared.facts["length"]))
                report.add(code, tally, longest=longest, median=median)
            case "lint.other_shape" if tally.count:
                keys, counts = np.unique(compared.facts["shape"][about[fix]], return_counts=True)
                report.add(code, tally, shape=compared.facts.shapes[int(keys[counts.argmax()])])
            case _:
                report.add(code, tally)
    for mask in out.values():
        all_rows &= ~mask
    return all_rows & ~compared.held_out


def _add_answers(report: LintReport, compared: ComparisonResult, present: Mask) -> None:
    conflicting = dataset_comparison.find_conflicting_answers(compared, present)
    report.add("lint.conflicting_answers", count_marked(compared.facts, conflicting))


_LABELS = {"good": text("good"), "bad": text("bad")}


def _add_labels(report: LintReport, facts: RowFacts, present: Mask) -> None:
    labels = facts["label"]
    marks = {"good": present & (labels == 1), "bad": present & (labels == 0)}
    counts = {name: int(mask.sum()) for name, mask in marks.items()}
    total = sum(counts.values())
    rare = min(counts, key=lambda name: counts[name])
    common = "bad" if rare == "good" else "good"
    if not total:
        return
    if not counts[rare]:
        report.add("lint.one_label", count_marked(facts, marks[common]), label=_LABELS[common])
    elif counts[rare] < _RARE_LABEL * total:
        report.add(
            "lint.rare_label",
            count_marked(facts, marks[rare]),
            label=_LABELS[rare],
            other=_LABELS[common],
            others=count_rows(counts[common]),
        )


def _add_tokens(
    report: LintReport,
    tables: Sequence[TokenTable],
    spec: DatasetSpec,
    facts: RowFacts,
    present: Mask,
) -> None:
    """Report answers beyond the length limit, in full or in part."""
    cut, late, needed = FactCounts(), FactCounts(), 0
    for source, table in enumerate(tables[: len(spec.sources)]):
        is_used = np.isin(table.row, facts["index"][present & (facts["source"] == source)])
        limits = np.minimum(table.length, spec.max_length)
        is_late = is_used & (table.first >= spec.max_length)
        within = table.count_trained_within(limits, np.arange(len(table)))
        is_cut = is_used & ~is_late & (within < table.targets)
        late.add(_count_tokenized(source, table.row, is_late))
        if spec.too_long == "cut":
            cut.add(_count_tokenized(source, table.row, is_cut))
        needed = max([needed, *table.length[is_late | is_cut].tolist()])
    longer = -(-needed // 64) * 64
    change: tuple[str, Any] = ("max_length", longer)
    if longer > _LONGER * spec.max_length:
        change = ("too_long", "skip")
    report.add("lint.cut_answers", cut, change=change, limit=spec.max_length)
    longer_change = ("max_length", longer)
    report.add("lint.nothing_to_train", late, change=longer_change, limit=spec.max_length)


def _count_tokenized(source: int, rows: NDArray[Any], mask: Mask) -> FactCounts:
    marked = rows[mask]
    return FactCounts(len(marked), [(source, int(row)) for row in marked[:NAMED]])


def add_pair_findings(report: LintReport, facts: RowFacts, present: Mask) -> SearchPairCounts:
    """Report passages of several queries, and return what the pairs consist of."""
    shared = find_shared_answers(facts, present)
    passages = len(np.unique(facts["answer"][shared]))
    report.add("lint.shared_passages", count_marked(facts, shared), passages=passages)
    return SearchPairCounts(
        pairs=int(present.sum()),
        with_negative=int((facts["other"][present] != 0).sum()),
        queries=len(np.unique(facts["prompt"][present])),
        passages=len(np.unique(facts["answer"][present])),
    )


#: Labels that a finding names.
_NAMED = 5
#: A label with fewer rows is reported, and so is one that another label outnumbers so many times.
_FEW, _TIMES = 5, 10


@dataclass(frozen=True)
class _Classes:
    """The labels of all rows, the most frequent first.

    `keys` are their hashes in the column `answer`; `training` and `validation` count rows; all [labels].
    """

    keys: np.ndarray
    names: list[str]
    training: np.ndarray
    validation: np.ndarray

    def quote(self, mask: Mask) -> Text:
        """Return the first of the marked labels in quotation marks, and how many more there are."""
        names = [self.names[at] for at in np.flatnonzero(mask)]
        return _list_first([text("“{name}”", name=name) for name in names])


def add_class_findings(
    report: LintReport,
    compared: ComparisonResult,
    present: Mask,
    training: Mask,
    held_out: Mask,
) -> dict[str, Any]:
    """Report what is wrong with labels, and return their counts as fields of the answer.

    `present` are the rows that repairs leave, `training` and `held_out` those of training and of validation,
    all [rows]. A row that is too long is only in `present`, but its label is one of the classifier's.
    """
    facts = compared.facts
    used = training | held_out
    _add_spellings(report, facts)
    conflicting = find_conflicting_answers(compared, training)
    report.add("lint.class_conflicts", count_marked(facts, conflicting))
    classes = _count_classes(facts, present, training, held_out)
    count = len(classes.keys)
    if count > limits.LABELS:  # they are not classes, and their names aren't known
        return {"label_count": count}
    _add_balance(report, facts, classes, used)
    _add_sides(report, facts, classes, present | used, training)
    labels = tuple(
        LabelCount(label=name, training=int(training), validation=int(validation))
        for name, training, validation in zip(
            classes.names, classes.training, classes.validation, strict=True
        )
    )
    return {"labels": labels, "label_count": count}


def _count_classes(facts: RowFacts, present: Mask, training: Mask, held_out: Mask) -> _Classes:
    known = present | training | held_out
    keys, numbers = np.unique(facts["answer"][known], return_inverse=True)
    trained = np.bincount(numbers[training[known]], minlength=len(keys))
    validated = np.bincount(numbers[held_out[known]], minlength=len(keys))
    order = np.argsort(-(trained + validated), kind="stable")
    names = [facts.labels.get(int(key), "") for key in keys[order]]
    return _Classes(keys[order], names, trained[order], validated[order])


def _add_spellings(report: LintReport, facts: RowFacts) -> None:
    """Report rows whose label another spelling outnumbers, before repairs."""
    groups: dict[str, list[str]] = {}
    if len(facts.spellings) > limits.LABELS:
        return
    for label in sorted(facts.spellings, key=lambda label: -facts.spellings[label].count):
        groups.setdefault(fold_label(label), []).append(label)
    tally, spellings = FactCounts(), []
    for usual, *others in groups.values():
        for label in others:
            tally.add(facts.spellings[label])
            spellings.append(text("“{label}” for “{usual}”", label=label, usual=usual))
    tally.rows.sort()
    report.add("lint.class_spellings", tally, spellings=_list_first(spellings))


def _add_balance(report: LintReport, facts: RowFacts, classes: _Classes, used: Mask) -> None:
    rows = classes.training + classes.validation
    if len(rows) < 2:
        if len(rows):
            report.add("lint.single_class", count_marked(facts, used), label=classes.names[0])
        return
    few = (rows > 0) & (rows < _FEW)
    tally = _count_rows_of(facts, classes, few, used)
    report.add("lint.few_rows", tally, limit=_FEW, labels=classes.quote(few))
    rare = (rows > 0) & (rows * _TIMES <= rows[0])
    report.add(
        "lint.unbalanced_classes",
        _count_rows_of(facts, classes, rare, used),
        common=classes.names[0],
        most=int(rows[0]),
        total=count_rows(int(rows.sum())),
        rare=classes.quote(rare),
    )


def _add_sides(
    report: LintReport, facts: RowFacts, classes: _Classes, known: Mask, training: Mask
) -> None:
    """Report labels without rows for training, and those that only training has."""
    untrained = classes.training == 0
    tally = _count_rows_of(facts, classes, untrained, known)
    report.add("lint.class_not_trained", tally, labels=classes.quote(untrained))
    if not classes.validation.any():
        return
    missing = (classes.validation == 0) & ~untrained
    tally = _count_rows_of(facts, classes, missing, training)
    report.add("lint.class_not_validated", tally, labels=classes.quote(missing))


def _count_rows_of(facts: RowFacts, classes: _Classes, marked: Mask, rows: Mask) -> FactCounts:
    """Return which of some rows have the marked labels."""
    return count_marked(facts, rows & np.isin(facts["answer"], classes.keys[marked]))


def _list_first(parts: Sequence[Text]) -> Text:
    more = len(parts) - _NAMED
    shown = [*parts[:_NAMED], *([counted(more, "{n} more", "{n} more")] if more > 0 else [])]
    return listed(shown, "and")
