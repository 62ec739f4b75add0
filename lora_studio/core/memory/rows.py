"""Count the tokens that a training computes at once and in total, from the lengths of its rows."""

from __future__ import annotations

import bisect
from dataclasses import dataclass

from lora_studio.core.protocol.dataset import DatasetPlanned, LengthsMeasured
from lora_studio.core.tasks.samples import TaskName
from lora_studio.core.tasks.table import TASKS

#: Steps whose rows are sorted together when grouping by length: more steps mean less padding, but
#: less random batches.
STEPS_GROUPED = 50


@dataclass(frozen=True)
class RowStatistics:
    """Tokens computed at once and in total, for any micro-batch and sequence length limit.

    `heaviest` is `LengthsMeasured.heaviest`; `longest` is the longest row in tokens, `trained` the
    share of trained tokens, `tokens` the tokens per epoch at the current limit, in `count` rows.
    `edges` are lengths, and `over` the share of rows longer than each. `labels` is the number of labels of a
    classifier, 0 while it isn't known.
    """

    heaviest: dict[int, tuple[int, ...]]
    longest: int
    trained: float = 1.0
    tokens: int = 0
    count: int = 0
    task: TaskName = "sft"
    edges: tuple[int, ...] = ()
    over: tuple[float, ...] = ()
    labels: int = 0

    def compute_share_over(self, limit: int) -> float:
        """Return the share of rows longer than a limit; between two edges, that of the lower edge."""
        index = bisect.bisect_right(self.edges, limit) - 1
        return self.over[index] if index >= 0 else 1.0

    def count_micro_batch_tokens(self, micro_batch: int, per_step: int, limit: int) -> int:
        """Return the tokens of the largest micro-batch among steps of `per_step` rows, truncated to
        the limit.

        Documents are split instead of truncated, so nearly every row is as long as the limit.
        """
        if TASKS[self.task].is_document and self.longest > limit:
            return micro_batch * limit
        sides = TASKS[self.task].sequences
        size, below = 1, 1
        while size < per_step and size * 2 <= max(self.heaviest, default=1):
            below, size = size, size * 2
        upper = self._top(size, micro_batch, limit * sides)
        if size <= per_step or below == size:
            return upper
        lower = self._top(below, micro_batch, limit * sides)
        return round(lower + (upper - lower) * (per_step - below) / (size - below))

    def count_padded_tokens(self, micro_batch: int, limit: int) -> int:
        """Return the tokens of a padded micro-batch with the longest row."""
        sides = TASKS[self.task].sequences
        return micro_batch * sides * min(self.longest, limit)

    def _top(self, size: int, count: int, limit: int) -> int:
        """Return the tokens of the `count` longest rows of the heaviest step of `size` rows; a
        missing row counts as the last known one."""
        rows = self.heaviest.get(size) or (min(self.longest, limit),)
        total = sum(min(tokens, limit) for tokens in rows[:count])
        return total + (count - len(rows)) * min(rows[-1], limit) if count > len(rows) else total


def build_row_statistics(
    planned: DatasetPlanned, lengths: LengthsMeasured | None = None
) -> RowStatistics:
    """Return the statistics of the rows that a run trains on; `lengths` are those of all rows."""
    return RowStatistics(
        heaviest=planned.heaviest,
        longest=planned.longest_row,
        trained=planned.trained_tokens / max(1, planned.tokens),
        tokens=planned.tokens,
        count=planned.rows_per_epoch,
        task="sft"
        if TASKS[planned.task].is_document
        else planned.task,  # documents are split already
        edges=lengths.edges if lengths else (),
        over=_compute_shares_over(lengths) if lengths else (),
        labels=len(planned.labels),
    )


def approximate_row_statistics(
    lengths: LengthsMeasured, task: TaskName | None, limit: int
) -> RowStatistics:
    """Return statistics of all rows, truncated to the limit, while the plan of the run isn't known."""
    task = task or "sft"
    cut = 0.0
    for left, right, many, fewer in zip(
        lengths.edges, lengths.edges[1:], lengths.rows_over, lengths.rows_over[1:], strict=False
    ):
        width = right - max(left, limit)
        cut += max(0, width) * (many + fewer) / 2
    return RowStatistics(
        heaviest=lengths.heaviest,
        longest=lengths.percentiles.get(100, 0),
        trained=lengths.trained_tokens / lengths.tokens if lengths.tokens else 1.0,
        tokens=lengths.tokens if TASKS[task].is_document else round(max(0.0, lengths.tokens - cut)),
        count=lengths.rows,
        task=task,
        edges=lengths.edges,
        over=_compute_shares_over(lengths),
    )


def _compute_shares_over(lengths: LengthsMeasured) -> tuple[float, ...]:
    return tuple(count / max(1, lengths.rows) for count in lengths.rows_over)
