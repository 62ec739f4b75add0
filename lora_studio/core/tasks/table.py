"""All tasks by name."""

from __future__ import annotations

from collections.abc import Mapping

from lora_studio.core.tasks.classification import ClassificationTask
from lora_studio.core.tasks.embedding import EmbeddingTask
from lora_studio.core.tasks.grpo import RewardTask
from lora_studio.core.tasks.preference import LabeledAnswerTask, PreferenceTask
from lora_studio.core.tasks.supervised import ConversationTask, TextTask
from lora_studio.core.tasks.task import Task

_ALL: tuple[Task, ...] = (
    ConversationTask(),
    TextTask(),
    PreferenceTask(),
    LabeledAnswerTask(),
    RewardTask(),
    EmbeddingTask(),
    ClassificationTask(),
)
TASKS: Mapping[str, Task] = {task.name: task for task in _ALL}
