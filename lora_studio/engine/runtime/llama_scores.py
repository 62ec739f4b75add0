"""Log-likelihoods with llama.cpp: several texts after one prompt, which is evaluated once."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from lora_studio.core.chat import Sampling
from lora_studio.engine.runtime.llama_cpp import BATCH, Llama, LlamaSampler, SequenceToken


@dataclass(frozen=True)
class ScoreRequest:
    """Texts whose log-likelihood after the same tokens is wanted; `before` has at least one token."""

    before: tuple[int, ...]
    targets: tuple[tuple[int, ...], ...]


def score_together(
    llama: Llama,
    requests: Sequence[ScoreRequest],
    *,
    sequences: int,
    check: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, list[float]]]:
    """Yield the index of each request and the log-likelihood of each of its targets, in nats.

    The tokens before the targets belong to one sequence for each target, so they are evaluated once;
    models whose state can't be shared, such as Mamba, evaluate them for each target. `llama` needs
    `sequences`, and room for the longest request. `check` is called before each request and may raise.

    Requests never share a batch, so that a score doesn't depend on the other items of an evaluation.
    Attention adds up in another order where other sequences are in the cache. That changes little in
    16-bit files, but where activations are rounded to 8 bits, as with Q8_0, it changes the rounding:
    scores of the same choices of SmolLM2-135M differed by 0.14 nats on average and by up to 0.4, without
    flash attention by 0.03 and up to 0.3. The first sequence gives the same scores with one token at a
    time as with a whole prompt, so neither the kernels nor the size of a batch are the cause.
    """
    for index, request in enumerate(requests):
        scores: list[float] = []
        for start in range(0, len(request.targets), sequences):
            check()
            targets = request.targets[start : start + sequences]
            scores += _evaluate(llama, ScoreRequest(request.before, targets))
        yield index, scores


@dataclass(frozen=True)
class _Wanted:
    """A token whose probability is wanted at a position of the evaluated tokens."""

    position: int
    target: int
    token: int


def _evaluate(llama: Llama, request: ScoreRequest) -> list[float]:
    """Return the log-likelihood of each target."""
    tokens, wanted = _arrange(request, is_shared=not llama.is_recurrent)
    sums = [0.0] * len(request.targets)
    llama.forget_all()
    following = 0
    for start in range(0, len(tokens), BATCH):
        batch = tokens[start : start + BATCH]
        llama.decode(batch)
        while following < len(wanted) and wanted[following].position < start + len(batch):
            each = wanted[following]
            logits = llama.get_logits(each.position - start)
            sums[each.target] += compute_logprob(logits, each.token)
            following += 1
    return sums


def _arrange(
    request: ScoreRequest, *, is_shared: bool
) -> tuple[list[SequenceToken], list[_Wanted]]:
    """Return the tokens to evaluate, and which probabilities are wanted at them, in order.

    The last token before a target isn't shared: its logits are those of the target's first token.
    """
    wanted: list[_Wanted] = []
    shared = request.before[:-1] if is_shared else ()
    own = tuple(range(len(request.targets)))
    tokens = [SequenceToken(each, at, own) for at, each in enumerate(shared)]
    for target, ids in enumerate(request.targets):
        if not ids:
            continue
        whole = (*request.before[len(shared) :], *ids[:-1])
        first = len(request.before) - len(shared) - 1
        for at, token in enumerate(whole):
            if at >= first:
                wanted.append(_Wanted(len(tokens), target, ids[at - first]))
            tokens.append(SequenceToken(token, len(shared) + at, (target,), at >= first))
    return tokens, wanted


def compute_logprob(logits: np.ndarray, token: int) -> float:
    """Return the log of the softmax at one token."""
    values = logits.astype(np.float64)
    highest = values.max()
    return float(values[token] - highest - math.log(np.exp(values - highest).sum()))


#: Sequences that are evaluated together; one more holds the shared beginning.
SEQUENCES = 8

#: Tokens from which a shared beginning is worth its own evaluation.
_SHORTEST_PREFIX = 16


@dataclass
class _Slot:
    """A sequence that answers a prompt: what is still to be evaluated, and the answer so far."""

    sequence: int
    index: int
    sampler: LlamaSampler
    pending: deque[int]
    position: int
    answer: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class LlamaAnswer:
    """The tokens of an answer without the one that ended it; `ended`: by itself, not at the limit."""

    ids: tuple[int, ...]
    ended: bool


def generate_together(
    llama: Llama,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    end_tokens: Collection[int] = (),
    has_ended: Callable[[int, list[int]], bool] = lambda _index, _ids: False,
    check: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, LlamaAnswer]]:
    """Yield the index of each prompt and its answer, as soon as it is complete.

    `llama` needs SEQUENCES + 1 sequences. An answer ends before a token that ends generation or is in
    `end_tokens`, and after the token with which `has_ended` returns True for the index of its prompt and
    the tokens so far. `check` is called before each evaluation and may raise. An answer of a quantized file can depend on the other prompts (`score_together`).
    """
    order = deque(sorted(range(len(prompts)), key=lambda index: -len(prompts[index])))
    shared = _share_beginning(llama, prompts, check)
    slots: list[_Slot] = []
    free = list(range(1, SEQUENCES + 1))
    try:
        while order or slots:
            while order and free:
                index = order.popleft()
                slots.append(_fill(llama, prompts[index], free.pop(), index, shared, sampling))
            check()
            ready = _evaluate_batch(llama, slots)
            for slot, position in ready:
                ended = _extend(llama, slot, position, end_tokens)
                ended = ended or has_ended(slot.index, slot.answer)
                if ended or len(slot.answer) >= sampling.max_tokens:
                    slot.sampler.close()
                    slots.remove(slot)
                    llama.forget(slot.sequence)
                    free.append(slot.sequence)
                    yield slot.index, LlamaAnswer(tuple(slot.answer), ended)
    finally:
        for slot in slots:
            slot.sampler.close()


def _share_beginning(
    llama: Llama, prompts: Sequence[Sequence[int]], check: Callable[[], None]
) -> int:
    """Evaluate what all prompts begin with as sequence 0; return its number of tokens."""
    for sequence in range(SEQUENCES + 1):
        llama.forget(sequence)
    if len(prompts) < 2 or llama.is_recurrent:
        return 0
    ids = prompts[0]
    shared = min(_count_shared(prompts), min(map(len, prompts)) - 1)
    if shared < _SHORTEST_PREFIX:
        return 0
    for start in range(0, shared, BATCH):
        check()
        part = ids[start : min(start + BATCH, shared)]
        llama.decode([SequenceToken(token, start + step) for step, token in enumerate(part)])
    return shared


def _count_shared(prompts: Sequence[Sequence[int]]) -> int:
    """Return the number of tokens that all prompts begin with."""
    first, last = min(map(list, prompts)), max(map(list, prompts))
    pairs = enumerate(zip(first, last, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(first), len(last)))


def _fill(
    llama: Llama, prompt: Sequence[int], sequence: int, index: int, shared: int, sampling: Sampling
) -> _Slot:
    """Return a slot that begins with the shared tokens of a prompt."""
    if shared:
        llama.copy_beginning(0, sequence, shared)
    sampler = llama.create_sampler(prompt, sampling)
    return _Slot(sequence, index, sampler, deque(prompt[shared:]), shared)


def _evaluate_batch(llama: Llama, slots: Sequence[_Slot]) -> list[tuple[_Slot, int]]:
    """Evaluate the next tokens of all slots, answers before prompts, as many as fit one batch.

    Returns the slots whose next token can be chosen, each with the position of its logits in the batch.
    """
    tokens: list[SequenceToken] = []
    ready: list[tuple[_Slot, int]] = []
    for slot in sorted(slots, key=lambda slot: len(slot.pending)):
        while slot.pending and len(tokens) < BATCH:
            token = slot.pending.popleft()
            is_last = not slot.pending
            if is_last:
                ready.append((slot, len(tokens)))
            tokens.append(SequenceToken(token, slot.position, (slot.sequence,), is_last))
            slot.position += 1
    llama.decode(tokens)
    return ready


def _extend(llama: Llama, slot: _Slot, position: int, end_tokens: Collection[int]) -> bool:
    """Add the next token to an answer, unless it ends the answer; return whether it does."""
    token = slot.sampler.sample(position)
    if llama.is_end_of_generation(token) or token in end_tokens:
        return True
    slot.answer.append(token)
    slot.pending.append(token)
    return False
