"""Measure search on the validation rows: where each query ranks the text that it should find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch

from lora_studio.core.messages import text
from lora_studio.core.training.retrieval import MRR, RECALLS
from lora_studio.engine.dataset.batches import batch_by_length
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tokens.search_texts import EncodedSearchPair, Ids
from lora_studio.engine.training.distributed.ranks import DuplicateBatch, ProcessGroup
from lora_studio.engine.training.memory.capture import run_on_every_rank
from lora_studio.engine.training.recipe.in_batch_negatives import InBatchNegatives
from lora_studio.engine.training.recipe.pooling import embed

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
        scorer, pooling = self._objective.scorer, self._objective.pooling
        scorer.model.eval()
        # A row of training has two texts or three.
        groups = batch_by_length(range(len(texts)), [len(ids) for ids in texts], 2 * micro_batch)
        world = self._ranks.world_size
        found: dict[int, torch.Tensor] = {}
        for begin in range(0, len(groups), world):
            self._ranks.synchronize_requests()
            self._job.report_progress(text("measuring search"), begin, len(groups), "batches")
            own = self._ranks.get_local_batches(groups[begin : begin + world])

            def embed_own(
                own: Sequence[Sequence[int]] = own,
            ) -> list[tuple[list[int], torch.Tensor]]:
                self._job.check()
                pairs = []
                for part in own:
                    vectors = embed(scorer, [texts[at] for at in part], pooling).cpu()
                    if not isinstance(part, DuplicateBatch):
                        pairs.append((list(part), vectors))
                return pairs

            local = run_on_every_rank(self._ranks, embed_own)
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
