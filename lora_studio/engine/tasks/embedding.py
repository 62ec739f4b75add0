"""Embedding training: how a model gets ready, vectors of texts, the objective, and how well queries find texts.

A vector is the last hidden states, pooled over a text and normalized.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from peft import TaskType
from tokenizers import processors
from transformers import PreTrainedTokenizerBase

from lora_studio.core.messages import Text, text
from lora_studio.core.model.catalog import get_architecture
from lora_studio.core.model.embedding_files import (
    EmbeddingOutput,
    Pooling,
    list_pooling_modes,
    parse_pooling,
    read_pooling,
)
from lora_studio.core.problems import ProblemError, Where, fail, warning
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.tasks.embedding import PoolingChoice, needs_two_rows_error
from lora_studio.core.training.retrieval import MRR, RECALLS
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.devices.devices import copy_to_device
from lora_studio.engine.devices.oom_capture import fail_together
from lora_studio.engine.devices.ranks import (
    DuplicateBatch,
    ProcessGroup,
    RandomState,
    get_random_state,
    set_random_state,
)
from lora_studio.engine.kernels.chunked_logprobs import find_decoder, round_up_tokens
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.fast_imports import is_convertible
from lora_studio.engine.tasks.classification import require_plain_base
from lora_studio.engine.tasks.task import Loss, Objective, TaskTraining
from lora_studio.engine.tokens.batches import Batch, batch_by_length
from lora_studio.engine.tokens.encoder import EncodedSearchPair, Ids, TextEdges

#: Queries that are compared with all texts at once.
_AT_ONCE = 1024


class EmbeddingTraining(TaskTraining):
    """Learn vectors of queries and of the texts that they should find."""

    def create_objective(
        self,
        spec: TrainingSpec,
        logprob_model: LogprobModel,
        ranks: ProcessGroup,
        label_counts: Sequence[int],
    ) -> Objective:
        """Return the objective."""
        pooling = "last" if spec.pooling == "auto" else spec.pooling
        return InBatchNegatives(logprob_model, spec.similarity_scale, pooling, ranks)

    def prepare_model(self, project: Project, tuned: AdaptedModel, job: JobContext) -> Project:
        """Return the project with the pooling decided; emits Warned and LogLine.

        The tokenizer then adds the end token itself, and the adapter is saved for feature extraction. Raises
        ProblemError for a model, an adapter, or a recipe that can't train embeddings.
        """
        training = project.training
        _require_suitable(tuned, training)
        pooling = resolve_pooling(training.pooling, tuned.base.folder)
        append_end_token(tuned.base.tokenizer)
        width = tuned.base.model.config.get_text_config().hidden_size
        tuned.embedding = EmbeddingOutput(pooling, width, project.dataset.max_length)
        tuned.model.peft_config["default"].task_type = TaskType.FEATURE_EXTRACTION
        architecture = get_architecture(tuned.base.model.config.to_dict())
        if not is_convertible(architecture):
            problem = warning(
                "training.embedding_not_exportable",
                "The trained model can't be exported as GGUF: llama.cpp's converter doesn't support the "
                "architecture {architecture}.",
                "Use its adapter with PEFT, or the merged model with sentence-transformers.",
                where=Where(step="model", field="source"),
                architecture=architecture,
            )
            job.emit(events.Warned(problem=problem))
        job.emit(events.LogLine(text=_describe_comparison(pooling, training.effective_batch - 1)))
        return project.model_copy(
            update={"training": training.model_copy(update={"pooling": pooling})}
        )


def _describe_comparison(pooling: Pooling, others: int) -> Text:
    """Return what a query is compared with, and what the vector of a text is."""
    if pooling == "last":
        return text(
            "The texts of the other {n} rows of its step are the negatives of a query, however many are computed "
            "at once. The vector of a text is read from its last token.",
            n=others,
        )
    return text(
        "The texts of the other {n} rows of its step are the negatives of a query, however many are computed at "
        "once. The vector of a text is the mean over its tokens.",
        n=others,
    )


def _require_suitable(tuned: AdaptedModel, training: TrainingSpec) -> None:
    """Raise ProblemError for a model, an adapter, or a recipe that can't train embeddings."""
    if training.effective_batch < 2:
        raise ProblemError(needs_two_rows_error())
    require_plain_base(tuned)
    decoder = find_decoder(tuned.base.model)
    if decoder is None:
        raise fail(
            "training.embedding_unsupported",
            "{architecture} can't be trained for embeddings.",
            "Choose another model.",
            where=Where(step="model", field="source"),
            architecture=type(tuned.base.model).__name__,
        )
    inside = {id(parameter) for parameter in decoder.parameters()}
    if any(each.requires_grad and id(each) not in inside for each in tuned.model.parameters()):
        raise fail(
            "training.embedding_head",
            "The output layer isn't used for embeddings, so it can't be trained with them.",
            "Remove lm_head from the target modules and from the modules trained in full.",
            where=Where(step="lora", field="targets"),
        )


def append_end_token(tokenizer: PreTrainedTokenizerBase) -> None:
    """Let a tokenizer add the edges that training uses by itself; raises ProblemError if it can't.

    It is saved with the adapter, so that every program that loads it gets the same tokens.
    """
    edges = TextEdges.find(tokenizer)
    if tuple(tokenizer("a").input_ids[-len(edges.after) :]) == edges.after:
        return
    backend = tokenizer.backend_tokenizer
    names = [tokenizer.convert_ids_to_tokens(list(ids)) for ids in (edges.before, edges.after)]
    single = [*names[0], "$A", *names[1]]
    special = zip(names[0] + names[1], edges.before + edges.after, strict=True)
    adding = processors.TemplateProcessing(
        single=single,
        pair=[*single, *(f"{name}:1" for name in (*names[0], "$B", *names[1]))],
        special_tokens=list(dict(special).items()),
    )
    trimming = _find_trimming(json.loads(backend.to_str())["post_processor"])
    backend.post_processor = processors.Sequence([trimming, adding]) if trimming else adding
    if TextEdges.find(tokenizer) != edges or tokenizer("a").input_ids[-1] != edges.after[-1]:
        raise fail(
            "training.embedding_end_token",
            "The tokenizer can't add the end token that embeddings are read from.",
            "Choose another model, or an embedding model such as Qwen3-Embedding.",
            where=Where(step="model", field="source"),
        )


def _find_trimming(settings: dict[str, Any] | None) -> processors.ByteLevel | None:
    """Return the part of a post-processor that trims blanks from offsets, None if it has none."""
    parts = (settings or {}).get("processors") or [settings or {}]
    for part in parts:
        if part.get("type") == "ByteLevel":
            return processors.ByteLevel(trim_offsets=bool(part.get("trim_offsets")))
    return None


def resolve_pooling(choice: PoolingChoice, base: Path) -> Pooling:
    """Return the pooling of a recipe: for "auto" that of the base if it is an embedding model, else "last".

    Raises ProblemError for a base that pools in another way.
    """
    if choice != "auto":
        return choice
    described = read_pooling(base)
    if described is None:
        return "last"
    modes = list_pooling_modes(described)
    if (pooling := parse_pooling(modes)) is not None:
        return pooling
    raise fail(
        "training.unknown_pooling",
        "The embedding model pools in a way that can't be trained here: {modes}.",
        "Choose “Last token” or “Mean” as the pooling, or another model.",
        where=Where(step="training", field="pooling"),
        modes=", ".join(modes) or "?",
    )


def embed(logprob_model: LogprobModel, texts: Sequence[Ids], pooling: Pooling) -> torch.Tensor:
    """Return the normalized vector of each text, [texts, size] float32, differentiable."""
    lengths = torch.tensor([len(ids) for ids in texts])
    ids = torch.from_numpy(np.concatenate(list(texts)).astype(np.int64))
    owners = torch.arange(len(texts))
    sources = lengths.cumsum(0) - 1
    if pooling == "mean":
        owners, sources = owners.repeat_interleave(lengths), torch.arange(len(ids))
    batch = Batch(ids, tuple(lengths.tolist()), sources, ids[sources], owners)
    if logprob_model.fills:
        batch = batch.pad_to_tokens(round_up_tokens(batch.tokens))
    logprob_model.lengths = batch.lengths
    hidden = logprob_model.compute_hidden_states(batch)
    with torch.autocast(hidden.device.type, enabled=False):
        states = hidden.float()
        if pooling == "mean":
            rows = copy_to_device(owners, states.device)
            sums = states.new_zeros((len(texts), states.shape[1])).index_add(0, rows, states)
            states = sums / copy_to_device(lengths, states.device)[:, None]
        return F.normalize(states, dim=1)


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


class InBatchNegatives(Objective):
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

    measures_start: ClassVar[bool] = True

    def __init__(
        self,
        logprob_model: LogprobModel,
        scale: float,
        pooling: Pooling,
        ranks: ProcessGroup | None = None,
    ) -> None:
        super().__init__(logprob_model)
        self.scale, self.pooling = scale, pooling
        self.ranks = ranks or ProcessGroup()
        self._cached: dict[int, _CachedBatch] = {}
        self._has_step_vectors = False  # whether all micro-batches of the step have their vectors

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
        self.logprob_model.will_repeat = torch.is_grad_enabled()
        try:
            with fail_together(self.ranks), torch.no_grad():
                for rows in own:
                    states.append(get_random_state())
                    local.append(embed(self.logprob_model, list_ids(rows), self.pooling))
        finally:
            self.logprob_model.will_repeat = False
        if self.ranks.world_size == 1:
            return local
        pairs = zip(own, local, strict=True)
        kept = [values.cpu() for rows, values in pairs if not isinstance(rows, DuplicateBatch)]
        gathered = self.ranks.all_gather(kept)
        ordered = [
            gathered[at % len(gathered)][at // len(gathered)] for at in range(len(micro_batches))
        ]
        return [values.to(self.logprob_model.device) for values in ordered]

    def compute_loss(self, rows: Sequence[EncodedSearchPair]) -> Loss:
        """Return the loss in nats, summed over the queries of a micro-batch; 0 for a duplicate in an evaluation."""
        cached = self._cached.get(id(rows))
        if (
            isinstance(rows, DuplicateBatch)
            and self._has_step_vectors
            and not torch.is_grad_enabled()
        ):
            # Sharded weights: the other ranks run no pass here, and this one would wait for them.
            return Loss(torch.zeros((), device=self.logprob_model.device))
        if cached is None:
            vectors = embed(self.logprob_model, list_ids(rows), self.pooling)
            return rank_texts([rows], [vectors], self.scale).sum(0, len(rows))
        if not torch.is_grad_enabled():
            return cached.loss
        set_random_state(cached.random_state)
        vectors = embed(self.logprob_model, list_ids(rows), self.pooling)
        product = (vectors * cached.gradient).sum()
        return Loss(cached.loss.total + product - product.detach(), cached.loss.metrics)

    @torch.no_grad()
    def measure(
        self,
        rows: Any,
        micro_batch: int,
        inference_context: Callable[[], AbstractContextManager[object]],
        job: JobContext,
    ) -> dict[str, float]:
        """Return how all positives rank for each query: recall@1, @5, @10 and the mean reciprocal rank, each 0 to 1.

        Raises MemoryPressureError, CancelledError, and PausedError while the job is pausable.
        """
        pairs: list[EncodedSearchPair] = [rows[row] for row in range(len(rows))]
        numbers: dict[bytes, int] = {}
        for row in pairs:
            for ids in (row.query, row.positive):
                numbers.setdefault(ids.tobytes(), len(numbers))
        texts = [np.frombuffer(content, np.int32) for content in numbers]
        with inference_context():
            vectors = self._embed_all(texts, micro_batch, job)
        queries = np.array([numbers[row.query.tobytes()] for row in pairs])
        positives = np.array([numbers[row.positive.tobytes()] for row in pairs])
        return summarize_ranks(rank_positives(vectors, queries, positives))

    def _embed_all(self, texts: Sequence[Ids], micro_batch: int, job: JobContext) -> torch.Tensor:
        """Return the vectors of all texts on the CPU, [texts, size]."""
        self.logprob_model.model.eval()
        # A row of training has two texts or three.
        groups = batch_by_length(range(len(texts)), [len(ids) for ids in texts], 2 * micro_batch)
        world = self.ranks.world_size
        found: dict[int, torch.Tensor] = {}
        for begin in range(0, len(groups), world):
            self.ranks.synchronize_requests()
            job.report_progress(text("evaluating retrieval"), begin, len(groups), "batches")
            own = self.ranks.get_local_batches(groups[begin : begin + world])
            local = []
            with fail_together(self.ranks):
                job.check()
                for part in own:
                    vectors = embed(
                        self.logprob_model, [texts[at] for at in part], self.pooling
                    ).cpu()
                    if not isinstance(part, DuplicateBatch):
                        local.append((list(part), vectors))
            for each in self.ranks.all_gather(local):
                for part, vectors in each:
                    found.update(zip(part, vectors, strict=True))
        return torch.stack([found[at] for at in range(len(texts))])


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
