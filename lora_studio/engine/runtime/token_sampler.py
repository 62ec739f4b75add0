"""Choose the tokens of one of several answers that llama.cpp computes together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class TokenSampler:
    """Chooses the tokens of one answer. Close it: Python doesn't manage its memory."""

    def __init__(self, lib: Any, context: Any, sampler: Any, ids: Sequence[int]) -> None:
        """Take a sampler chain; the prompt's `ids` count for the repetition penalty."""
        self._lib, self._context, self._sampler = lib, context, sampler
        for token in ids:
            lib.llama_sampler_accept(sampler, token)

    def choose(self, index: int) -> int:
        """Return the next token, from the logits of the token at `index` in the last `decode`."""
        return int(self._lib.llama_sampler_sample(self._sampler, self._context, index))

    def close(self) -> None:
        """Free the sampler."""
        self._lib.llama_sampler_free(self._sampler)
