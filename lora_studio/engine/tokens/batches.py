"""Assign rows to optimizer steps, as a pure function of the seed, and collate them into tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch.nn.utils.rnn import pad_sequence

from lora_studio.core.memory.rows import STEPS_GROUPED
from lora_studio.engine.tokens.encoder import Encoded


@dataclass(frozen=True)
class Batch:
    """A batch of rows end to end, with the positions of the trained tokens.

    `ids` [tokens] int64; `lengths` of the rows add up to `tokens`. Trained token i is `targets[i]`,
    an id, and is predicted at `sources[i]`, the position before it in `ids`; it belongs to row
    `owners[i]`. All three are [targets] int64.

    With `parents`, the rows share prompts: `lengths` are those of prompts and of what follows them, and
    `parents[i]` is the number of the prompt that part i follows, -1 for none.
    """

    ids: torch.Tensor
    lengths: tuple[int, ...]
    sources: torch.Tensor
    targets: torch.Tensor
    owners: torch.Tensor
    parents: tuple[int, ...] = ()

    @property
    def tokens(self) -> int:
        """Return the number of tokens of all rows."""
        return len(self.ids)

    def pad_to_tokens(self, tokens: int) -> Batch:
        """Return the same rows and a meaningless one that pads the batch to `tokens` tokens."""
        if (more := tokens - self.tokens) == 0:
            return self
        parents = (*self.parents, -1) if self.parents else ()
        ids, lengths = F.pad(self.ids, (0, more)), (*self.lengths, more)
        return replace(self, ids=ids, lengths=lengths, parents=parents)

    def to_padded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and attention mask, each [rows, longest] int64, padded on the right.

        The content of the padding never matters: attention is causal, so no token before it sees it.
        """
        ids = pad_sequence(list(self.ids.split(self.lengths)), batch_first=True)
        lengths = torch.tensor(self.lengths)
        return ids, (torch.arange(ids.shape[1]) < lengths[:, None]).long()

    def get_padded_sources(self) -> torch.Tensor:
        """Return `sources` as indices of the flattened padded ids."""
        starts = torch.tensor([0, *np.cumsum(self.lengths)[:-1]])
        return self.owners * max(self.lengths) + self.sources - starts[self.owners]


class BatchPlan:
    """The order of training: step number -> micro-batches of row indices.

    Every epoch goes through all rows once, in an order drawn from (seed, epoch). A step takes the
    next `micro_batch * accumulation` of them and sorts them by length before they are split, so
    that rows of similar length share a micro-batch; which rows a step has does not depend on it.
    There is no state: any step can be computed at any time.

    With `grouped`, rows of similar length share a step as well.
    """

    #: Processes that share a step, each of which computes every `ranks`-th micro-batch.
    ranks = 1

    def __init__(
        self,
        lengths: Sequence[int] | np.ndarray,
        micro_batch: int,
        accumulation: int,
        seed: int,
        *,
        grouped: bool = False,
    ) -> None:
        """Take `lengths` in tokens, one per training row."""
        self._lengths = np.asarray(lengths)
        #: Rows computed at once; may be changed at any time, the rows of a step stay the same.
        self.micro_batch = micro_batch
        #: Tokens up to which additional rows may fill a micro-batch; 0: it has at most `micro_batch` rows.
        self.room = 0
        self.per_step = micro_batch * accumulation
        self._seed = seed
        self._grouped = grouped
        self.steps_per_epoch = math.ceil(len(lengths) / self.per_step)
        self._order: tuple[int, np.ndarray] = (-1, self._lengths)

    def get_step(self, index: int) -> list[list[int]]:
        """Return the micro-batches of one step, counted from 0; the longest rows come first.

        So memory peaks in the first micro-batch, and running out of it shows at once.
        """
        epoch, position = divmod(index, self.steps_per_epoch)
        rows = self._order_epoch(epoch)[position * self.per_step : (position + 1) * self.per_step]
        return self.split_rows(rows, self._lengths)

    def split_rows(
        self, rows: Iterable[int], lengths: Sequence[int] | np.ndarray
    ) -> list[list[int]]:
        """Return rows as micro-batches, the longest first; row i has `lengths[i]` tokens."""
        rows, lengths = list(rows), np.asarray(lengths)
        parts = batch_by_length(rows, lengths, self.micro_batch)
        if not self.room:
            return parts
        packed = self._pack_rows(rows, lengths)
        if self.ranks > 1:
            packed = self._balance(packed, lengths)
        return min(parts, packed, key=partial(self._compute_cost, lengths=lengths))

    def _compute_cost(
        self, micro_batches: Sequence[Sequence[int]], lengths: np.ndarray
    ) -> tuple[int, int]:
        """Return the micro-batches and, of several ranks, the tokens of the one with the most work."""
        rounds = math.ceil(len(micro_batches) / self.ranks)
        if self.ranks == 1:
            return rounds, 0
        tokens = [int(lengths[rows].sum()) for rows in micro_batches]
        return rounds, max(sum(tokens[rank :: self.ranks]) for rank in range(self.ranks))

    def _balance(self, packed: list[list[int]], lengths: np.ndarray) -> list[list[int]]:
        """Share packed rows among a multiple of `ranks` micro-batches of about as many tokens each.

        The longest rows first, each to the micro-batch with the fewest tokens (Graham 1969). If one gets
        more than its room, rows stay as they were packed.
        """
        rows = [row for (row,) in batch_by_length(chain(*packed), lengths, 1)]
        count = min(len(rows), math.ceil(len(packed) / self.ranks) * self.ranks)
        shared: list[list[int]] = [[] for _ in range(count)]
        tokens = [0] * count
        for row in rows:
            target = tokens.index(min(tokens))
            shared[target].append(row)
            tokens[target] += int(lengths[row])
        if max(tokens) > self.room:
            return packed
        order = sorted(range(count), key=lambda number: -tokens[number])
        return [shared[number] for number in order]

    def _pack_rows(self, rows: Iterable[int], lengths: np.ndarray) -> list[list[int]]:
        """Put each row, the longest first, into the first micro-batch that has room for it."""
        micro_batches: list[list[int]] = []
        free: list[int] = []  # tokens
        for (row,) in batch_by_length(rows, lengths, 1):
            length = int(lengths[row])
            fitting = (number for number, tokens in enumerate(free) if tokens >= length)
            if (target := next(fitting, len(free))) == len(free):
                micro_batches.append([])
                free.append(self.room)
            micro_batches[target].append(row)
            free[target] -= length
        return micro_batches

    def find_longest(self, steps: int, *, padded: bool) -> list[int]:
        """Return the micro-batch of the first `steps` steps that needs the most memory.

        That is the one with the most tokens; if `padded`, each row counts as much as the longest one.
        """
        most_tokens, longest_step = -1, 0
        for epoch in range(math.ceil(steps / self.steps_per_epoch)):
            rows = self._order_epoch(epoch)[
                : (steps - epoch * self.steps_per_epoch) * self.per_step
            ]
            ends = np.zeros(-(-len(rows) // self.per_step) * self.per_step, dtype=np.int64)
            ends[: len(rows)] = self._lengths[rows]
            first = -np.sort(-ends.reshape(-1, self.per_step), axis=1)[:, : self.micro_batch]
            tokens = first[:, 0] * (first > 0).sum(axis=1) if padded else first.sum(axis=1)
            if tokens.max() > most_tokens:
                most_tokens = int(tokens.max())
                longest_step = epoch * self.steps_per_epoch + int(tokens.argmax())
        return self.get_step(longest_step)[0]

    def find_fullest(self, steps: int) -> list[int]:
        """Return the micro-batch with the most tokens in the heaviest of the first `steps` steps."""
        step, _ = self.find_heaviest_step(steps)
        return max(self.get_step(step), key=lambda rows: self._lengths[rows].sum())

    def find_heaviest_step(self, steps: int) -> tuple[int, int]:
        """Return the number and the tokens of the one of the first `steps` steps that has the most tokens."""
        most_tokens, heaviest = -1, 0
        for epoch in range(math.ceil(steps / self.steps_per_epoch)):
            first = epoch * self.steps_per_epoch
            rows = self._order_epoch(epoch)[: (steps - first) * self.per_step]
            tokens = np.add.reduceat(self._lengths[rows], np.arange(0, len(rows), self.per_step))
            if tokens.max() > most_tokens:
                most_tokens, heaviest = int(tokens.max()), first + int(tokens.argmax())
        return heaviest, most_tokens

    def _order_epoch(self, epoch: int) -> np.ndarray:
        if self._order[0] != epoch:
            generator = np.random.default_rng((self._seed, epoch))
            order = generator.permutation(len(self._lengths))
            if self._grouped:
                order = _group_by_length(order, self._lengths, self.per_step, generator)
            self._order = epoch, order
        return self._order[1]


def _group_by_length(
    order: np.ndarray, lengths: np.ndarray, per_step: int, generator: np.random.Generator
) -> np.ndarray:
    """Sort ranges of some steps by length, and shuffle the steps.

    If a step isn't full, it remains the last one, as without grouping.
    """
    together = STEPS_GROUPED * per_step
    ranges = [order[begin : begin + together] for begin in range(0, len(order), together)]
    ordered = [part[np.argsort(-lengths[part], kind="stable")] for part in ranges]
    steps = [
        part[begin : begin + per_step]
        for part in ordered
        for begin in range(0, len(part), per_step)
    ]
    full = [step for step in steps if len(step) == per_step]
    rest = [step for step in steps if len(step) < per_step]
    return np.concatenate([*(full[index] for index in generator.permutation(len(full))), *rest])


def batch_by_length(
    rows: Iterable[int], lengths: Sequence[int] | np.ndarray, size: int
) -> list[list[int]]:
    """Return rows in batches of `size`, the longest first; equal lengths keep their order."""
    ordered = sorted((int(row) for row in rows), key=lambda row: -int(lengths[row]))
    return [ordered[begin : begin + size] for begin in range(0, len(ordered), size)]


def collate(rows: Sequence[Encoded]) -> Batch:
    """Return rows as one batch; the first token of a row has no predecessor and is never trained."""
    trained = np.concatenate([np.r_[row.trained[1:], False] for row in rows])
    ids = torch.from_numpy(np.concatenate([row.ids for row in rows]).astype(np.int64))
    lengths = tuple(len(row.ids) for row in rows)
    sources = np.flatnonzero(trained)
    return Batch(
        ids,
        lengths,
        torch.from_numpy(sources),
        ids[sources + 1],
        torch.from_numpy(np.repeat(np.arange(len(rows)), lengths)[sources]),
    )


def collate_shared(rows: Sequence[Encoded]) -> Batch:
    """Return rows as one batch that has each prompt once; a row's prompt is what comes before its trained tokens.

    The last token of a row predicts nothing and no token follows it, so it is left out.
    """
    parts: list[np.ndarray] = []
    parents: list[int] = []
    # The number of each prompt's part, and the position after it.
    prompts: dict[bytes, tuple[int, int]] = {}
    sources: list[np.ndarray] = []
    position = 0
    for row in rows:
        begin = int(row.trained.argmax())
        prompt, answer = row.ids[:begin], row.ids[begin:-1]
        if (name := prompt.tobytes()) not in prompts:
            position += len(prompt)
            prompts[name] = len(parts), position
            parts.append(prompt)
            parents.append(-1)
        number, end = prompts[name]
        predicting = np.r_[end - 1, np.arange(position, position + len(answer))]
        sources.append(predicting[row.trained[begin:]])
        if len(answer):
            position += len(answer)
            parts.append(answer)
            parents.append(number)
    targets = np.concatenate([row.ids[row.trained] for row in rows])
    counts = [len(part) for part in sources]
    return Batch(
        torch.from_numpy(np.concatenate(parts).astype(np.int64)),
        tuple(map(len, parts)),
        torch.from_numpy(np.concatenate(sources)),
        torch.from_numpy(targets.astype(np.int64)),
        torch.from_numpy(np.repeat(np.arange(len(rows)), counts)),
        tuple(parents),
    )
