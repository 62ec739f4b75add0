"""Choose the next token of every row of a batch, each with its own random numbers."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence

import torch

from lora_studio.core.chat import Sampling
from lora_studio.engine.devices.devices import copy_to_device
from lora_studio.engine.runtime.failures import NotFiniteError

#: Stands for the token of a row whose logits aren't finite; see `read_tokens`.
_NO_TOKEN = -1


class TokenSampler:
    """Chooses tokens greedily or by sampling.

    The random numbers of a row follow from the seed and its prompt alone, so an answer doesn't depend
    on the batch that it is generated in.
    """

    def __init__(self, sampling: Sampling, prompts: Sequence[Sequence[int]]) -> None:
        """Take the tokens of every prompt; a row is named by its index."""
        self._sampling, self._prompts = sampling, prompts
        self._random: dict[int, random.Random] = {}

    def restart(self, row: int) -> None:
        """Draw the random numbers of a row from the beginning again."""
        self._random.pop(row, None)

    def sample(
        self, logits: torch.Tensor, rows: Sequence[int], answers: Mapping[int, Sequence[int]]
    ) -> torch.Tensor:
        """Return one token for each of `rows` from logits [rows, vocabulary]; pass them to `read_tokens`.

        `answers` are the tokens of each row after its prompt so far.
        """
        scores = logits.float()
        if self._sampling.repetition_penalty != 1:
            scores = self._penalize(
                scores, [sorted({*self._prompts[row], *answers.get(row, ())}) for row in rows]
            )
        greedy = self._sampling.temperature == 0
        return mark_unusable(logits, scores.argmax(-1) if greedy else self._sample(scores, rows))

    def _penalize(self, scores: torch.Tensor, tokens: Sequence[list[int]]) -> torch.Tensor:
        """Return scores with positive ones of each row's earlier tokens divided, negative ones multiplied.

        Keskar et al. 2019. All rows at once: a copy to the GPU for each row would take longer than the model.
        """
        longest = max(map(len, tokens))
        # Rows are filled up with a token of their own, whose score is then written more than once.
        filled = [[*row, *row[:1] * (longest - len(row))] for row in tokens]
        seen = copy_to_device(torch.tensor(filled), scores.device)
        penalty, own = self._sampling.repetition_penalty, scores.gather(1, seen)
        return scores.scatter(1, seen, torch.where(own < 0, own * penalty, own / penalty))

    def _sample(self, scores: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        """Draw from the most likely tokens by inverting their cumulative distribution."""
        sampling = self._sampling
        ordered, tokens = scores.sort(-1, descending=True)
        if sampling.top_k:
            ordered, tokens = ordered[:, : sampling.top_k], tokens[:, : sampling.top_k]
        shares = (ordered / sampling.temperature).softmax(-1)
        before = shares.cumsum(-1) - shares
        allowed = (before < sampling.top_p) & (shares >= sampling.min_p * shares[:, :1])
        allowed[:, 0] = True
        sums = (shares * allowed).cumsum(-1)
        draws = torch.tensor([self._draw(row) for row in rows], dtype=sums.dtype)
        drawn = copy_to_device(draws, sums.device)[:, None] * sums[:, -1:]
        picks = torch.searchsorted(sums, drawn, right=True)
        return tokens.gather(1, picks.clamp(max=allowed.sum(-1, keepdim=True) - 1))[:, 0]

    def _draw(self, row: int) -> float:
        if row not in self._random:
            name = f"{self._sampling.seed} {hash_tokens(self._prompts[row])}"
            self._random[row] = random.Random(name)
        return self._random[row].random()


def find_unusable(logits: torch.Tensor) -> torch.Tensor:
    """Return which rows of logits [rows, vocabulary] have NaN, infinity, or no finite value [rows].

    Single values of minus infinity are tokens that are excluded.
    """
    return ~logits.amax(-1).isfinite()


def mark_unusable(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return tokens [rows] that `read_tokens` refuses if their logits can't be used."""
    return tokens.masked_fill(find_unusable(logits), _NO_TOKEN)


def read_tokens(tokens: torch.Tensor) -> list[int]:
    """Wait for chosen tokens [rows] and return them; raises NotFiniteError."""
    read: list[int] = tokens.tolist()
    require_usable(read)
    return read


def require_usable(tokens: Sequence[int]) -> None:
    """Raise NotFiniteError if a token was chosen from logits that aren't finite."""
    if _NO_TOKEN in tokens:
        raise NotFiniteError


def hash_tokens(tokens: Sequence[int]) -> str:
    """Return a hash of token ids."""
    return hashlib.sha256(" ".join(map(str, tokens)).encode()).hexdigest()
