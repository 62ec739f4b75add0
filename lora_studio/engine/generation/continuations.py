"""Score continuations by their log-probability: choices of a question, references, whole texts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase
from transformers.cache_utils import Cache

from lora_studio.engine.devices.devices import copy_to_device, get_widest_float
from lora_studio.engine.generation import prefix_cache
from lora_studio.engine.generation.batched import compute_logits, get_start_token, pad_left
from lora_studio.engine.model.loading import release_gpu
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import NotFiniteError, is_out_of_memory

#: Tokens of prompts that are read at once on a CPU and on a GPU.
_CPU_TOKENS, _GPU_TOKENS = 1 << 10, 1 << 14

#: Most logits that are computed at once, unless a single text has more; more of them for whole texts on a
#: GPU, whose batches get smaller if memory runs out: about 1 GiB in 16-bit.
_MOST_LOGITS, _GPU_WHOLE_LOGITS = 1 << 26, 1 << 29


@dataclass(frozen=True)
class Continuation:
    """A continuation to score: its tokens, and those of the prompt before it, at least one."""

    prompt: tuple[int, ...]
    ids: tuple[int, ...]


@dataclass(frozen=True)
class ContinuationScore:
    """The log-probability of a continuation in nats, the sum over its `tokens`.

    `is_greedy`: each of its tokens is the most likely one.
    """

    logprob: float
    tokens: int
    is_greedy: bool


def split_prompt_and_continuation(
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    continuation: str,
    *,
    add_special_tokens: bool = False,
) -> Continuation:
    """Return the tokens of a prompt and of the text that continues it.

    The two are tokenized together, and blanks at the end of the prompt count as the continuation's, as
    in lm-eval. An empty prompt is the beginning of a text.
    """
    if not prompt:
        ids = tokenizer(continuation, add_special_tokens=False).input_ids
        return Continuation((get_start_token(tokenizer),), tuple(ids))
    stripped = prompt.rstrip()
    before = tokenizer(stripped, add_special_tokens=add_special_tokens).input_ids
    whole = tokenizer(prompt + continuation, add_special_tokens=add_special_tokens).input_ids
    return Continuation(tuple(before) or (get_start_token(tokenizer),), tuple(whole[len(before) :]))


def split_text(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    most_tokens: int,
    *,
    add_special_tokens: bool = False,
) -> list[Continuation]:
    """Return windows that together predict each token of a text once, for its perplexity.

    The first window predicts `most_tokens` tokens after the token that begins a text. Each later one
    predicts as many, and the last one sees as much text before its tokens as fits, as in lm-eval.
    """
    ids = tokenizer(text, add_special_tokens=add_special_tokens).input_ids
    windows: list[Continuation] = []
    for begin in range(0, len(ids), most_tokens):
        end = min(begin + most_tokens, len(ids))
        first = max(0, end - most_tokens - 1) if begin else 0
        prompt = ids[first:begin] if begin else [get_start_token(tokenizer)]
        windows.append(Continuation(tuple(prompt), tuple(ids[begin:end])))
    return windows


def continuation_logprobs(
    network: Any, continuations: Sequence[Continuation], job: JobContext
) -> Iterator[tuple[int, ContinuationScore]]:
    """Yield the index of each continuation and its score.

    What several prompts share is computed once, and so is a prompt with several continuations. Of a
    prompt that is too long for the model's context, the end counts. Raises CancelledError, PausedError,
    and what the model raises.
    """
    for index, continuation in enumerate(continuations):
        if not continuation.ids:
            yield index, ContinuationScore(0.0, 0, True)
    fitted = {
        index: _fit(continuation, network)
        for index, continuation in enumerate(continuations)
        if continuation.ids
    }
    scorer = _Scorer(network, fitted, job)
    if (window := prefix_cache.find_window(network)) is None:
        yield from scorer.score_whole()
    else:
        yield from scorer.score_shared(window)


def _fit(continuation: Continuation, network: Any) -> Continuation:
    """Return a continuation without the beginning of a prompt that the context has no room for."""
    room = prefix_cache.get_context_length(network) + 1 - len(continuation.ids)
    if len(continuation.prompt) <= room:
        return continuation
    return Continuation(continuation.prompt[-max(1, room) :], continuation.ids)


class _Scorer:
    """Scores continuations in batches."""

    def __init__(
        self, network: Any, continuations: dict[int, Continuation], job: JobContext
    ) -> None:
        self._network, self._job = network, job
        self._continuations = continuations
        self._is_cpu = network.device.type == "cpu"
        self._most_tokens = _CPU_TOKENS if self._is_cpu else _GPU_TOKENS
        self._by_prompt: dict[tuple[int, ...], list[int]] = {}
        for index, continuation in continuations.items():
            self._by_prompt.setdefault(continuation.prompt, []).append(index)

    def score_shared(self, window: float) -> Iterator[tuple[int, ContinuationScore]]:
        """Yield scores; a shared beginning and each prompt are computed once."""
        prompts = list(self._by_prompt)
        longest = max((len(c.prompt) + len(c.ids) for c in self._continuations.values()), default=0)
        for group in prefix_cache.group_by_prefix(prompts):
            shared = group.length if longest <= window else 0
            prefix = prefix_cache.create_cache(self._network)
            if shared:
                ids = torch.tensor([prompts[group.rows[0]][:shared]])
                compute_logits(self._network, ids, prefix, keep=1)
            pending = sorted((prompts[row] for row in group.rows), key=len, reverse=True)
            while pending:
                longest_prompt = len(pending[0]) - shared
                batch = pending[: max(1, self._most_tokens // longest_prompt)]
                self._job.check()
                score = partial(self._score_batch, batch, prefix, shared)
                tokens = max(len(batch) * longest_prompt, self._count_continued(batch))
                if (scores := self._try(batch, tokens, score)) is None:
                    continue
                yield from scores
                pending = pending[len(batch) :]

    def _count_continued(self, prompts: Sequence[tuple[int, ...]]) -> int:
        """Return the number of tokens in all continuations of prompts."""
        indices = itertools.chain.from_iterable(self._by_prompt[prompt] for prompt in prompts)
        return sum(len(self._continuations[index].ids) for index in indices)

    def _try(
        self,
        batch: Sequence[object],
        tokens: int,
        score: Callable[[], Iterable[tuple[int, ContinuationScore]]],
    ) -> list[tuple[int, ContinuationScore]] | None:
        """Return the scores of a batch, None if memory runs out: batches have half its `tokens` then."""
        try:
            return list(score())
        except Exception as error:  # its traceback keeps tensors until the block ends
            if not is_out_of_memory(error) or len(batch) == 1:
                raise
        self._most_tokens = max(1, min(self._most_tokens, tokens) // 2)
        release_gpu()
        return None

    def _score_batch(
        self, prompts: list[tuple[int, ...]], prefix: Cache, shared: int
    ) -> Iterator[tuple[int, ContinuationScore]]:
        cache = prefix_cache.select(prefix, len(prompts))
        ids, mask = pad_left([prompt[shared:] for prompt in prompts], shared)
        logits = compute_logits(self._network, ids, cache, mask=mask, keep=1)[:, -1]
        first = logits.float().log_softmax(-1)
        pairs = [
            (row, index) for row, prompt in enumerate(prompts) for index in self._by_prompt[prompt]
        ]
        pairs.sort(key=lambda pair: len(self._continuations[pair[1]].ids))
        for part in self._iter_parts(pairs, first.shape[-1]):
            self._job.check()
            rows = torch.tensor([row for row, _ in part])
            predicted = first[copy_to_device(rows, first.device)]
            yield from self._score_part(part, predicted, mask[rows], cache, rows)

    def _iter_parts(
        self, pairs: Sequence[tuple[int, int]], vocabulary: int
    ) -> Iterator[list[tuple[int, int]]]:
        """Yield runs of pairs, ordered by length, whose tokens and logits stay within the limits."""
        part: list[tuple[int, int]] = []
        for pair in pairs:
            longest = len(self._continuations[pair[1]].ids)
            tokens = longest * (len(part) + 1)
            if part and (tokens > self._most_tokens or tokens * vocabulary > _MOST_LOGITS):
                yield part
                part = []
            part.append(pair)
        if part:
            yield part

    def _score_part(
        self,
        part: Sequence[tuple[int, int]],
        first: torch.Tensor,
        mask: torch.Tensor,
        cache: Cache,
        rows: torch.Tensor,
    ) -> Iterator[tuple[int, ContinuationScore]]:
        """Score continuations of the prompts in `cache`; `first` predicts their first tokens.

        All but the last token of each continuation are read, padded on the right, where padding changes
        nothing.
        """
        targets = [self._continuations[index].ids for _, index in part]
        longest = max(map(len, targets))
        sums = _Sums(targets, first.device)
        sums.add(first[:, None], 0)
        if longest > 1:
            copied = prefix_cache.select(cache, copy_to_device(rows, first.device))
            ids = torch.zeros(len(part), longest - 1, dtype=torch.long)
            for row, target in zip(ids, targets, strict=True):
                row[: len(target) - 1] = torch.tensor(target[:-1])
            step = max(1, _MOST_LOGITS // (len(part) * first.shape[-1]))
            for begin in range(0, longest - 1, step):
                self._job.check()
                piece = ids[:, begin : begin + step]
                mask = torch.cat([mask, torch.ones_like(piece)], 1)
                logits = compute_logits(self._network, piece, copied, mask=mask)
                sums.add(logits.float().log_softmax(-1), begin + 1)
        yield from zip((index for _, index in part), sums.get_scores(), strict=True)

    def score_whole(self) -> Iterator[tuple[int, ContinuationScore]]:
        """Yield scores of each prompt and continuation as one sequence, padded on the right."""
        order = sorted(self._continuations, key=lambda index: -self._get_length(index))
        vocabulary = self._network.config.get_text_config().vocab_size
        most_logits = _MOST_LOGITS if self._is_cpu else _GPU_WHOLE_LOGITS
        self._most_tokens = min(self._most_tokens, most_logits // vocabulary)
        while order:
            longest = self._get_length(order[0])
            batch = order[: max(1, self._most_tokens // longest)]
            self._job.check()
            score = partial(self._score_sequences, batch)
            if (scores := self._try(batch, len(batch) * longest, score)) is None:
                continue
            yield from scores
            order = order[len(batch) :]

    def _get_length(self, index: int) -> int:
        """Return the number of tokens that are read for a continuation."""
        continuation = self._continuations[index]
        return len(continuation.prompt) + len(continuation.ids) - 1

    @torch.no_grad()
    def _score_sequences(self, indices: Sequence[int]) -> list[tuple[int, ContinuationScore]]:
        chosen = [self._continuations[index] for index in indices]
        longest = max(self._get_length(index) for index in indices)
        ids = torch.zeros(len(chosen), longest, dtype=torch.long)
        for row, continuation in zip(ids, chosen, strict=True):
            whole = (*continuation.prompt, *continuation.ids)[:-1]
            row[: len(whole)] = torch.tensor(whole)
        ids = copy_to_device(ids, self._network.device)
        logits = self._network(input_ids=ids, use_cache=False).logits
        scores: list[tuple[int, ContinuationScore]] = []
        for index, row, continuation in zip(indices, logits, chosen, strict=True):
            begin = len(continuation.prompt) - 1
            sums = _Sums([continuation.ids], row.device)
            sums.add(row[None, begin : begin + len(continuation.ids)].float().log_softmax(-1), 0)
            scores.extend((index, score) for score in sums.get_scores())
        return scores


class _Sums:
    """Sums of the log-probabilities of target tokens, over several pieces of a sequence.

    In 64-bit where the device has it.
    """

    def __init__(self, targets: Sequence[Sequence[int]], device: torch.device) -> None:
        self._lengths = [len(target) for target in targets]
        padded = list(itertools.zip_longest(*targets, fillvalue=0))
        self._targets = copy_to_device(torch.tensor(padded).t(), device)
        valid = torch.arange(len(padded)) < torch.tensor(self._lengths)[:, None]
        self._valid = copy_to_device(valid, device)
        self._logprobs = torch.zeros(len(targets), dtype=get_widest_float(device), device=device)
        self._greedy = torch.ones(len(targets), dtype=torch.bool, device=device)

    def add(self, logprobs: torch.Tensor, begin: int) -> None:
        """Add predictions [rows, positions, vocabulary] of the targets from position `begin` on."""
        targets = self._targets[:, begin : begin + logprobs.shape[1]]
        valid = self._valid[:, begin : begin + logprobs.shape[1]]
        chosen = logprobs.gather(2, targets[..., None])[..., 0].to(self._logprobs.dtype)
        self._logprobs += torch.where(valid, chosen, 0.0).sum(1)
        self._greedy &= ((logprobs.argmax(-1) == targets) | ~valid).all(1)

    def get_scores(self) -> list[ContinuationScore]:
        """Return the score of each row; raises NotFiniteError."""
        logprobs = self._logprobs.tolist()
        if any(map(math.isnan, logprobs)):
            raise NotFiniteError
        values = zip(logprobs, self._lengths, self._greedy.tolist(), strict=True)
        return [ContinuationScore(*each) for each in values]
