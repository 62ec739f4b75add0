"""Sample several answers to each prompt at once; the answers to a prompt share its computation."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers import PreTrainedTokenizerBase
from transformers.cache_utils import Cache

from lora_studio.engine.devices.devices import copy_to_device
from lora_studio.engine.generation import prefix_cache
from lora_studio.engine.generation.batched import compute_logits, pad_left
from lora_studio.engine.generation.direct_decoder import DirectDecoder
from lora_studio.engine.generation.token_sampling import mark_unusable, require_usable
from lora_studio.engine.generation.turn_boundaries import (
    TurnEndCriteria,
    create_turn_end_criteria,
)


@dataclass(frozen=True)
class GroupSampling:
    """How answers are sampled; temperature 0 takes the likeliest token.

    `rows` is the number of answers that are written at once, `seed` names the random numbers.
    """

    answers: int
    max_tokens: int
    rows: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: str = ""


@dataclass(frozen=True)
class SampledText:
    """One answer: its tokens with the end, its text without. `ended`: by itself, not at the token limit."""

    ids: tuple[int, ...]
    text: str
    ended: bool


def can_sample_groups(network: Any) -> bool:
    """Return whether the answers to a prompt can share its cache."""
    return prefix_cache.find_window(network) is not None


@torch.no_grad()
def sample_groups(
    network: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    sampling: GroupSampling,
    check: Callable[[int], None],
    positions: Sequence[int] | None = None,
    *,
    directly: bool = False,
    sync_tokens: Callable[[list[int]], list[int]] = list,
) -> list[list[SampledText]]:
    """Return `sampling.answers` answers to each prompt, which are token ids.

    An answer depends on the seed, the position of its prompt, and its number in the group; how many are
    written at once changes only rounding. `positions` are those of the prompts in the whole step, if others
    write answers to the rest of it. `check` is called for each token with the number of complete
    answers, and may raise. `directly` uses `DirectDecoder`, which has to fit the network. `sync_tokens` gets the
    next token of each answer and returns the ones to take: processes that compute each token together, from
    parts of the weights, need the same ones.
    """
    work = _Work(network, tokenizer, prompts, sampling, check, positions)
    work.directly, work.sync_tokens = directly, sync_tokens
    for numbers in work.iter_batches():
        _write_answers(work, numbers)
    return [
        [work.finish(prompt, copy) for copy in range(sampling.answers)]
        for prompt in range(len(prompts))
    ]


#: A prompt and the number of an answer to it.
_Name = tuple[int, int]


class _Work:
    """The answers so far, by prompt and number."""

    def __init__(
        self,
        network: Any,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[Sequence[int]],
        sampling: GroupSampling,
        check: Callable[[int], None],
        positions: Sequence[int] | None = None,
    ) -> None:
        self.positions = range(len(prompts)) if positions is None else positions
        self.network, self.tokenizer, self.prompts = network, tokenizer, prompts
        self.sampling, self.check = sampling, check
        self.directly = False
        self.sync_tokens: Callable[[list[int]], list[int]] = list
        self.end: TurnEndCriteria = create_turn_end_criteria(
            tokenizer, network.generation_config.eos_token_id
        )
        self.context = prefix_cache.get_context_length(network)
        self.answers: dict[_Name, list[int]] = {}
        self.ended: set[_Name] = set()
        self.complete = 0
        self._random: dict[_Name, random.Random] = {}

    def iter_batches(self) -> Iterator[list[_Name]]:
        """Yield the answers that are written together: whole groups where they fit, similar prompts first."""
        order = sorted(range(len(self.prompts)), key=lambda prompt: -len(self.prompts[prompt]))
        names = [(prompt, copy) for prompt in order for copy in range(self.sampling.answers)]
        size = self.sampling.rows
        if size > self.sampling.answers:
            size -= size % self.sampling.answers
        for begin in range(0, len(names), size):
            yield names[begin : begin + size]

    def draw(self, name: _Name) -> float:
        """Return the next random number of an answer, 0 to 1."""
        if name not in self._random:
            prompt, copy = self.positions[name[0]], name[1]
            self._random[name] = random.Random(f"{self.sampling.seed} {prompt} {copy}")
        return self._random[name].random()

    def add(self, name: _Name, token: int) -> bool:
        """Add a token to an answer; return whether it is complete."""
        answer = self.answers.setdefault(name, [])
        answer.append(token)
        if token in self.end.ids or (self.end.text and self._has_end_text(answer)):
            self.ended.add(name)
        elif len(answer) < self._count_most_tokens(name):
            return False
        self.complete += 1
        return True

    def _count_most_tokens(self, name: _Name) -> int:
        return min(self.sampling.max_tokens, self.context - len(self.prompts[name[0]]))

    def _has_end_text(self, answer: list[int]) -> bool:
        tail = answer[-4 * len(self.end.text) - 4 :]
        return self.end.text in self.tokenizer.decode(tail, skip_special_tokens=True)

    def finish(self, prompt: int, copy: int) -> SampledText:
        """Return an answer with its text."""
        ids = self.answers[prompt, copy]
        content = ids[:-1] if ids[-1] in self.end.ids else ids
        decoded = self.tokenizer.decode(content, skip_special_tokens=True)
        return SampledText(tuple(ids), self.end.cut(decoded)[0], (prompt, copy) in self.ended)


class _Decoder(Protocol):
    """Computes the logits of answers that are written together, token by token."""

    def compute_logits(self, tokens: Sequence[int]) -> torch.Tensor:
        """Add a token to each row; return the logits after it [rows, vocabulary]."""
        ...

    def keep(self, positions: Sequence[int]) -> None:
        """Continue these rows only."""
        ...


class _ModelDecoder:
    """Decodes by the model itself, with a copy of its prompt for each row."""

    def __init__(
        self, network: Any, prompts: Cache, mask: torch.Tensor, rows: torch.Tensor
    ) -> None:
        self._network, self._mask = network, mask[rows]
        self._cache = prefix_cache.select(prompts, copy_to_device(rows, network.device))

    def compute_logits(self, tokens: Sequence[int]) -> torch.Tensor:
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], 1)
        ids = torch.tensor(tokens)[:, None]
        return compute_logits(self._network, ids, self._cache, mask=self._mask, keep=1)[:, -1]

    def keep(self, positions: Sequence[int]) -> None:
        kept = torch.tensor(positions)
        self._mask = self._mask[kept]
        self._cache.batch_select_indices(copy_to_device(kept, self._network.device))


def _write_answers(work: _Work, names: list[_Name]) -> None:
    """Write answers together, after computing each of their prompts once."""
    used = list(dict.fromkeys(prompt for prompt, _ in names))
    cache, logits, mask = _compute_prompts(work, [work.prompts[prompt] for prompt in used])
    rows = torch.tensor([used.index(prompt) for prompt, _ in names])
    decoder: _Decoder
    if work.directly:
        decoder = DirectDecoder(work.network, cache, mask, rows.tolist())
    else:
        decoder = _ModelDecoder(work.network, cache, mask, rows)
    logits = logits[copy_to_device(rows, logits.device)]
    while True:
        work.check(work.complete)
        tokens = work.sync_tokens(_choose(work, logits, names).tolist())
        require_usable(tokens)
        kept = [
            position
            for position, (name, token) in enumerate(zip(names, tokens, strict=True))
            if not work.add(name, token)
        ]
        if not kept:
            return
        if len(kept) < len(names):
            names = [names[position] for position in kept]
            decoder.keep(kept)
        logits = decoder.compute_logits([work.answers[name][-1] for name in names])


def _compute_prompts(
    work: _Work, prompts: Sequence[Sequence[int]]
) -> tuple[Cache, torch.Tensor, torch.Tensor]:
    """Return the cache of prompts, the logits after each [prompts, vocabulary], and their mask."""
    cache = prefix_cache.create_cache(work.network)
    ids, mask = pad_left(prompts, 0)
    logits = compute_logits(work.network, ids, cache, mask=mask, keep=1)[:, -1]
    return cache, logits, mask


def _choose(work: _Work, logits: torch.Tensor, names: Sequence[_Name]) -> torch.Tensor:
    """Return a token for each answer, by inverting the cumulative distribution."""
    sampling = work.sampling
    if sampling.temperature == 0:
        return mark_unusable(logits, logits.argmax(-1))
    shares = (logits.float() / sampling.temperature).softmax(-1)
    if sampling.top_p < 1:
        ordered, tokens = shares.sort(-1, descending=True)
        before = ordered.cumsum(-1) - ordered
        ordered = ordered.masked_fill(before >= sampling.top_p, 0.0)
        shares = torch.zeros_like(shares).scatter_(1, tokens, ordered)
    sums = shares.cumsum(-1)
    draws = copy_to_device(torch.tensor([work.draw(name) for name in names]), sums.device)
    picks = torch.searchsorted(sums, draws[:, None] * sums[:, -1:], right=True)
    # Rounding may lead past the last token with a share.
    picks = picks.clamp(max=(shares > 0).cumsum(-1).argmax(-1, keepdim=True))[:, 0]
    return mark_unusable(logits, picks)
