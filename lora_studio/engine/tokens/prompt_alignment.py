"""Locate the start of an answer in a text that differs slightly from the prompt for the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lora_studio.core.dataset.spec import Message
from lora_studio.engine.tokens.chat_format import count_common_prefix

#: The form of a special mark, even if the tokenizer doesn't have it.
MARK = re.compile(r"\s*(?:<[^<>\s]{1,60}>|\[/?[A-Z_]{2,30}\])")


def find_answer_start(prompt: str, text: str, question: Message) -> int | None:
    """Return where an answer starts if prompt and text differ only after the question; else None.

    A template may open a thinking block in the prompt that it omits from the finished turn.
    """
    question_text = question.content.strip()
    behind = prompt.rfind(question_text) + len(question_text)
    if question_text not in prompt or not text.startswith(prompt[:behind]):
        return None
    return _end_of_header(prompt[behind:], text, behind)


def find_answer_start_in_round(
    prompt: str, text: str, turns: Sequence[Message], index: int, begin: int
) -> int | None:
    """Return where an answer after a tool result starts if only the calls of its round differ; else
    None.

    A template may put an empty thinking block before the calls until the user speaks again.
    """
    users = [turn.content.strip() for turn in turns[:index] if turn.role == "user"]
    result = turns[index - 1].content.strip()
    if turns[index - 1].role != "tool" or not result or not users or not users[-1]:
        return None
    question_end = prompt.rfind(users[-1]) + len(users[-1])
    in_prompt, in_text = prompt.rfind(result), text.rfind(result, 0, begin)
    if min(in_prompt, in_text) < question_end or not text.startswith(prompt[:question_end]):
        return None
    end = _end_of_header(prompt[in_prompt + len(result) :], text, in_text + len(result))
    return end if end <= begin else None


def _end_of_header(header: str, text: str, behind: int) -> int:
    """Return where a prompt's header ends in a text, which may continue it or omit a part of it."""
    begin = behind + count_common_prefix(header, text[behind:])
    # Two marks may have the same start: never split a mark.
    marks = MARK.finditer(text, behind)
    return next((mark.start() for mark in marks if mark.start() < begin < mark.end()), begin)
