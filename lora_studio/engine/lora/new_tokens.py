"""The new tokens of a trained adapter: the tokenizer and the model of its base get them before it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lora_studio.core import limits
from lora_studio.core.messages import text
from lora_studio.core.problems import Where, fail
from lora_studio.core.system.foreign_files import read_json
from lora_studio.engine.lora.adapter_files import foreign_adapter_error
from lora_studio.engine.model.tokenizer import add_tokens, grow, list_row_weights


def add_adapter_tokens(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Add the new tokens of an adapter, if it has any, to the tokenizer of its base model.

    Raises ProblemError if they don't get the IDs that their rows have.
    """
    tokens = read_new_tokens(folder)
    add_tokens(tokenizer, tokens)
    ids = [tokenizer.convert_tokens_to_ids(token) for token in tokens]
    if ids != list_trained_ids(_read_settings(folder)):
        raise foreign_adapter_error(folder, text("its new tokens have other IDs in this tokenizer"))


def grow_for_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Give a model the rows of the new tokens that an adapter brings, which set their values."""
    ids = list_trained_ids(_read_settings(folder))
    if not ids:
        return
    if max(ids) >= len(list_row_weights(model)[0]) + limits.ADDED_TOKENS:
        reason = text("the ID of a new token is far beyond the model's vocabulary")
        raise foreign_adapter_error(folder, reason)
    grow(model, max(ids) + 1)


def read_new_tokens(folder: Path) -> tuple[str, ...]:
    """Return the new tokens of an adapter in the order of their IDs; () if it has none."""
    ids = list_trained_ids(_read_settings(folder))
    if not ids:
        return ()
    try:
        added = read_json(folder / "tokenizer.json")["added_tokens"]
        contents = {int(entry["id"]): str(entry["content"]) for entry in added}
        return tuple(contents[index] for index in ids)
    except (OSError, ValueError, KeyError, TypeError):
        raise fail(
            "lora.tokens_unknown",
            "The adapter in {folder} trained new tokens, but its tokenizer doesn't contain them.",
            "Copy tokenizer.json next to the adapter, as training saved it.",
            where=Where(step="merging", file=str(folder)),
            folder=str(folder),
        ) from None


def list_trained_ids(config: dict[str, Any]) -> list[int]:
    """Return the IDs of the tokens whose rows an adapter with these settings trained, in their order."""
    trained = config.get("trainable_token_indices") or ()
    lists = trained.values() if isinstance(trained, dict) else (trained,)
    return sorted({int(index) for indices in lists for index in indices})


def _read_settings(folder: Path) -> dict[str, Any]:
    try:
        config = read_json(folder / "adapter_config.json")
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}
