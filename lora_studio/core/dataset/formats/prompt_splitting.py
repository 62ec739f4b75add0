"""Split the two sides of a pair into their shared prompt and the answers."""

from __future__ import annotations

from typing import Any

from lora_studio.core.dataset.formats.turns import build_message
from lora_studio.core.dataset.formats.values import parse_literal
from lora_studio.core.dataset.spec import Message


def split_turns(
    prompt: list[Message], better: list[Message], worse: list[Message]
) -> tuple[list[Message], list[Message], list[Message]]:
    """Return the turns that both sides share at the start, and the rest of each side.

    Each side keeps at least its last turn. If one side is the whole conversation and the other only
    an answer, all but the last turn of the conversation is the prompt.
    """
    if worse[0].role == "assistant":
        return _join_prompt(prompt, better[:-1]), better[-1:], worse
    shared = 0
    for one, other in zip(better[:-1], worse[:-1], strict=False):
        if one != other:
            break
        shared += 1
    return _join_prompt(prompt, better[:shared]), better[shared:], worse[shared:]


def _join_prompt(prompt: list[Message], common: list[Message]) -> list[Message]:
    """Return a prompt and its continuation, without the part of one that repeats the other."""
    prompt_texts, common_texts = (
        [_get_role_and_content(turn) for turn in prompt],
        [_get_role_and_content(turn) for turn in common],
    )
    for one, other, whole in (
        (prompt_texts, common_texts, common),
        (common_texts, prompt_texts, prompt),
    ):
        if other[: len(one)] == one or other[len(other) - len(one) :] == one:
            return whole
    return [*prompt, *common]


def _get_role_and_content(turn: Message) -> tuple[str, str]:
    return turn.role, turn.content


def split_words(
    better: Message, worse: Message
) -> tuple[list[Message], list[Message], list[Message]]:
    """Return the words that two texts share at the start, and the rest of each."""
    one, other = better.content, worse.content
    differing = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    limit = min(len(one.rstrip()), len(other.rstrip()))
    # Cut at the last blank in the shared part, or at a blank at the first difference.
    common_end = min(next(differing, limit) + 1, limit)
    shared = max((i for i in range(common_end) if one[i].isspace()), default=0)
    if not one[:shared].strip():
        return [], [better], [worse]
    return (
        [build_message("user", one[:shared])],
        [better.model_copy(update={"content": one[shared:]})],
        [worse.model_copy(update={"content": other[shared:]})],
    )


def join_rounds(prompt: Any, chosen: Any, rejected: Any) -> tuple[list[Any], list[Any]] | None:
    """Return both sides as conversations if prompt and answers are lists of equal length."""
    lists = [parse_literal(value) for value in (prompt, chosen, rejected)]
    if not all(isinstance(one, list) and one for one in lists) or len(set(map(len, lists))) > 1:
        return None
    if not all(text is None or isinstance(text, str) for one in lists for text in one):
        return None
    rounds = list(zip(*lists, strict=True))
    one = [turn for ask, answer, _ in rounds for turn in _build_round(ask, answer)]
    return one, [turn for ask, _, answer in rounds for turn in _build_round(ask, answer)]


def _build_round(question: str | None, answer: str | None) -> list[dict[str, str]]:
    turns = {"user": question or "", "assistant": answer or ""}
    return [{"role": role, "content": text} for role, text in turns.items()]
