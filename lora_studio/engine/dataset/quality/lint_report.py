"""Collect the findings of the data check with their rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_studio.core.dataset.spec import Repair
from lora_studio.core.messages import Text, counted, text
from lora_studio.core.protocol.events import Finding
from lora_studio.engine.dataset.quality.lint_rules import RULES
from lora_studio.engine.dataset.quality.row_facts import FactCounts, RowFacts, RowId

#: Rows listed in a finding.
NAMED = 1000


@dataclass
class LintReport:
    """Collects findings."""

    fixes: Sequence[Repair]
    findings: list[Finding] = field(default_factory=list)

    def add(
        self,
        code: str,
        tally: FactCounts,
        *,
        fixed: bool | None = None,
        change: tuple[str, Any] | None = None,
        **values: Any,
    ) -> None:
        """Report some rows, if there are any; `values` are fields of the rule's text."""
        if not tally.count:
            return
        rule = RULES[code]
        self.findings.append(
            Finding(
                code=code,
                title=text(rule.title),
                what=text(rule.what, rows=count_rows(tally.count), **values),
                count=tally.count,
                rows=tuple((source, index + 1) for source, index in tally.rows[:NAMED]),
                severity=rule.severity,
                fix=rule.fix,
                fixed=rule.fix in self.fixes if fixed is None else fixed,
                change=change,
            )
        )


def count_rows(count: int) -> Text:
    """Return a number of rows in words."""
    return counted(count, "{n} row", "{n} rows")


def count_marked(facts: RowFacts, mask: NDArray[np.bool_]) -> FactCounts:
    """Return how many rows are marked, [rows], and the first of them."""
    return FactCounts(int(mask.sum()), list(_iter_row_ids(facts, np.flatnonzero(mask)[:NAMED])))


def mark_rows(facts: RowFacts, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which rows are among some (source, position) pairs, [rows, 2]; [rows]."""
    marked = np.zeros(len(facts), dtype=bool)
    for source in np.unique(rows[:, 0]):
        positions = rows[rows[:, 0] == source, 1]
        marked |= (facts["source"] == source) & np.isin(facts["index"], positions)
    return marked


def _iter_row_ids(facts: RowFacts, positions: NDArray[np.int64]) -> Iterator[RowId]:
    for position in positions:
        yield int(facts["source"][position]), int(facts["index"][position])
