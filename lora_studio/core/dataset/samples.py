"""What a row becomes whatever its format was: the one form that all later steps take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lora_studio.core.dataset.spec import Message, Task
from lora_studio.core.problems import Problem, Where


class UnusableRow(Exception):  # noqa: N818 - it is a verdict on a row, not an error of the program
    """A row that cannot be trained on; its text is the reason, the same for all such rows."""


def refused(code: str, what: str, remedy: str) -> Problem:
    """A problem of the data as a whole, `code` without the step in front."""
    return Problem(
        code=f"dataset.{code}",
        what=what,
        remedy=remedy,
        where=Where(step="dataset", field="sources"),
    )


@dataclass(frozen=True)
class Sample:
    """One usable row, by task:

    - `sft`: `messages` is the whole conversation.
    - `text`: `text` alone. Where `untrained` is given, the row says itself what of it does not train
      (ranges of characters, end excluded), and it is taken as it is, without marks at its ends.
    - `preference`: `messages` is the common prompt, `chosen` and `rejected` are what may follow it.
    - `kto`: `messages` is the whole conversation, `label` says whether its last answer is good.

    `tools` are function descriptions (JSON Schema) that the chat template shows to the model.
    """

    task: Task
    messages: tuple[Message, ...] = ()
    text: str = ""
    chosen: tuple[Message, ...] = ()
    rejected: tuple[Message, ...] = ()
    label: bool | None = None
    tools: tuple[dict[str, Any], ...] = ()
    untrained: tuple[tuple[int, int], ...] | None = None
