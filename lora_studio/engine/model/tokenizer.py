"""A model's tokenizer with the chat template used for training."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from lora_studio.core import limits
from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.problems import InvalidContentError
from lora_studio.core.runs import checksums
from lora_studio.core.system import paths
from lora_studio.engine.model import tokenizer_files, vocabulary  # fmt: skip
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
    vocabulary.add_tokens(tokenizer, new_tokens)
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
