"""Embedding training: each query has to find its own text among those of all rows of its optimizer step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from lora_studio.core.tasks.embedding import Pooling
from lora_studio.engine.devices.devices import copy_to_device
from lora_studio.engine.devices.oom_capture import fail_together
from lora_studio.engine.devices.ranks import (
    DuplicateBatch,
    ProcessGroup,
    RandomState,
    get_random_state,
    set_random_state,
)
from lora_studio.engine.kernels.logprobs import Scorer
from lora_studio.engine.tokens.search_texts import EncodedSearchPair, Ids
from lora_studio.engine.training.recipe.loss import Loss
from lora_studio.engine.training.recipe.pooling import embed


@dataclass(frozen=True)
class Ranking:
    """The losses of some queries in nats, and whether each finds its own text first; both [queries]."""

    losses: torch.Tensor
    is_first: torch.Tensor

    def sum(self, begin: int, end: int) -> Loss:
        """Return the sums over a range of queries."""
        part = slice(begin, end)
        return Loss(
            self.losses[part].sum(), {"in_batch_accuracy": self.is_first[part].sum().detach()}
        )


@dataclass(frozen=True)
class _CachedBatch:
    """A micro-batch whose loss is known: `gradient` is that of the step's loss by its vectors [texts, size].

    `random_state` is that before its vectors were computed, so that the same dropout is drawn again.
    """

    loss: Loss
    gradient: torch.Tensor
    random_state: RandomState


class InBatchNegatives:
    """Multiple negatives ranking (InfoNCE):

    −log (exp(s·cos(q_i, p_i)) / Σ_j exp(s·cos(q_i, d_j))), d_j the positives and the negatives of all rows
    of the optimizer step, s the similarity scale, 1 / temperature. Henderson et al. 2017, section 4.4; van den
    Oord et al. 2018, equation 4. A text that equals the query, its positive, or the positive of an equal
    query isn't a negative of it.

    If a step has several micro-batches, the gradient by all vectors of the step is computed first, without
    the model's graph, and then passed through the model one micro-batch at a time (GradCache, Gao et al.
    2021). So the number of negatives doesn't depend on the micro-batch, the ranks, or memory; it costs a
    second pass.
    """

    def __init__(
        self, scorer: Scorer, scale: float, pooling: Pooling, ranks: ProcessGroup | None = None
    ) -> None:
        self.scorer, self.scale, self.pooling = scorer, scale, pooling
        self.ranks = ranks or ProcessGroup()
        self._cached: dict[int, _CachedBatch] = {}
        self._has_step_vectors = False  # whether all micro-batches of the step have their vectors

    def count_items(self, rows: Sequence[EncodedSearchPair]) -> int:
        """Return the number of queries."""
        return len(rows)

    def prepare_step(self, micro_batches: Sequence[Sequence[EncodedSearchPair]]) -> None:
        """Compute the vectors of all rows of the step, and the gradient by them, if it has several micro-batches.

        Raises MemoryPressureError on every rank; with sharded weights only on the one that ran out.
        """
        self._cached, self._has_step_vectors = {}, len(micro_batches) > 1
        if not self._has_step_vectors:
            return
        states: list[RandomState] = []
        vectors = self._embed_step(micro_batches, states)
        wants_gradient = torch.is_grad_enabled()
        leaves = [values.detach().requires_grad_(wants_gradient) for values in vectors]
        with torch.set_grad_enabled(wants_gradient):
            ranking = rank_texts(micro_batches, leaves, self.scale)
        gradients = (
            torch.autograd.grad(ranking.losses.sum(), leaves) if wants_gradient else tuple(leaves)
        )
        ends = list(accumulate(map(len, micro_batches)))
        rank, world = self.ranks.rank, self.ranks.world_size
        for at in range(rank, len(micro_batches), world):
            loss = ranking.sum(ends[at] - len(micro_batches[at]), ends[at])
            loss.total = loss.total.detach()
            cached = _CachedBatch(loss, gradients[at], states[at // world])
            self._cached[id(micro_batches[at])] = cached

    def _embed_step(
        self, micro_batches: Sequence[Sequence[EncodedSearchPair]], states: list[RandomState]
    ) -> list[torch.Tensor]:
        """Return the vectors of each micro-batch of a step, of which this rank computes some.

        Adds the random state before each of its own to `states`.
        """
        own = self.ranks.get_local_batches(micro_batches)
        local = []
        states.clear()
        self.scorer.will_repeat = torch.is_grad_enabled()
        try:
            with fail_together(self.ranks), torch.no_grad():
                for rows in own:
                    states.append(get_random_state())
                    local.append(embed(self.scorer, list_ids(rows), self.pooling))
        finally:
            self.scorer.will_repeat = False
        if self.ranks.world_size == 1:
            return local
        pairs = zip(own, local, strict=True)
        kept = [values.cpu() for rows, values in pairs if not isinstance(rows, DuplicateBatch)]
        gathered = self.ranks.all_gather(kept)
        ordered = [
            gathered[at % len(gathered)][at // len(gathered)] for at in range(len(micro_batches))
        ]
        return [values.to(self.scorer.device) for values in ordered]

    def compute_loss(self, rows: Sequence[EncodedSearchPair]) -> Loss:
        """Return the loss in nats, summed over the queries of a micro-batch; 0 for a duplicate in an evaluation."""
        cached = self._cached.get(id(rows))
        if (
            isinstance(rows, DuplicateBatch)
            and self._has_step_vectors
            and not torch.is_grad_enabled()
        ):
            # Sharded weights: the other ranks run no pass here, and this one would wait for them.
            return Loss(torch.zeros((), device=self.scorer.device))
        if cached is None:
            vectors = embed(self.scorer, list_ids(rows), self.pooling)
            return rank_texts([rows], [vectors], self.scale).sum(0, len(rows))
        if not torch.is_grad_enabled():
            return cached.loss
        set_random_state(cached.random_state)
        vectors = embed(self.scorer, list_ids(rows), self.pooling)
        product = (vectors * cached.gradient).sum()
        return Loss(cached.loss.total + product - product.detach(), cached.loss.metrics)


def list_ids(rows: Sequence[EncodedSearchPair]) -> list[Ids]:
    """Return the texts of a micro-batch: all queries, all positives, then the negatives that rows have."""
    return [
        *(row.query for row in rows),
        *(row.positive for row in rows),
        *(row.negative for row in rows if row.negative is not None),
    ]


def rank_texts(
    batches: Sequence[Sequence[EncodedSearchPair]], vectors: Sequence[torch.Tensor], scale: float
) -> Ranking:
    """Return how well each query of some micro-batches finds its text among those of all of them.

    `vectors` are those of `list_ids` of each micro-batch, [texts, size] each, normalized. Similarities are
    computed in 32-bit: in bfloat16, steps between them would be up to 1/16 at a scale of 20.
    """
    counts = [len(rows) for rows in batches]
    parts = list(zip(counts, vectors, strict=True))
    queries = torch.cat([values[:count] for count, values in parts])
    texts = torch.cat(
        [values[count : 2 * count] for count, values in parts]
        + [values[2 * count :] for count, values in parts]
    )
    rows = [row for part in batches for row in part]
    excluded = copy_to_device(find_false_negatives(rows), queries.device)
    with torch.autocast(queries.device.type, enabled=False):
        scores = (scale * queries @ texts.T).masked_fill(excluded, -torch.inf)
    own = torch.arange(len(rows), device=scores.device)
    losses = F.cross_entropy(scores, own, reduction="none")
    return Ranking(losses, scores.detach().argmax(1) == own)


def find_false_negatives(rows: Sequence[EncodedSearchPair]) -> torch.Tensor:
    """Return which texts aren't negatives of a query although another row has them, [queries, texts] bool.

    They equal the query, its positive, or the positive of a row with an equal query. The texts are all
    positives, then all negatives.
    """
    numbers: dict[bytes, int] = {}

    def number(ids: Ids) -> int:
        return numbers.setdefault(ids.tobytes(), len(numbers))

    queries = torch.tensor([number(row.query) for row in rows])
    positives = torch.tensor([number(row.positive) for row in rows])
    negatives = [number(row.negative) for row in rows if row.negative is not None]
    texts = torch.cat([positives, torch.tensor(negatives, dtype=torch.int64)])
    right = torch.zeros((len(rows), len(numbers)), dtype=torch.bool)
    right[torch.arange(len(rows)), queries] = True
    for query in queries.unique():
        alike = (queries == query).nonzero().flatten()
        right[alike[:, None], positives[alike][None]] = True
    excluded = right[:, texts]
    excluded[torch.arange(len(rows)), torch.arange(len(rows))] = False
    return excluded
