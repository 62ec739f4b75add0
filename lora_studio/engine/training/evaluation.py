"""Compute the loss on the validation rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from lora_studio.core.messages import text
from lora_studio.core.protocol import events
from lora_studio.core.tasks.classification import ClassificationReport
from lora_studio.engine.devices.oom_capture import fail_together
from lora_studio.engine.devices.ranks import DuplicateBatch, ProcessGroup
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tasks.task import Objective
from lora_studio.engine.tokens.batches import BatchPlan, batch_by_length
from lora_studio.engine.tokens.encoder import TrainingRow
from lora_studio.engine.training.step_batches import TrainingRows
from lora_studio.engine.training.step_metrics import add_sums, read_scalars


@dataclass(frozen=True)
class ValidationLoss:
    """Mean loss over the validation rows, weighted like a training step's, and other metrics.

    `confusion` has (actual label, predicted label, rows) of a classifier.
    """

    loss: float
    metrics: dict[str, float]
    confusion: tuple[tuple[int, int, int], ...] = ()

    def make_report(self, labels: tuple[str, ...]) -> ClassificationReport | None:
        """Return how well a classifier predicts its labels; None for other models, which have no labels."""
        return ClassificationReport(labels=labels, confusion=self.confusion) if labels else None


class Evaluator:
    """Computes the loss on the validation rows with the weights that would be saved."""

    def __init__(
        self,
        model: torch.nn.Module,
        rows: TrainingRows,
        plan: BatchPlan,
        inference_context: Callable[[], AbstractContextManager[object]],
        job: JobContext,
        ranks: ProcessGroup,
    ) -> None:
        """Take the rows and the plan with the micro-batch size; the context sets autocast and weights."""
        self._model, self._rows, self._plan = model, rows, plan
        self._inference_context = inference_context
        self._job, self._ranks = job, ranks

    @torch.no_grad()
    def evaluate(self, objective: Objective) -> ValidationLoss:
        """Return the loss on all validation rows. Every rank has to call it.

        Raises MemoryPressureError, CancelledError, and PausedError while the job is pausable.
        """
        self._model.eval()
        rows = self._rows
        # Groups have as many rows as a training step, whatever the micro-batch size, so that what an
        # objective computes once per group doesn't change when memory runs out.
        groups = batch_by_length(range(len(rows)), rows.lengths, self._plan.per_step)
        totals: dict[str, torch.Tensor] = {}
        confusions: list[torch.Tensor] = []
        weight = done = 0
        with self._inference_context():
            for group in groups:
                self._ranks.synchronize_requests()
                self._job.report_progress(text("evaluating"), done, len(rows), "rows")
                parts = self._plan.split_rows(group, rows.lengths)
                batches = [[rows[row] for row in part] for part in parts]
                objective.prepare_step(batches)
                weight += sum(objective.count_items(batch) for batch in batches)
                local_batches = self._ranks.get_local_batches(batches)
                with fail_together(self._ranks):
                    self._add_losses(totals, confusions, objective, local_batches)
                done += len(group)
        reduced = self._ranks.all_reduce_sum(read_scalars(totals))
        means = {name: value / weight for name, value in reduced.items()}
        means |= objective.measure(rows, self._plan.micro_batch, self._inference_context, self._job)
        return ValidationLoss(means.pop("loss"), means, self._add_confusions(confusions))

    def _add_confusions(
        self, confusions: Sequence[torch.Tensor]
    ) -> tuple[tuple[int, int, int], ...]:
        """Return the counts of all micro-batches and ranks that aren't 0."""
        total: Counter[tuple[int, int]] = Counter()
        for counts in self._ranks.all_gather(confusions[0].tolist() if confusions else []):
            for actual, row in enumerate(counts):
                for predicted, count in enumerate(row):
                    total[actual, predicted] += count
        return tuple((*pair, count) for pair, count in sorted(total.items()) if count)

    def emit_start(self, objective: Objective) -> None:
        """Evaluate before the first step where the objective has something to compare with."""
        if objective.measures_start and len(self._rows):
            result = self.evaluate(objective)
            self._job.emit(events.Evaluated(step=0, loss=result.loss, metrics=result.metrics))

    def _add_losses(
        self,
        totals: dict[str, torch.Tensor],
        confusions: list[torch.Tensor],
        objective: Objective,
        batches: Sequence[Sequence[TrainingRow]],
    ) -> None:
        for batch in batches:
            self._job.check()
            output = objective.compute_loss(batch)
            if isinstance(batch, DuplicateBatch):
                continue
            add_sums(totals, {"loss": output.total} | output.metrics)
            if output.confusion is not None:
                total = output.confusion + confusions.pop() if confusions else output.confusion
                confusions.append(total)
