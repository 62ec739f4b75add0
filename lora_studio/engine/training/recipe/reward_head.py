"""The head of a reward model: a linear layer that maps the last hidden state of a row to its score.

It has the name and place that it has in transformers' models for sequence classification, and PEFT saves
it with the adapter as a fully trained module. So PEFT loads both into such a model with `num_labels=1`.
"""

from __future__ import annotations

import torch
from peft import TaskType
from peft.utils import ModulesToSaveWrapper

from lora_studio.core.problems import Where, fail
from lora_studio.core.protocol import events
from lora_studio.core.training.recipe_checks import only_scores_warning
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.lora import attach
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.training.kernels.output_head import find_decoder

NAME = "score"

#: Of the initial weights: transformers' `initializer_range` of nearly all models.
STANDARD_DEVIATION = 0.02


def attach_reward_head(tuned: AdaptedModel, seed: int, job: JobContext) -> None:
    """Add a randomly initialized head, which trains with the adapter; emits Warned and ParametersCounted.

    Raises ProblemError for a model or an adapter that can't have one.
    """
    _require_suitable(tuned)
    base, wrapped = tuned.base.model, tuned.model
    head = torch.nn.Linear(base.config.get_text_config().hidden_size, 1, bias=False)
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
    job.emit(attach.count_parameters(wrapped))
    job.emit(events.Warned(problem=only_scores_warning()))


def _require_suitable(tuned: AdaptedModel) -> None:
    """Raise ProblemError for a model or an adapter that can't have a head."""
    base = tuned.base.model
    if tuned.initial_adapter is not None:
        raise fail(
            "training.reward_changes_base",
            "A reward model can't be trained with an initialization that changes the base weights.",
            "Use the default initialization.",
            where=Where(step="lora", field="init"),
        )
    if tuned.base.new_tokens:
        raise fail(
            "training.reward_new_tokens",
            "A reward model can't be trained with new tokens.",
            "Remove the new tokens.",
            where=Where(step="lora", field="new_tokens"),
        )
    if find_decoder(base) is None or hasattr(base, NAME):
        raise fail(
            "training.reward_unsupported",
            "{architecture} can't be trained as a reward model.",
            "Choose another model, or another preference method.",
            where=Where(step="training", field="preference"),
            architecture=type(base).__name__,
        )
