"""Supervised fine-tuning on conversations, and continued pre-training on plain text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from lora_studio.core.tasks.samples import Sample
from lora_studio.core.tasks.task import Task, Turns


class ConversationTask(Task):
    """Learn the answers of conversations."""

    title: ClassVar[str] = "conversations (supervised fine-tuning)"
    is_supervised: ClassVar[bool] = True


class TextTask(Task):
    """Learn every token of documents."""

    title: ClassVar[str] = "plain text"
    is_document: ClassVar[bool] = True
    is_supervised: ClassVar[bool] = True
    takes_system_prompt: ClassVar[bool] = False

    def iter_conversations(self, sample: Sample) -> Iterator[Turns]:
        """Yield nothing: a document has no turns."""
        yield from ()
