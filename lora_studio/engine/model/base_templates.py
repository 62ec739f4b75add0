"""Chat templates for base models: chosen by name and fitted to the tokenizer's vocabulary.

A template's marks help a model only where the vocabulary has them as tokens. New tokens would need
new rows in the embedding, trained in full and included in every exported file, so none
are added. What matters is where an answer ends, since that stops the server: at the mark of the
format if the vocabulary has it, otherwise at the end-of-sequence token, which every server stops
at. A tokenizer that has neither gets the mark as plain text, with it as a stop string. Marks that
open a turn may stay plain text: they are only read.

The text begins with the token that the tokenizer itself would put first, if it has one: base models
were trained with it, and servers add it.
"""

from __future__ import annotations

from typing import Literal

from transformers import PreTrainedTokenizerBase

from lora_studio.core.system import paths

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
