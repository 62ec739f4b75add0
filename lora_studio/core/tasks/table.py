"""All tasks by name."""

from __future__ import annotations

from collections.abc import Mapping

from lora_studio.core.tasks.classification import ClassificationTask
from lora_studio.core.tasks.embedding import EmbeddingTask
from lora_studio.core.tasks.grpo import RewardTask
from lora_studio.core.tasks.preference import LabeledAnswerTask, PreferenceTask
from lora_studio.core.tasks.supervised import ConversationTask, TextTask
from lora_studio.core.tasks.task import Task

TASKS: Mapping[str, Task] = {
    "sft": ConversationTask(),
    "text": TextTask(),
    "preference": PreferenceTask(),
    "kto": LabeledAnswerTask(),
    "grpo": RewardTask(),
    "embedding": EmbeddingTask(),
    "classification": ClassificationTask(),
}
