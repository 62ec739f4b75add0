"""Generate answers in batches: shared beginnings are computed once, and a finished row leaves its batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerBase,
    masking_utils,
)
from transformers.cache_utils import Cache

from lora_studio.core.chat import Sampling
from lora_studio.engine.devices.devices import copy_to_device
from lora_studio.engine.generation import prefix_cache
from lora_studio.engine.generation.prefix_cache import PrefixGroup
from lora_studio.engine.generation.token_sampling import TokenSampler, read_tokens
from lora_studio.engine.generation.turn_boundaries import (
    CancelCriteria,
    TurnEndCriteria,
    create_turn_end_criteria,
)
from lora_studio.engine.model.loading import release_gpu
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import is_out_of_memory

#: Rows answered at once on a CPU and on a GPU, and the tokens that they may have in all. A device whose
#: memory runs out gets half as many, unless every rank answers.
_CPU_ROWS, _GPU_ROWS = 16, 64
_CPU_TOKENS, _GPU_TOKENS = 1 << 14, 1 << 17


@dataclass(frozen=True)
class GeneratedAnswer:
    """An answer without its end. `finished`: it ended by itself, not at the token limit."""

    text: str
    tokens: int
    finished: bool


def generate_batch(
    network: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    sampling: Sampling,
    job: JobContext,
    *,
    stops: Sequence[Sequence[str]] = (),
    add_special_tokens: bool = False,
    in_step: bool = False,
) -> Iterator[tuple[int, GeneratedAnswer]]:
    """Yield the index of each prompt and its answer, as soon as it is complete.

    A prompt gets the same answer as alone, up to rounding: sampling depends on the seed and the prompt
    only. An answer also ends before any of its texts in `stops`, and where the model's context is full.
    `in_step`: every rank answers, because each holds a part of the weights. Raises CancelledError,
    PausedError, and what the model raises.
    """
    encoded = tokenizer(list(prompts), add_special_tokens=add_special_tokens).input_ids if prompts else []  # fmt: skip
    start = get_start_token(tokenizer)
    ids = [list(row) or [start] for row in encoded]
    end = create_turn_end_criteria(tokenizer, network.generation_config.eos_token_id)
    work = _Work(network, tokenizer, ids, end, stops, sampling, job)
    if in_step or (window := prefix_cache.find_window(network)) is None:
        yield from _generate_by_transformers(work, in_step)
        return
    for group in work.group(window):
        prefix = _compute_prefix(work, group)
        for rows in work.iter_batches(group):
            yield from _decode(work, prefix, group.length, rows)


@dataclass
class _Work:
    """Prompts to answer, and their answers so far."""

    network: Any
    tokenizer: PreTrainedTokenizerBase
    prompts: Sequence[list[int]]
    end: TurnEndCriteria
    stops: Sequence[Sequence[str]]
    sampling: Sampling
    job: JobContext
    answers: dict[int, list[int]] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.sampler = TokenSampler(self.sampling, self.prompts)
        stops = self.stops or [()] * len(self.prompts)
        self.texts = [tuple(filter(None, (self.end.text, *each))) for each in stops]
        self.context = prefix_cache.get_context_length(self.network)
        is_cpu = self.network.device.type == "cpu"
        self.most_rows = _CPU_ROWS if is_cpu else _GPU_ROWS
        self.most_tokens = _CPU_TOKENS if is_cpu else _GPU_TOKENS

    def group(self, window: float) -> list[PrefixGroup]:
        """Return groups of prompts with a shared beginning, without one where a window is too short.

        Padding follows the beginning; inside a sliding window it would displace tokens.
        """
        groups = []
        for group in prefix_cache.group_by_prefix(self.prompts):
            longest = max(len(self.prompts[row]) for row in group.rows) + self.sampling.max_tokens
            groups.append(group if longest <= window else PrefixGroup(group.rows, 0))
        return groups

    def iter_batches(self, group: PrefixGroup) -> Iterator[list[int]]:
        """Yield batches of a group's rows, the longest first; they get smaller when memory runs out."""
        pending = sorted(group.rows, key=lambda row: -len(self.prompts[row]))
        while pending:
            longest = len(self.prompts[pending[0]]) + min(self.sampling.max_tokens, 1024)
            count = max(1, min(self.most_rows, self.most_tokens // longest))
            yield pending[:count]
            pending = [row for row in pending if row not in self.done]

    def halve(self, rows: Sequence[int]) -> None:
        """Start the answers of a batch that ran out of memory again, in smaller batches."""
        self.most_rows = max(1, len(rows) // 2)
        for row in rows:
            self.answers.pop(row, None)
            self.sampler.restart(row)
        release_gpu()

    def add(self, row: int, token: int) -> GeneratedAnswer | None:
        """Add a token to an answer; return the answer if it is complete."""
        answer = self.answers.setdefault(row, [])
        is_end = token in self.end.ids
        if not is_end:
            answer.append(token)
        is_full = len(answer) >= self.sampling.max_tokens
        is_full = is_full or len(self.prompts[row]) + len(answer) > self.context
        if not (is_end or is_full or self._has_stop(row, answer)):
            return None
        return self.finish(row, is_end=is_end)

    def _has_stop(self, row: int, answer: list[int]) -> bool:
        """Return whether the last token completed a text that ends the answer."""
        texts = self.texts[row]
        if not texts:
            return False
        longest = max(map(len, texts))
        tail = self.tokenizer.decode(answer[-4 * longest - 4 :], skip_special_tokens=True)
        return any(stop in tail for stop in texts)

    def finish(self, row: int, *, is_end: bool = False) -> GeneratedAnswer:
        """Return the answer of a row, up to the first text that ends it."""
        self.done.add(row)
        ids = self.answers.pop(row, [])
        text = whole = self.tokenizer.decode(ids, skip_special_tokens=True)
        for stop in self.texts[row]:
            text = text.partition(stop)[0]
        is_cut = text != whole
        count = (
            len(self.tokenizer(text, add_special_tokens=False).input_ids) if is_cut else len(ids)
        )
        return GeneratedAnswer(text, count, is_end or is_cut)


def get_start_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the token that stands for an empty prompt."""
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0


def _compute_prefix(work: _Work, group: PrefixGroup) -> Cache:
    """Return the cache of the beginning that a group shares, one row."""
    cache = prefix_cache.create_cache(work.network)
    if group.length:
        ids = work.prompts[group.rows[0]][: group.length]
        compute_logits(work.network, torch.tensor([ids]), cache, keep=1)
    return cache


def _decode(
    work: _Work, prefix: Cache, shared: int, rows: list[int]
) -> Iterator[tuple[int, GeneratedAnswer]]:
    """Answer a batch of rows after their shared beginning; fewer rows come out if memory runs out."""
    started = [*rows]
    try:
        cache = prefix_cache.select(prefix, len(rows))
        ids, mask = pad_left([work.prompts[row][shared:] for row in rows], shared)
        while True:
            logits = compute_logits(work.network, ids, cache, mask=mask, keep=1)[:, -1]
            work.job.check()
            kept = []
            tokens = read_tokens(work.sampler.sample(logits, rows, work.answers))
            for position, (row, token) in enumerate(zip(rows, tokens, strict=True)):
                if (answer := work.add(row, token)) is None:
                    kept.append(position)
                else:
                    yield row, answer
            if not kept:
                return
            if len(kept) < len(rows):
                rows = [rows[position] for position in kept]
                mask = mask[kept]
                cache.batch_select_indices(copy_to_device(torch.tensor(kept), logits.device))
            ids = torch.tensor([[work.answers[row][-1]] for row in rows])
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], 1)
    except Exception as error:  # its traceback keeps tensors until the block ends
        if not is_out_of_memory(error) or len(started) == 1:
            raise
    work.halve(started)


def pad_left(rows: Sequence[Sequence[int]], shared: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids [rows, longest] and the attention mask [rows, shared + longest] of padded rows.

    Positions follow from the mask, so padding takes none.
    """
    longest = max(map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), shared + longest, dtype=torch.long)
    mask[:, :shared] = 1
    for index, row in enumerate(rows):
        ids[index, longest - len(row) :] = torch.tensor(row)
        mask[index, shared + longest - len(row) :] = 1
    return ids, mask


# Not in inference mode: tensors that a model caches, such as rotations, could not train later.
@torch.no_grad()
def compute_logits(
    network: Any,
    ids: torch.Tensor,
    cache: Cache,
    *,
    mask: torch.Tensor | None = None,
    keep: int = 0,
) -> torch.Tensor:
    """Return logits [rows, positions, vocabulary] of ids [rows, positions] after the cached tokens.

    `mask` covers the cached tokens, too; None: there is no padding. `keep`: only the last positions, 0
    for all.
    """
    device = network.device
    is_padded = mask is not None and not bool(mask.all())
    if mask is None or not is_padded:
        begin = cache.get_seq_length()
        positions = torch.arange(begin, begin + ids.shape[1]).expand(len(ids), -1)
        mask = None
    else:
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    with skip_mask_checks(is_padded=is_padded):
        return network(
            input_ids=copy_to_device(ids, device),
            attention_mask=None if mask is None else copy_to_device(mask, device),
            position_ids=copy_to_device(positions, device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=keep,
        ).logits


# --- models whose states can't be reused ------------------------------------------------------


class SampledToken(LogitsProcessor):
    """Makes transformers' greedy search take the tokens of a `TokenSampler`."""

    def __init__(self, sampler: TokenSampler, rows: Sequence[int], prompt_tokens: int) -> None:
        """Take the rows of a batch, whose prompts have equally many tokens."""
        self._sampler, self._rows, self._begin = sampler, rows, prompt_tokens
        self._tokens = torch.zeros(len(rows), dtype=torch.long)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores of which only those of the chosen tokens are finite."""
        self.require_usable()
        answers = dict(zip(self._rows, input_ids[:, self._begin :].tolist(), strict=True))
        self._tokens = self._sampler.sample(scores, self._rows, answers)
        chosen = self._tokens.clamp(min=0)[:, None].to(scores.device)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen, 0.0)

    def require_usable(self) -> None:
        """Raise NotFiniteError for the last tokens, which `generate` has waited for since."""
        read_tokens(self._tokens)


def _generate_by_transformers(work: _Work, in_step: bool) -> Iterator[tuple[int, GeneratedAnswer]]:
    """Answer by transformers' own loop, in batches of equally long prompts: nothing is padded."""
    by_length: dict[int, list[int]] = {}
    for row, prompt in enumerate(work.prompts):
        by_length.setdefault(len(prompt), []).append(row)
    for length in sorted(by_length, reverse=True):
        for rows in work.iter_batches(PrefixGroup(tuple(by_length[length]), 0)):
            answers = _try_generate(work, rows, length, in_step)
            for row, ids in zip(rows, answers, strict=False):  # none if memory ran out
                yield row, _cut(work, row, ids)


def _try_generate(work: _Work, rows: Sequence[int], length: int, in_step: bool) -> list[list[int]]:
    """Return the answers to equally long prompts; none if memory runs out: batches are smaller then."""
    try:
        return _call_generate(work, rows, length, in_step)
    except Exception as error:  # its traceback keeps tensors until the block ends
        if not is_out_of_memory(error) or len(rows) == 1 or in_step:
            raise
    work.halve(rows)
    return []


@torch.no_grad()
def _call_generate(work: _Work, rows: Sequence[int], length: int, in_step: bool) -> list[list[int]]:
    prompts = torch.tensor([work.prompts[row] for row in rows], device=work.network.device)
    stops = set(work.texts[rows[0]]).intersection(*(work.texts[row] for row in rows))
    settings = GenerationConfig(
        max_new_tokens=max(1, min(work.sampling.max_tokens, work.context - length + 1)),
        do_sample=False,
        eos_token_id=list(work.end.ids) or None,
        pad_token_id=work.tokenizer.pad_token_id,
        stop_strings=list(stops) or None,
    )
    sampled_token = SampledToken(work.sampler, rows, length)
    outputs = work.network.generate(
        input_ids=prompts,
        attention_mask=torch.ones_like(prompts),
        generation_config=settings,
        tokenizer=work.tokenizer,
        logits_processor=LogitsProcessorList([sampled_token]),
        stopping_criteria=[CancelCriteria(work.job)],
        synced_gpus=in_step,
    )
    sampled_token.require_usable()
    return outputs[:, length:].tolist()


def _cut(work: _Work, row: int, ids: list[int]) -> GeneratedAnswer:
    """Return the answer in a row of `generate`; what follows its end is padding."""
    for token in ids:
        if (answer := work.add(row, token)) is not None:
            return answer
    return work.finish(row)


def _find_no_packed_rows(_: torch.Tensor) -> None:
    return None


def _read_no_values(_: object = None) -> bool:
    return True


@contextmanager
def use_mask(mask: torch.Tensor, device: torch.device) -> Iterator[torch.Tensor | None]:
    """Yield an attention mask on a device for a forward pass, None where nothing is padded.

    `mask` [rows, tokens] is in main memory, 1 where there is a token.
    """
    is_padded = not bool(mask.all())
    with skip_mask_checks(is_padded=is_padded):
        yield copy_to_device(mask, device) if is_padded else None


@contextmanager
def skip_mask_checks(*, is_padded: bool) -> Iterator[None]:
    """Wrap a forward pass of rows that aren't packed, or whose attention keeps them apart itself.

    WORKAROUND: transformers leaves out a mask that hides nothing, and finds packed rows by their positions. Both
    read values from the device, which has to finish all its work first, in every pass. The answers given here
    are those for rows that aren't packed, and, with padding, those that it gives while it traces a model.
    """
    answers: dict[str, Callable[..., object]] = {
        "find_packed_sequence_indices": _find_no_packed_rows
    }
    if is_padded:
        answers["is_tracing"] = _read_no_values
    originals = {name: getattr(masking_utils, name, None) for name in answers}
    for name, answer in answers.items():
        setattr(masking_utils, name, answer)
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(masking_utils, name, original)
