"""The form that every row is converted to, and the reason why a row can't be used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lora_studio.core.messages import Template, Text, fill, listed, text
from lora_studio.core.problems import Problem, Where, error, warning

#: The training task: supervised conversations, plain text, pairs of a better and a worse answer,
#: answers labeled good or bad, prompts that the model answers for rewards, queries with the text to find, or
#: texts with labels.
TaskName = Literal["sft", "text", "preference", "kto", "grpo", "embedding", "classification"]
Role = Literal["system", "user", "assistant", "tool"]


class UnusableKind(StrEnum):
    """The kinds of reasons that callers treat differently."""

    CONTENT = "content"
    EMPTY = "empty"
    NO_ANSWER = "no_answer"
    NO_PREFERENCE = "no_preference"
    MEDIA = "media"
    TEMPLATE = "template"
    LENGTH = "length"


class UnusableRow(Exception):  # noqa: N818 - it is a verdict on a row, not an error of the program
    """A row that can't be trained on.

    `reason` completes the sentence "Row 5 is skipped: …". Rows are counted by reason, so its values
    must not be particular to one row.
    """

    def __init__(
        self,
        reason: Template | Text,
        kind: UnusableKind = UnusableKind.CONTENT,
        **values: Any,
    ) -> None:
        """Store the reason: a template with `values` for its fields."""
        self.reason = fill(reason, values)
        self.kind = kind
        super().__init__(self.reason)


_SOURCES = Where(step="dataset", field="sources")


def dataset_error(
    code: str, what: Template | Text, remedy: Template | Text, **values: Any
) -> Problem:
    """Return an error about the data as a whole; `code` omits the step."""
    return error(f"dataset.{code}", what, remedy, where=_SOURCES, **values)


def dataset_warning(
    code: str, what: Template | Text, remedy: Template | Text, **values: Any
) -> Problem:
    """Return a warning about the data as a whole; `code` omits the step."""
    return warning(f"dataset.{code}", what, remedy, where=_SOURCES, **values)


def quote_names(names: Iterable[str], joint: str = "and") -> Text:
    """Return names in quotation marks as one phrase: “a”, “b” and “c”."""
    return listed([text("“{name}”", name=name) for name in names], joint)


class ToolCall(BaseModel):
    """One call of a tool in an assistant's turn; `arguments` by name."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    id: str = ""


class Message(BaseModel):
    """One turn of a conversation; every row is converted to messages first.

    `thinking` is the reasoning before an answer, separate from its `content`. `name` is the name of
    the tool in a tool's turn. `untrained` are character ranges of the content, end excluded, that
    do not train although the answer does.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    role: Role
    content: str
    trained: bool = False
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    name: str = ""
    untrained: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Sample:
    """One usable row, by task:

    - `sft`: `messages` is the whole conversation.
    - `text`: only `text` is set. `untrained` are the character ranges (end excluded) that the row
      itself excludes from training; such a text is used unchanged, without tokens added at its
      ends.
    - `preference`: `messages` is the shared prompt, `chosen` and `rejected` are its continuations.
    - `kto`: `messages` is the whole conversation, `label` says whether its last answer is good.
    - `grpo`: `messages` is the prompt; `reference` is the expected answer if the row has one, and
      `columns` are its further columns as text.
    - `embedding`: `messages` is the query, `chosen` the text to find, and `rejected`, if there is one, a text
      that must not be found.
    - `classification`: `messages` is the text as a question, and its label as the answer.

    `tools` are function descriptions (JSON Schema) that the chat template shows to the model.
    """

    task: TaskName
    messages: tuple[Message, ...] = ()
    text: str = ""
    chosen: tuple[Message, ...] = ()
    rejected: tuple[Message, ...] = ()
    label: bool | None = None
    tools: tuple[dict[str, Any], ...] = ()
    untrained: tuple[tuple[int, int], ...] | None = None
    reference: str | None = None
    columns: tuple[tuple[str, str], ...] = ()

    @property
    def conversation(self) -> tuple[Message, ...]:
        """Return the messages, of a prompt with its expected answer."""
        if not self.reference:
            return self.messages
        return (*self.messages, Message(role="assistant", content=self.reference))


def iter_texts(sample: Sample) -> Iterator[str]:
    """Yield every text in the row that a person wrote or reads."""
    if sample.text:
        yield sample.text
    for message in sample.messages + sample.chosen + sample.rejected:
        yield message.content
        if message.thinking:
            yield message.thinking
