"""Classification: its objective, and the head that classifiers and reward models have.

The head is a linear layer over the last hidden state of a row. It has the name and place that it has in
transformers' models for sequence classification, and PEFT saves it with the adapter as a fully trained module. So
PEFT loads both into such a model with as many labels.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from peft import TaskType
from peft.utils import ModulesToSaveWrapper
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PreTrainedConfig

from lora_studio.core.problems import ProblemError
from lora_studio.core.system.files import name_newest_file
from lora_studio.core.tasks.classification import ACCURACY, weigh_classes
from lora_studio.core.training.recipe_checks import (
    changed_base_error,
    no_classifier_error,
    unused_tokens_error,
)
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.devices.devices import copy_to_device
from lora_studio.engine.devices.ranks import ProcessGroup
from lora_studio.engine.kernels.chunked_logprobs import find_decoder
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.tasks.task import Loss, Objective, TaskTraining
from lora_studio.engine.tokens.batches import Batch, collate
from lora_studio.engine.tokens.encoder import EncodedClassified

#: The name of the head: that in transformers' models for sequence classification.
SCORE_HEAD = "score"

#: Of the initial weights: transformers' `initializer_range` of nearly all models.
HEAD_DEVIATION = 0.02


class ClassificationTraining(TaskTraining):
    """Learn the labels of texts."""

    def create_objective(
        self,
        spec: TrainingSpec,
        logprob_model: LogprobModel,
        ranks: ProcessGroup,
        label_counts: Sequence[int],
    ) -> Objective:
        """Return the objective with the weights of labels."""
        return Classification(logprob_model, weigh_classes(label_counts, spec.class_weights))

    def attach_head(self, spec: TrainingSpec, tuned: AdaptedModel, labels: Sequence[str]) -> None:
        """Add the head of a classifier; raises ProblemError for a model or an adapter that can't have one."""
        attach_classifier(tuned, labels, spec.seed)


class Classification(Objective):
    """Sequence classification: w_c · (−log softmax(z)_c), z the scores of all labels and c the row's.

    The scores are a linear layer over the hidden state of the last token, in 32-bit, as transformers' models for
    sequence classification read them. With weights w, the loss is divided by the number of rows, not by the sum of
    their weights, which is the same over an epoch of balanced weights.
    """

    def __init__(self, logprob_model: LogprobModel, weights: Sequence[float]) -> None:
        super().__init__(logprob_model)
        self._weights = torch.tensor(weights)

    def compute_loss(self, rows: Sequence[EncodedClassified]) -> Loss:
        """Return the loss in nats, summed over rows, and which labels are predicted."""
        scores = self.score(rows)
        labels = copy_to_device(torch.tensor([row.label for row in rows]), scores.device)
        weights = copy_to_device(self._weights, scores.device)
        loss = F.cross_entropy(scores, labels, weights, reduction="sum")
        predicted = scores.detach().argmax(1)
        measured = Loss(loss, {ACCURACY: (predicted == labels).sum()})
        if not torch.is_grad_enabled():  # an evaluation
            size = scores.shape[1]
            # Not bincount, which waits for a GPU to know the largest value.
            counts = labels.new_zeros(size * size)
            counts.index_add_(0, labels * size + predicted, torch.ones_like(labels))
            measured.confusion = counts.view(size, size)
        return measured

    def score(self, rows: Sequence[EncodedClassified]) -> torch.Tensor:
        """Return the scores of all labels, [rows, labels] float32."""
        return compute_scores(self.logprob_model, collate([row.text for row in rows]))


def compute_scores(logprob_model: LogprobModel, batch: Batch) -> torch.Tensor:
    """Return the outputs of the head at the last token of each row, [rows, outputs] float32."""
    hidden = logprob_model.compute_last_states(batch)
    head: Any = logprob_model.base.get_submodule(SCORE_HEAD)
    with torch.autocast(hidden.device.type, enabled=False):
        scores: torch.Tensor = head(hidden.to(head.weight.device).float())
    return scores


def attach_classifier(tuned: AdaptedModel, labels: Sequence[str], seed: int) -> None:
    """Add the head of a classifier, which trains with the adapter.

    Raises ProblemError for a model or an adapter that can't have one.
    """
    require_plain_base(tuned)
    if not can_classify(tuned.base.model):
        raise ProblemError(no_classifier_error(type(tuned.base.model).__name__))
    attach_head(tuned, len(labels), seed)
    tuned.labels = tuple(labels)


def write_config(
    base_config: PreTrainedConfig, labels: Sequence[str], pad_token_id: int | None, folder: Path
) -> None:
    """Write transformers' configuration of a classifier: the base's, with labels and the padding token.

    PEFT doesn't save it, and the labels are nowhere else in an adapter.
    """
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


def attach_head(tuned: AdaptedModel, outputs: int, seed: int) -> None:
    """Add a randomly initialized layer that trains in full."""
    base, wrapped = tuned.base.model, tuned.model
    head = torch.nn.Linear(base.config.get_text_config().hidden_size, outputs, bias=False)
    torch.manual_seed(seed)
    torch.nn.init.normal_(head.weight, std=HEAD_DEVIATION)
    head.to(base.get_output_embeddings().weight.device)
    wrapper = ModulesToSaveWrapper(head, "default")
    # The base has no head: one copy in memory and in the counts.
    wrapper.original_module = torch.nn.Identity()
    wrapper.set_adapter("default")
    base.add_module(SCORE_HEAD, wrapper)
    config = wrapped.peft_config["default"]
    config.modules_to_save = [*(config.modules_to_save or ()), SCORE_HEAD]
    config.task_type = TaskType.SEQ_CLS


def require_plain_base(tuned: AdaptedModel) -> None:
    """Raise ProblemError for a base that is changed or has new tokens, which a model without its output layer
    can't have.
    """
    if tuned.initial_adapter is not None:
        raise ProblemError(changed_base_error())
    if tuned.base.new_tokens:
        raise ProblemError(unused_tokens_error())


def has_place_for_head(base: Any) -> bool:
    """Return whether a model's last hidden states are known, and it has no head of this name."""
    return find_decoder(base) is not None and not hasattr(base, SCORE_HEAD)


def can_classify(base: Any) -> bool:
    """Return whether a model that writes text can be a classifier, and transformers can load it as one."""
    if not has_place_for_head(base):
        return False
    if type(base.config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        return False
    # Its layers must have the names that they have in the base.
    kind = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(base.config)]
    with torch.device("meta"):
        classifier = kind(copy.deepcopy(base.config))
    head = getattr(classifier, SCORE_HEAD, None)
    is_linear = isinstance(head, torch.nn.Linear) and head.bias is None
    return is_linear and classifier.base_model_prefix == base.base_model_prefix
