"""New tokens: a tokenizer and a model get them, with rows of their own in the embedding and the head.

The row of a new token starts as the mean of the rows of the tokens that spelled it before (Hewitt 2021,
"Initializing New Word Embeddings for Pretrained Language Models", uses the mean of all rows; the mean of the
parts differs between tokens, and doesn't depend on a random seed).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import AddedToken
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lora_studio.core.messages import Text, text
from lora_studio.core.problems import ProblemError, Where, fail

_WHERE = Where(step="lora", field="new_tokens")


def add_tokens(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> list[list[int]]:
    """Add tokens to a tokenizer; return the IDs that spelled each of them before.

    Raises ProblemError for one that exists already, and for a tokenizer that can't hold one.
    """
    if not tokens:
        return []
    if not tokenizer.is_fast:
        raise _unsupported_error(tokens[0], text("the model has a tokenizer written in Python"))
    spelled = [tokenizer(token, add_special_tokens=False).input_ids for token in tokens]
    for token, ids in zip(tokens, spelled, strict=True):
        is_one = len(ids) == 1 and ids[0] != tokenizer.unk_token_id
        if is_one or token in tokenizer.get_vocab():
            raise fail(
                "lora.token_exists",
                "{token} is already a token of the model.",
                "Remove it from the new tokens. To train its row too, train embed_tokens in full.",
                where=_WHERE,
                token=token,
            )
    # Not special: an answer keeps its new tokens when special ones are left out of it.
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in tokens])
    for token in tokens:
        found = tokenizer(f"a{token}b", add_special_tokens=False).input_ids
        if found.count(tokenizer.convert_tokens_to_ids(token)) != 1:
            raise _unsupported_error(token, text("the model's tokenizer still splits it"))
    return spelled


def extend(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]
) -> dict[int, list[int]]:
    """Add new tokens to a tokenizer and its model, and set their rows.

    Returns the ID of each, with the IDs that spelled it before. Raises ProblemError for tokens, a tokenizer or a model that can't be extended.
    """
    spelled = add_tokens(tokenizer, tokens)
    ids = [int(tokenizer.convert_tokens_to_ids(token)) for token in tokens]
    if not ids:
        return {}
    layers = [model.get_input_embeddings(), model.get_output_embeddings()]
    if any(not _has_plain_rows(layer) for layer in layers):
        reason = text("the model's embedding or output layer has no rows of plain numbers")
        raise _unsupported_error(tokens[0], reason)
    grow(model, max(ids) + 1)
    with torch.no_grad():
        for weight in list_row_weights(model):
            if weight.device.type != "meta":
                rows = [weight[parts].float().mean(0) for parts in spelled]
                weight[ids] = torch.stack(rows).to(weight)
    return dict(zip(ids, spelled, strict=True))


def grow(model: PreTrainedModel, rows: int) -> None:
    """Give embedding and output layer at least a number of rows; additional ones are zero."""
    before = len(list_row_weights(model)[0])
    if rows <= before:
        return
    model.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        for weight in list_row_weights(model):
            weight[before:] = 0


def list_trained_rows(
    model: PreTrainedModel, token_ids: Sequence[int]
) -> list[int] | dict[str, list[int]]:
    """Return the rows to train as PEFT takes them: a list where the head shares the embedding's rows."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if head.weight is embedding.weight:
        return list(token_ids)
    names = {id(module): name for name, module in model.named_modules()}
    return {names[id(layer)].rpartition(".")[2]: list(token_ids) for layer in (embedding, head)}


def _has_plain_rows(layer: Any) -> bool:
    weight = getattr(layer, "weight", None)
    return isinstance(weight, torch.Tensor) and weight.is_floating_point() and weight.dim() == 2


def list_row_weights(model: PreTrainedModel) -> list[torch.Tensor]:
    """Return the weights with a row per token: of the embedding, and of the head if that has its own."""
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    return [embedding] if head is embedding else [embedding, head]


def _unsupported_error(token: str, reason: Text) -> ProblemError:
    return fail(
        "lora.token_unsupported",
        "The new token {token} can't be added: {reason}.",
        "Remove the new tokens, or choose another model.",
        where=_WHERE,
        token=token,
        reason=reason,
    )
