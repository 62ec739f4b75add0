"""New tokens in a merge: rows that replace those of the embedding and the head, which may need more of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lora_studio.core import limits
from lora_studio.core.messages import Text, text
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.lora.adapter_files import Adapter, TrainedRows
from lora_studio.engine.merging.deltas import RowsDelta
from lora_studio.engine.merging.weight_sources import GrownTensor, WeightSource

_HEAD = "lm_head.weight"


def require_one_vocabulary(merged: Sequence[Adapter]) -> None:
    """Raise ProblemError where the merged model can't have the new tokens of all adapters."""
    with_tokens = [adapter for adapter in merged if adapter.rows]
    if with_tokens and (len(with_tokens) > 1 or with_tokens[0] is not merged[0]):
        raise new_tokens_error(
            with_tokens[-1].folder,
            text("only the first adapter can have new tokens, because its tokenizer is used"),
        )
    if with_tokens and with_tokens[0].weight != 1.0:
        raise new_tokens_error(
            with_tokens[0].folder,
            text("the rows of new tokens can't be weighted"),
        )


def new_tokens_error(folder: Path, reason: Text) -> ProblemError:
    """Return the error for an adapter with new tokens that can't be used with others or weighted."""
    return fail(
        "merging.new_tokens",
        "The new tokens of the adapter in {folder} can't be used: {reason}.",
        "Use this adapter as the first one with a weight of 1, and no other adapter with new tokens.",
        where=Where(step="merging", file=str(folder)),
        folder=str(folder),
        reason=reason,
    )


def plan_rows(
    adapter: Adapter,
    rows: dict[str, TrainedRows],
    sources: dict[str, WeightSource],
    settings: dict[str, Any],
) -> dict[str, RowsDelta]:
    """Return the updates with an adapter's rows, by weight; enlarge those weights in `sources`.

    A head that is stored with the embedding's values, because the model ties them, gets the same rows.
    """
    if not rows:
        return {}
    rows = dict(rows)
    if _HEAD in sources and _HEAD not in rows:
        shared = next(iter(rows.values()))
        is_tied = settings.get("tie_word_embeddings", False)
        rows[_HEAD] = shared if is_tied else replace(shared, indices=())
    length = max(1 + max(each.indices, default=-1) for each in rows.values())
    updates = {}
    for name, each in rows.items():
        source = sources[name]
        if length > source.length + limits.ADDED_TOKENS:
            reason = text("the ID of a new token is far beyond the model's vocabulary")
            raise adapter_files.foreign_adapter_error(adapter.folder, reason)
        if length > source.length:
            sources[name] = GrownTensor(source, length)
        if each.indices:
            updates[name] = RowsDelta(each.indices, each.stored, sources[name].length)
    return updates
