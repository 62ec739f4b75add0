"""Findings about the labels of texts: their rows in training and validation, and how they are spelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lora_studio.core import limits
from lora_studio.core.dataset.repairs import fold_label
from lora_studio.core.messages import Text, counted, listed, text
from lora_studio.core.protocol.dataset import LabelCount
from lora_studio.engine.dataset.quality.dataset_comparison import (
    ComparisonResult,
    Mask,
    find_conflicting_answers,
)
from lora_studio.engine.dataset.quality.lint_report import LintReport, count_marked, count_rows
from lora_studio.engine.dataset.quality.row_facts import FactCounts, RowFacts

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
