"""Findings about pairs for search: hard negatives, and passages that several queries should find."""

from __future__ import annotations

import numpy as np

from lora_studio.core.protocol.dataset import SearchPairCounts
from lora_studio.engine.dataset.quality.dataset_comparison import Mask, find_shared_answers
from lora_studio.engine.dataset.quality.lint_report import LintReport, count_marked
from lora_studio.engine.dataset.quality.row_facts import RowFacts


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
