"""Log-likelihoods with llama.cpp: several texts after one prompt, which is evaluated once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lora_studio.engine.runtime.llama_cpp import BATCH, Llama, SequenceToken


@dataclass(frozen=True)
class ScoreRequest:
    """Texts whose log-likelihood after the same tokens is wanted; `before` has at least one token."""

    before: tuple[int, ...]
    targets: tuple[tuple[int, ...], ...]

    @property
    def tokens(self) -> int:
        """The number of tokens to evaluate, if what comes before is evaluated once."""
        return len(self.before) + sum(map(len, self.targets))


@dataclass(frozen=True)
class _Part:
    """Targets of a request that are evaluated together; `first` is the number of the first one."""

    index: int
    first: int
    before: tuple[int, ...]
    targets: tuple[tuple[int, ...], ...]

    def count_tokens(self, *, is_shared: bool) -> int:
        """Return the number of tokens to evaluate."""
        beginnings = 1 if is_shared else len(self.targets)
        return len(self.before) * beginnings + sum(map(len, self.targets))


def score_together(
    llama: Llama,
    requests: Sequence[ScoreRequest],
    *,
    sequences: int,
    check: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, list[float]]]:
    """Yield the index of each request and the log-likelihood of each of its targets, in nats.

    As many requests as fit into a batch are evaluated at once. The tokens before the targets belong to
    one sequence for each target, so they are evaluated once; models whose state can't be shared, such
    as Mamba, evaluate them for each target. `llama` needs `sequences`, and room for BATCH tokens or
    the longest request. `check` is called before each batch and may raise.
    """
    is_shared = not llama.is_recurrent
    scores = [[0.0] * len(request.targets) for request in requests]
    missing = [len(_split(index, request, sequences)) for index, request in enumerate(requests)]
    for group in _group(requests, sequences, is_shared=is_shared):
        check()
        for part, values in zip(group, _evaluate(llama, group, is_shared=is_shared), strict=True):
            scores[part.index][part.first : part.first + len(values)] = values
            missing[part.index] -= 1
            if not missing[part.index]:
                yield part.index, scores[part.index]


def _split(index: int, request: ScoreRequest, sequences: int) -> list[_Part]:
    """Return a request in parts that have a sequence for each target; one part without targets."""
    starts = range(0, max(1, len(request.targets)), sequences)
    return [
        _Part(index, start, request.before, request.targets[start : start + sequences])
        for start in starts
    ]


def _group(
    requests: Sequence[ScoreRequest], sequences: int, *, is_shared: bool
) -> Iterator[list[_Part]]:
    """Yield parts that fit into one batch; a part that is longer than a batch is alone."""
    group: list[_Part] = []
    tokens = used = 0
    for index, request in enumerate(requests):
        for part in _split(index, request, sequences):
            count = part.count_tokens(is_shared=is_shared)
            if group and (tokens + count > BATCH or used + len(part.targets) > sequences):
                yield group
                group, tokens, used = [], 0, 0
            group.append(part)
            tokens, used = tokens + count, used + len(part.targets)
    if group:
        yield group


@dataclass(frozen=True)
class _Wanted:
    """A token whose probability is wanted at a position of the evaluated tokens."""

    position: int
    part: int
    target: int
    token: int


def _evaluate(llama: Llama, group: Sequence[_Part], *, is_shared: bool) -> list[list[float]]:
    """Return the log-likelihood of each target of each part."""
    tokens, wanted = _arrange(group, is_shared=is_shared)
    sums = [[0.0] * len(part.targets) for part in group]
    llama.forget_all()
    following = 0
    for start in range(0, len(tokens), BATCH):
        batch = tokens[start : start + BATCH]
        llama.decode(batch)
        while following < len(wanted) and wanted[following].position < start + len(batch):
            each = wanted[following]
            logits = llama.get_logits(each.position - start)
            sums[each.part][each.target] += compute_logprob(logits, each.token)
            following += 1
    return sums


def _arrange(
    group: Sequence[_Part], *, is_shared: bool
) -> tuple[list[SequenceToken], list[_Wanted]]:
    """Return the tokens to evaluate, and which probabilities are wanted at them, in order.

    The last token before a target isn't shared: its logits are those of the target's first token.
    """
    tokens: list[SequenceToken] = []
    wanted: list[_Wanted] = []
    sequence = 0
    for number, part in enumerate(group):
        shared = part.before[:-1] if is_shared else ()
        own = tuple(range(sequence, sequence + len(part.targets)))
        sequence += len(own)
        if own:
            tokens += [SequenceToken(each, at, own) for at, each in enumerate(shared)]
        for target, ids in enumerate(part.targets):
            if not ids:
                continue
            whole = (*part.before[len(shared) :], *ids[:-1])
            first = len(part.before) - len(shared) - 1
            for at, token in enumerate(whole):
                if at >= first:
                    wanted.append(_Wanted(len(tokens), number, target, ids[at - first]))
                position = len(shared) + at
                tokens.append(SequenceToken(token, position, (own[target],), at >= first))
    return tokens, wanted


def compute_logprob(logits: np.ndarray, token: int) -> float:
    """Return the log of the softmax at one token."""
    values = logits.astype(np.float64)
    highest = values.max()
    return float(values[token] - highest - math.log(np.exp(values - highest).sum()))
