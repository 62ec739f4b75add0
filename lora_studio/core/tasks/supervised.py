"""Supervised fine-tuning on conversations, and continued pre-training on plain text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from lora_studio.core.messages import Template
from lora_studio.core.tasks.samples import Sample, TaskName
from lora_studio.core.tasks.task import Task, Turns


class ConversationTask(Task):
    """Learn the answers of conversations."""

    name: ClassVar[TaskName] = "sft"
    title: ClassVar[str] = "conversations (supervised fine-tuning)"
    contents: ClassVar[Template] = "{file} has conversations"
    imitates_answers: ClassVar[bool] = True
    is_supervised: ClassVar[bool] = True


class TextTask(Task):
    """Learn every token of documents."""

    name: ClassVar[TaskName] = "text"
    title: ClassVar[str] = "plain text"
    contents: ClassVar[Template] = "{file} contains plain text"
    headings: ClassVar[tuple[Template, Template]] = ("Text", "")
    is_document: ClassVar[bool] = True
    is_rendered: ClassVar[bool] = False
    is_supervised: ClassVar[bool] = True
    takes_system_prompt: ClassVar[bool] = False

    def iter_conversations(self, sample: Sample) -> Iterator[Turns]:
        """Yield nothing: a document has no turns."""
        yield from ()
