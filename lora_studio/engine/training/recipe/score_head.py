"""The head of a reward model or a classifier: a linear layer over the last hidden state of a row.

It has the name and place that it has in transformers' models for sequence classification, and PEFT saves
it with the adapter as a fully trained module. So PEFT loads both into such a model with as many labels.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import TaskType
from peft.utils import ModulesToSaveWrapper
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PreTrainedConfig

from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.system.files import name_newest_file
from lora_studio.core.training.recipe_checks import (
    changed_base_error,
    no_classifier_error,
    unused_tokens_error,
)
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.kernels.chunked_logprobs import find_decoder

NAME = "score"

#: Of the initial weights: transformers' `initializer_range` of nearly all models.
STANDARD_DEVIATION = 0.02


def attach_reward_head(tuned: AdaptedModel, seed: int) -> None:
    """Add the head of a reward model, which trains with the adapter.

    Raises ProblemError for a model or an adapter that can't have one.
    """
    _require_suitable(tuned, is_reward_model=True)
    _attach_head(tuned, 1, seed)


def attach_classifier(tuned: AdaptedModel, labels: Sequence[str], seed: int) -> None:
    """Add the head of a classifier, which trains with the adapter.

    Raises ProblemError for a model or an adapter that can't have one.
    """
    _require_suitable(tuned, is_reward_model=False)
    _attach_head(tuned, len(labels), seed)
    tuned.labels = tuple(labels)


def write_classifier_config(tuned: AdaptedModel, folder: Path) -> None:
    """Write transformers' configuration of the classifier: the base's, with labels and the padding token.

    PEFT doesn't save it, and the labels are nowhere else in an adapter.
    """
    base = tuned.base
    write_config(base.model.config, tuned.labels, base.tokenizer.pad_token_id, folder)


def write_config(
    base_config: PreTrainedConfig, labels: Sequence[str], pad_token_id: int | None, folder: Path
) -> None:
    """Write transformers' configuration of a classifier on a base model."""
    config = copy.deepcopy(base_config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    config.architectures = [MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)].__name__]
    # The label of a text is read at its last token that isn't padding.
    config.pad_token_id = pad_token_id
    with name_newest_file(folder):
        config.save_pretrained(folder)


def _attach_head(tuned: AdaptedModel, outputs: int, seed: int) -> None:
    """Add a randomly initialized layer that trains in full."""
    base, wrapped = tuned.base.model, tuned.model
    head = torch.nn.Linear(base.config.get_text_config().hidden_size, outputs, bias=False)
    torch.manual_seed(seed)
    torch.nn.init.normal_(head.weight, std=STANDARD_DEVIATION)
    head.to(base.get_output_embeddings().weight.device)
    wrapper = ModulesToSaveWrapper(head, "default")
    # The base has no head: one copy in memory and in the counts.
    wrapper.original_module = torch.nn.Identity()
    wrapper.set_adapter("default")
    base.add_module(NAME, wrapper)
    config = wrapped.peft_config["default"]
    config.modules_to_save = [*(config.modules_to_save or ()), NAME]
    config.task_type = TaskType.SEQ_CLS


def require_plain_base(tuned: AdaptedModel) -> None:
    """Raise ProblemError for a base that is changed or has new tokens, which a model without its output layer
    can't have.
    """
    if tuned.initial_adapter is not None:
        raise ProblemError(changed_base_error())
    if tuned.base.new_tokens:
        raise ProblemError(unused_tokens_error())


def _require_suitable(tuned: AdaptedModel, *, is_reward_model: bool) -> None:
    """Raise ProblemError for a model or an adapter that can't have a head."""
    base = tuned.base.model
    require_plain_base(tuned)
    if is_reward_model and _is_unknown(base):
        raise fail(
            "training.reward_unsupported",
            "{architecture} can't be trained as a reward model.",
            "Choose another model, or another preference method.",
            where=Where(step="training", field="preference"),
            architecture=type(base).__name__,
        )
    if not is_reward_model and not can_classify(base):
        raise ProblemError(no_classifier_error(type(base).__name__))


def can_classify(base: torch.nn.Module) -> bool:
    """Return whether a model that writes text can be a classifier, and transformers can load it as one."""
    return not _is_unknown(base) and _has_classifier(base)


def _is_unknown(base: torch.nn.Module) -> bool:
    return find_decoder(base) is None or hasattr(base, NAME)


def _has_classifier(base: Any) -> bool:
    """Return whether transformers has a classifier whose layers have the names that they have in the base."""
    if type(base.config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        return False
    kind = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(base.config)]
    with torch.device("meta"):
        classifier = kind(copy.deepcopy(base.config))
    head = getattr(classifier, NAME, None)
    is_linear = isinstance(head, torch.nn.Linear) and head.bias is None
    return is_linear and classifier.base_model_prefix == base.base_model_prefix
