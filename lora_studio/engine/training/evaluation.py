"""Compute the loss on the validation rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch

from lora_studio.core.messages import text
from lora_studio.core.protocol import events
from lora_studio.core.tasks.classification import ClassificationReport
from lora_studio.core.training.retrieval import MRR, RECALLS
from lora_studio.engine.devices.oom_capture import fail_together
from lora_studio.engine.devices.ranks import DuplicateBatch, ProcessGroup
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tokens.batches import BatchPlan, batch_by_length
from lora_studio.engine.tokens.search_texts import EncodedSearchPair, Ids
from lora_studio.engine.training.recipe.in_batch_negatives import InBatchNegatives
from lora_studio.engine.training.recipe.objectives import Objective
from lora_studio.engine.training.recipe.pooling import embed
from lora_studio.engine.training.step_batches import TrainingRow, TrainingRows
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
        if isinstance(objective, InBatchNegatives):
            evaluator = RetrievalEvaluator(
                objective, self._inference_context, self._job, self._ranks
            )
            pairs = [
                row for at in range(len(rows)) if isinstance(row := rows[at], EncodedSearchPair)
            ]
            means |= evaluator.evaluate(pairs, self._plan.micro_batch)
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
        """Measure search before the first step, to compare with; other training has nothing to measure then."""
        if isinstance(objective, InBatchNegatives) and len(self._rows):
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


#: Queries that are compared with all texts at once.
_AT_ONCE = 1024


class RetrievalEvaluator:
    """Ranks all positives of the validation rows for each of their queries."""

    def __init__(
        self,
        objective: InBatchNegatives,
        inference_context: Callable[[], AbstractContextManager[object]],
        job: JobContext,
        ranks: ProcessGroup,
    ) -> None:
        """Take the objective, whose pooling counts; the context sets autocast and weights."""
        self._objective, self._inference_context = objective, inference_context
        self._job, self._ranks = job, ranks

    @torch.no_grad()
    def evaluate(self, rows: Sequence[EncodedSearchPair], micro_batch: int) -> dict[str, float]:
        """Return recall@1, @5, @10 and the mean reciprocal rank, each 0 to 1. Every rank has to call it.

        Raises MemoryPressureError, CancelledError, and PausedError while the job is pausable.
        """
        numbers: dict[bytes, int] = {}
        for row in rows:
            for ids in (row.query, row.positive):
                numbers.setdefault(ids.tobytes(), len(numbers))
        texts = [np.frombuffer(content, np.int32) for content in numbers]
        with self._inference_context():
            vectors = self._embed_all(texts, micro_batch)
        queries = np.array([numbers[row.query.tobytes()] for row in rows])
        positives = np.array([numbers[row.positive.tobytes()] for row in rows])
        return summarize_ranks(rank_positives(vectors, queries, positives))

    def _embed_all(self, texts: Sequence[Ids], micro_batch: int) -> torch.Tensor:
        """Return the vectors of all texts on the CPU, [texts, size]."""
        logprob_model, pooling = self._objective.logprob_model, self._objective.pooling
        logprob_model.model.eval()
        # A row of training has two texts or three.
        groups = batch_by_length(range(len(texts)), [len(ids) for ids in texts], 2 * micro_batch)
        world = self._ranks.world_size
        found: dict[int, torch.Tensor] = {}
        for begin in range(0, len(groups), world):
            self._ranks.synchronize_requests()
            self._job.report_progress(text("measuring search"), begin, len(groups), "batches")
            own = self._ranks.get_local_batches(groups[begin : begin + world])
            local = []
            with fail_together(self._ranks):
                self._job.check()
                for part in own:
                    vectors = embed(logprob_model, [texts[at] for at in part], pooling).cpu()
                    if not isinstance(part, DuplicateBatch):
                        local.append((list(part), vectors))
            for each in self._ranks.all_gather(local):
                for part, vectors in each:
                    found.update(zip(part, vectors, strict=True))
        return torch.stack([found[at] for at in range(len(texts))])


def rank_positives(vectors: torch.Tensor, queries: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Return the rank, from 1, of each query's positive among all positives, [queries].

    `queries` and `positives` are rows of `vectors`. Another text that is as similar ranks before it, so
    that vectors that are all the same find nothing. The other positives of an equal query, and the query
    itself, aren't counted.
    """
    pool, own = np.unique(positives, return_inverse=True)
    right: dict[int, set[int]] = {}
    for query, positive in zip(queries.tolist(), own.tolist(), strict=True):
        right.setdefault(query, set()).add(positive)
    place = {int(index): at for at, index in enumerate(pool)}
    texts = vectors[torch.from_numpy(pool)]
    ranks = np.zeros(len(queries), np.int64)
    for begin in range(0, len(queries), _AT_ONCE):
        part = queries[begin : begin + _AT_ONCE]
        scores = (vectors[torch.from_numpy(part)] @ texts.T).numpy()
        mine = scores[np.arange(len(part)), own[begin : begin + len(part)]]
        ahead = scores >= mine[:, None]
        for at, query in enumerate(part.tolist()):
            ahead[at, [*right[query], *([place[query]] if query in place else [])]] = False
        ranks[begin : begin + len(part)] = 1 + ahead.sum(1)
    return ranks


def summarize_ranks(ranks: np.ndarray) -> dict[str, float]:
    """Return recall@k, the share of ranks up to k, and the mean reciprocal rank (Voorhees 1999)."""
    recalls = {name: float((ranks <= k).mean()) for k, name in RECALLS.items()}
    return recalls | {MRR: float((1 / ranks).mean())}
