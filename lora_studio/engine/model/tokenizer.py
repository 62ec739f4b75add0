"""A model's tokenizer with the chat template used for training."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.messages import text
from lora_studio.core.model import remote_code
from lora_studio.engine.model import base_templates
from lora_studio.engine.model.folder import unreadable_model_error


def load_tokenizer(
    folder: Path, dataset: DatasetSpec | None = None, *, trust: bool = False
) -> PreTrainedTokenizerBase:
    """Return the tokenizer with the dataset spec's chat template and a padding token.

    A model without a template gets ChatML. Nothing is added to the vocabulary (see `base_templates`
    for how answers end without the marks of a format). Padding never reaches the loss, which is
    masked by position, so a pad token that is also the end token does no harm. `trust` is the
    project's setting: code of the tokenizer runs only with the user's consent as well.
    """
    is_allowed = remote_code.is_allowed(folder, requested=trust)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=is_allowed, local_files_only=True
        )
    except (ValueError, KeyError, OSError, ImportError, TypeError) as error:
        reason = (str(error).strip().split("\n")[0] or type(error).__name__)[:300]
        raise unreadable_model_error(
            folder, text("its tokenizer can't be loaded ({reason})", reason=reason)
        ) from error
    chosen = dataset.chat_template if dataset is not None else "model"
    if chosen != "model" or not tokenizer.chat_template:
        tokenizer.chat_template = base_templates.get_template(
            "chatml" if chosen == "model" else chosen, tokenizer
        )
    elif isinstance(tokenizer.chat_template, dict):
        tokenizer.chat_template = tokenizer.get_chat_template()
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = _pad_token(tokenizer)
    tokenizer.padding_side = "right"
    return tokenizer


def _pad_token(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the vocabulary's padding token, else the end-of-sequence token."""
    vocabulary = tokenizer.get_vocab()
    for token in ("<|finetune_right_pad_id|>", "<pad>", "[PAD]", "<|pad|>", "<|padding|>"):
        if token in vocabulary:
            return token
    return tokenizer.eos_token or next(iter(vocabulary))
