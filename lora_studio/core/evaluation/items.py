"""One item of a test set: a prompt, and what an answer is compared with."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from lora_studio.core.tasks.samples import Message

#: The name under which the scores of items are stored that name a metric of their own.
OWN_METRIC = "correct"


class EvaluationItem(BaseModel):
    """A prompt and what an answer to it is compared with; also one line of `items.jsonl`.

    `messages` is the prompt, () for a plain text whose perplexity alone is measured: the text is the
    `reference` then. `reference` is the expected answer, None if the test set has none. `choices` are
    the possible answers of a multiple-choice question, and `correct` is the position of the right one.
    `context` and `choices` of a benchmark that isn't a chat are scored as raw text: `raw_prompt` is its
    prompt, used without a chat template, after BOS if the model has one. `metric` names the metric of this item alone,
    such as "regex:^\\d+$", for sets whose items are judged differently; "" for those of the evaluation.
    An answer also ends before any text in `stops`.
    `test_set` is the key of its test set, `category` a group within it, such as "arithmetic"; `source`
    and `row` say where it comes from, `row` counted from 1.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore")

    id: str
    test_set: str = ""
    messages: tuple[Message, ...] = ()
    raw_prompt: str | None = None
    reference: str | None = None
    choices: tuple[str, ...] = ()
    correct: int | None = None
    category: str = ""
    metric: str = Field("", validation_alias=AliasChoices("metric", "measure"))
    source: str = ""
    row: int | None = None
    tools: tuple[dict[str, Any], ...] = ()
    stops: tuple[str, ...] = ()

    @property
    def is_text(self) -> bool:
        """Whether the item is a plain text, of which only the perplexity can be measured."""
        return not self.messages and self.raw_prompt is None

    @property
    def question(self) -> str:
        """The last turn of the prompt, as a table shows it."""
        if self.messages:
            return self.messages[-1].content
        return self.raw_prompt if self.raw_prompt is not None else self.reference or ""


def create_item(
    *,
    test_set: str,
    messages: Sequence[Message] = (),
    raw_prompt: str | None = None,
    reference: str | None = None,
    choices: Sequence[str] = (),
    **facts: Any,
) -> EvaluationItem:
    """Return an item whose ID is a digest of what is asked and expected.

    So the same question has the same ID in every evaluation, and two runs can be compared by it.
    """
    content = [
        [message.model_dump(mode="json", exclude_defaults=True) for message in messages],
        raw_prompt,
        reference,
        list(choices),
    ]
    plain = json.dumps([test_set, content], ensure_ascii=False, sort_keys=True)
    digest = hashlib.sha256(plain.encode("utf-8", "replace")).hexdigest()[:16]
    return EvaluationItem(
        id=digest,
        test_set=test_set,
        messages=tuple(messages),
        raw_prompt=raw_prompt,
        reference=reference,
        choices=tuple(choices),
        **facts,
    )


#: A line with a choice and its label: "A. …", "(B) …", "3) …".
_CHOICE_LINE = re.compile(r"\(?([A-Z]|\d{1,2})[.):] ?\S")


def find_choices(question: str, reference: str) -> tuple[str, ...]:
    """Return the choices that the lines at the end of a question list, if the reference is one of them.

    Rows of multiple-choice datasets are converted to this form. () for any other question.
    """
    lines: list[str] = []
    for line in reversed(question.rstrip().splitlines()):
        if not _CHOICE_LINE.match(line):
            break
        lines.insert(0, line.rstrip())
    labels = [match[1] for line in lines if (match := _CHOICE_LINE.match(line))]
    is_list = len(lines) > 1 and len(set(labels)) == len(lines) and labels[0] in ("A", "0", "1")
    return tuple(lines) if is_list and reference.strip() in lines else ()


def make_ids_unique(items: Sequence[EvaluationItem]) -> list[EvaluationItem]:
    """Return the items with "-2", "-3" … added to the IDs of repeated questions."""
    seen: dict[str, int] = {}
    unique = []
    for item in items:
        count = seen[item.id] = seen.get(item.id, 0) + 1
        unique.append(item if count == 1 else item.model_copy(update={"id": f"{item.id}-{count}"}))
    return unique
