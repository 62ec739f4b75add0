"""Answer many prompts with llama.cpp at once: a sequence that ends makes room for the next prompt."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lora_studio.engine.runtime.llama_cpp import BATCH, Llama, SequenceToken
from lora_studio.engine.runtime.token_sampler import TokenSampler

#: Sequences that are evaluated together; one more holds the shared beginning.
SEQUENCES = 8

#: Tokens from which a shared beginning is worth its own evaluation.
_SHORTEST_PREFIX = 16


@dataclass
class _Slot:
    """A sequence that answers a prompt: what is still to be evaluated, and the answer so far."""

    sequence: int
    index: int
    sampler: TokenSampler
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
    *,
    max_tokens: int,
    end_tokens: Collection[int] = (),
    has_ended: Callable[[int, list[int]], bool] = lambda _index, _ids: False,
    check: Callable[[], None] = lambda: None,
    **sampling: Any,
) -> Iterator[tuple[int, LlamaAnswer]]:
    """Yield the index of each prompt and its answer, as soon as it is complete.

    `llama` needs SEQUENCES + 1 sequences. An answer ends before a token that ends generation or is in
    `end_tokens`, and after the token with which `has_ended` returns True for the index of its prompt and
    the tokens so far. `check` is called before each evaluation and may raise. `sampling` are other arguments
    of `Llama.generate`. An answer of a quantized file can depend on the other prompts (`score_together`).
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
            ready = _evaluate(llama, slots)
            for slot, position in ready:
                ended = _extend(llama, slot, position, end_tokens)
                ended = ended or has_ended(slot.index, slot.answer)
                if ended or len(slot.answer) >= max_tokens:
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
    llama: Llama, prompt: Sequence[int], sequence: int, index: int, shared: int, sampling: Any
) -> _Slot:
    """Return a slot that begins with the shared tokens of a prompt."""
    if shared:
        llama.copy_beginning(0, sequence, shared)
    sampler = llama.create_sampler(prompt, **sampling)
    return _Slot(sequence, index, sampler, deque(prompt[shared:]), shared)


def _evaluate(llama: Llama, slots: Sequence[_Slot]) -> list[tuple[_Slot, int]]:
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
    token = slot.sampler.choose(position)
    if llama.is_end_of_generation(token) or token in end_tokens:
        return True
    slot.answer.append(token)
    slot.pending.append(token)
    return False
