"""Texts that a model turns into vectors: tokens between those that mark a text's beginning and its end."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import processors
from transformers import PreTrainedTokenizerBase

from lora_studio.core.problems import Where, fail
from lora_studio.core.tasks.samples import Sample

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class TextEdges:
    """The token IDs before and after a text. After it there is at least the end-of-sequence token."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    def find(cls, tokenizer: PreTrainedTokenizerBase) -> TextEdges:
        """Return what a tokenizer adds to a text itself, with the end-of-sequence token if it adds no end."""
        plain = tokenizer("a", add_special_tokens=False).input_ids
        whole = tokenizer("a").input_ids
        starts = [
            at for at in range(len(whole)) if plain and whole[at : at + len(plain)] == plain
        ] or [0]
        before, after = whole[: starts[0]], whole[starts[0] + len(plain) :]
        if not after and tokenizer.eos_token_id is not None:
            after = [tokenizer.eos_token_id]
        return cls(tuple(before), tuple(after))

    def add(self, ids: Ids) -> Ids:
        """Return a text's tokens between its edges."""
        return np.concatenate([self.before, ids, self.after]).astype(np.int32)


@dataclass(frozen=True)
class EncodedSearchPair:
    """A query, the text that it should find, and one that it should not; all are ids [length] int32."""

    query: Ids
    positive: Ids
    negative: Ids | None = None

    @property
    def tokens(self) -> int:
        """Return the number of tokens of all texts."""
        return sum(
            len(ids) for ids in (self.query, self.positive, self.negative) if ids is not None
        )


def list_texts(sample: Sample) -> tuple[str, str, str]:
    """Return the query, the text to find and, empty if there is none, the text not to find."""
    negative = sample.rejected[0].content if sample.rejected else ""
    return sample.messages[-1].content, sample.chosen[0].content, negative


def truncate(ids: Ids, limit: int) -> Ids:
    """Return at most `limit` tokens, with the last one of the text, which is its end token."""
    if len(ids) <= limit:
        return np.array(ids, np.int32)
    return np.concatenate([ids[: limit - 1], ids[-1:]]).astype(np.int32)


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
