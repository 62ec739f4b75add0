"""A model's tokenizer with the chat template used for training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.runs import checksums
from lora_studio.engine.model import (
    base_templates,
    tokenizer_bounds,
    tokenizer_files,
    vocabulary,
)  # fmt: skip
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
        tokenizer_bounds.require_bounded(getattr(loaded, "backend_tokenizer", None))
        _try_out(loaded)
        return loaded

    with tokenizer_files.report_damage(folder, load):
        tokenizer = load(folder)
    chosen = dataset.chat_template if dataset is not None else "model"
    if chosen != "model" or not tokenizer.chat_template:
        tokenizer.chat_template = base_templates.get_template(
            "chatml" if chosen == "model" else chosen, tokenizer
        )
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
