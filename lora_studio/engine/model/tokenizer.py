"""A model's tokenizer with the chat template used for training."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tokenizers import AddedToken
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from lora_studio.core import limits
from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.messages import Text, text
from lora_studio.core.problems import InvalidContentError, ProblemError, Where, fail
from lora_studio.core.runs import checksums
from lora_studio.core.system import paths
from lora_studio.engine.model import tokenizer_files  # fmt: skip
from lora_studio.engine.runtime import model_code


def load_tokenizer(
    folder: Path,
    dataset: DatasetSpec | None = None,
    *,
    trust: bool = False,
    new_tokens: Sequence[str] = (),
) -> PreTrainedTokenizerBase:
    """Return the tokenizer with the dataset spec's chat template, a padding token, and new tokens.

    A model without a template gets ChatML, which adds nothing to the vocabulary (see `base_templates`
    for how answers end without the marks of a format). Padding never reaches the loss, which is
    masked by position, so a pad token that is also the end token does no harm. `trust` is the
    project's setting: code of the tokenizer runs only with the user's consent as well. Raises
    ProblemError, also for a folder of a run that has changed since it was written.
    """
    checksums.require_intact_source(folder, with_weights=False)
    is_allowed = model_code.is_allowed(folder, requested=trust)

    def load(source: Path) -> PreTrainedTokenizerBase:
        tokenizer_files.require_loadable(source)
        loaded = AutoTokenizer.from_pretrained(
            source, trust_remote_code=is_allowed, local_files_only=True
        )
        require_bounded(getattr(loaded, "backend_tokenizer", None))
        _try_out(loaded)
        return loaded

    with tokenizer_files.report_damage(folder, load):
        tokenizer = load(folder)
    chosen = dataset.chat_template if dataset is not None else "model"
    if chosen != "model" or not tokenizer.chat_template:
        tokenizer.chat_template = get_template("chatml" if chosen == "model" else chosen, tokenizer)
    tokenizer.padding_side = "right"
    add_tokens(tokenizer, new_tokens)
    return tokenizer


def _try_out(tokenizer: PreTrainedTokenizerBase) -> None:
    """Use a tokenizer once; raises any exception if a part of it is damaged."""
    tokenizer.decode(tokenizer(tokenizer_files.TRIAL)["input_ids"])
    if isinstance(tokenizer.chat_template, dict):
        tokenizer.chat_template = tokenizer.get_chat_template()
    if not isinstance(tokenizer.chat_template, str | None):
        raise TypeError("chat_template isn't a text")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = _pad_token(tokenizer)


def _pad_token(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the vocabulary's padding token, else the end-of-sequence token."""
    vocabulary = tokenizer.get_vocab()
    for token in ("<|finetune_right_pad_id|>", "<pad>", "[PAD]", "<|pad|>", "<|padding|>"):
        if token in vocabulary:
            return token
    return tokenizer.eos_token or next(iter(vocabulary))


# Chat templates for base models: chosen by name and fitted to the tokenizer's vocabulary.
#
# A template's marks help a model only where the vocabulary has them as tokens. New tokens would need
# new rows in the embedding, trained in full and included in every exported file, so none
# are added. What matters is where an answer ends, since that stops the server: at the mark of the
# format if the vocabulary has it, otherwise at the end-of-sequence token, which every server stops
# at. A tokenizer that has neither gets the mark as plain text, with it as a stop string. Marks that
# open a turn may stay plain text: they are only read.
#
# The text begins with the token that the tokenizer itself would put first, if it has one: base models
# were trained with it, and servers add it.

Name = Literal["chatml", "llama3", "gemma", "mistral", "zephyr", "alpaca"]

#: The mark that ends a turn; formats without one of their own end it with the end of the sequence.
_ENDS: dict[str, str] = {
    "chatml": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "gemma": "<end_of_turn>",
    "mistral": "</s>",
    "zephyr": "</s>",
    "alpaca": "</s>",
}
_OWN_MARK = ("chatml", "llama3", "gemma")


def get_template(name: Name, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the source of a chat template, with this tokenizer's begin and end tokens."""
    source = (paths.get_resources_folder() / "chat_templates" / f"{name}.jinja").read_text("utf-8")
    mark = _ENDS[name]
    has_mark = name in _OWN_MARK and mark in tokenizer.get_vocab()
    end = mark if has_mark else str(tokenizer.eos_token or mark)
    source = _set(source, "end", mark, end)
    return _set(source, "begin", "", _get_begin_token(tokenizer))


def _get_begin_token(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the token that the tokenizer puts before every text; "" for none."""
    ids = tokenizer("a").input_ids
    begins = bool(ids) and tokenizer.bos_token_id is not None and ids[0] == tokenizer.bos_token_id
    return str(tokenizer.bos_token) if begins else ""


def _set(source: str, name: str, before: str, value: str) -> str:
    line = f"set {name} = {before!r} "
    assert line in source, f"the template sets no {name}"
    return source.replace(line, f"set {name} = {value!r} ", 1)


# Check the rules of a loaded tokenizer, before the first text is encoded.
#
# A few rules that replace one character by a thousand multiply; tokenizers then allocates memory until
# the process ends. It doesn't check the offsets in a map of characters either. With dropout, a training could
# neither be repeated nor compared with what llama.cpp runs, which has none.

#: Units in a block of a double array, and the bit of a unit that is a position.
_BLOCK, _LEAF = 256, np.uint32(1 << 31)


def require_bounded(backend: Any) -> None:
    """Raise InvalidContentError if a part of a tokenizer of the library tokenizers isn't bounded.

    Nothing is checked for None: other tokenizers have no such rules.
    """
    if backend is None:
        return
    if getattr(backend.model, "dropout", None):
        raise InvalidContentError(
            "its tokenizer splits the same text differently each time (dropout)"
        )
    normalizer = _read_part(backend.normalizer)
    for content in _iter_character_maps(normalizer):
        _check_character_map(content)
    growth = _get_growth(normalizer)
    growth = max(growth, _get_growth(_read_part(backend.decoder)))
    if max(growth, _count_added(_read_part(backend.post_processor))) > limits.TOKENIZER_GROWTH:
        raise InvalidContentError("its tokenizer makes short texts too long")


def _read_part(part: Any) -> dict[str, Any]:
    """Return the settings of a part of a tokenizer, {} if there is none or it is Python code."""
    try:
        state = json.loads(part.__getstate__()) if part is not None else {}
    except Exception:  # parts in Python can't be saved
        return {}
    return state if isinstance(state, dict) else {}


def _get_growth(part: dict[str, Any]) -> float:
    """Return how many characters a normalizer or decoder makes of one, at most."""
    growth = 1.0
    for inner in part.get("normalizers") or part.get("decoders") or ():
        growth *= _get_growth(inner)
    for name in ("content", "prepend"):
        value = part.get(name) if part.get("type") in ("Replace", "Prepend") else None
        if isinstance(value, str):
            growth *= max(1, len(value) + (name == "prepend"))
    return growth


def _count_added(part: dict[str, Any]) -> int:
    """Return how many tokens and copies of a text a post-processor adds to one."""
    count = sum(_count_added(inner) for inner in part.get("processors") or ())
    count += max(len(part.get("single") or ()), len(part.get("pair") or ()))
    tokens = part.get("special_tokens")
    if isinstance(tokens, dict):
        count += sum(len(token.get("ids") or ()) for token in tokens.values())
    return count


def _iter_character_maps(part: dict[str, Any]) -> Iterator[bytes]:
    """Yield the character maps of a normalizer and of those inside it."""
    for inner in part.get("normalizers") or ():
        yield from _iter_character_maps(inner)
    if part.get("type") == "Precompiled" and isinstance(part.get("precompiled_charsmap"), str):
        yield base64.b64decode(part["precompiled_charsmap"])


def _check_character_map(content: bytes) -> None:
    """Raise InvalidContentError if a lookup in a character map of SentencePiece may leave it.

    It has the size of a double array, the array, and the replacements, each ending in a zero byte. The
    array consists of blocks of 256 units; a unit leads to the block at its index XOR its offset, and the
    unit at that place has the position of a replacement if the unit has a leaf (darts-clone).
    """
    damaged = InvalidContentError("the character map of its tokenizer is damaged")
    size = struct.unpack_from("<I", content)[0] if len(content) >= 4 else -1
    if not content:
        return
    if size <= 0 or size % (4 * _BLOCK) or 4 + size > len(content):
        raise damaged
    units, replacements = np.frombuffer(content, "<u4", size // 4, 4), content[4 + size :]
    offsets = (units >> 10) << ((units & (1 << 9)) >> 6)
    targets = np.arange(len(units), dtype=np.uint32) ^ offsets
    is_inner = units < _LEAF  # others are positions
    if np.any(targets[is_inner] >= len(units)):
        raise damaged
    positions = units[targets[is_inner & (units & (1 << 8) != 0)]] & (_LEAF - 1)
    letters = np.frombuffer(replacements, np.uint8)
    if np.any(positions >= len(letters)) or np.any(letters[positions] & 0xC0 == 0x80):
        raise damaged  # beyond the end, or inside a character
    if max(map(len, replacements.split(b"\0"))) > limits.TOKENIZER_GROWTH:
        raise InvalidContentError("its tokenizer makes short texts too long")


# New tokens: a tokenizer and a model get them, with rows of their own in the embedding and the head.
#
# The row of a new token starts as the mean of the rows of the tokens that spelled it before (Hewitt 2021,
# "Initializing New Word Embeddings for Pretrained Language Models", uses the mean of all rows; the mean of the
# parts differs between tokens, and doesn't depend on a random seed).

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
