"""The parts of a row that are compared: sides for near duplicates, 64-bit keys for equal parts, its shape."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lora_studio.core.tasks.samples import Message, Sample
from lora_studio.engine.dataset.quality.near_duplicates import Sides, normalize
from lora_studio.engine.dataset.rows.store import hash_text

#: Tasks whose answers are `chosen` and `rejected`.
_HAS_SIDES = ("preference", "embedding")


def normalize_sides(sample: Sample) -> Sides:
    """Return the question and the answers of a row, normalized for comparing.

    Earlier answers that are not trained belong to the question: rows of one conversation have nearly
    the same turns, and each trains a different answer.
    """
    if sample.task == "text":
        return (normalize(sample.text),)
    spoken_turns = [turn for turn in sample.messages if turn.role != "system"]
    prompt = [
        _get_spoken_text(turn)
        for turn in spoken_turns
        if turn.role != "assistant" or not turn.trained
    ]
    answers = [[turn for turn in spoken_turns if turn.role == "assistant" and turn.trained]]
    if sample.task in _HAS_SIDES:
        answers = [[*sample.chosen], [*sample.rejected]]
    spoken = ["\n".join(_get_spoken_text(turn) for turn in turns) for turns in answers]
    if sample.task == "grpo":
        spoken = [sample.reference or ""]
    return tuple(normalize(text) for text in ("\n".join(prompt), *spoken))


def get_context(sample: Sample) -> str:
    """Return the parts that have to be equal in near duplicates: task, system message, tools and label."""
    system = [_join_exactly(turn) for turn in sample.messages if turn.role == "system"]
    label = sample.messages[-1].content if sample.task == "classification" else str(sample.label)
    return "\x1d".join([sample.task, *system, label, _format_tools(sample)])


def get_keys(sample: Sample) -> dict[str, int]:
    """Return hashes of a row and its parts, regardless of spacing; 0 for a missing part."""
    turns = [_join_exactly(turn) for turn in sample.messages]
    last = len(turns)
    if sample.task not in _HAS_SIDES:
        answers = [i for i, turn in enumerate(sample.messages) if turn.role == "assistant"]
        last = answers[-1] if answers and sample.task != "grpo" else last
    prompt, answer = _join_turns(turns[:last]), _join_turns(turns[last:])
    rejected = _join_turns([_join_exactly(turn) for turn in sample.rejected])
    if sample.task in _HAS_SIDES:
        answer = _join_turns([_join_exactly(turn) for turn in sample.chosen])
    if sample.task == "grpo":
        answer = " ".join((sample.reference or "").split())
    # Labels that differ in spaces are different ones.
    label = sample.messages[-1].content if sample.task == "classification" else ""
    tools, text = _format_tools(sample), " ".join(sample.text.split())
    content = "\x1d".join([text, prompt, answer, rejected, str(sample.label), tools])
    return {
        "length": len(content),
        "exact": hash_text(content),
        "prompt": hash_text(prompt and prompt + tools),
        "answer": hash_text(label or answer),
        "other": hash_text(rejected),
        "label": -1 if sample.label is None else int(sample.label),
    }


def _join_exactly(turn: Message) -> str:
    return f"{turn.role}\x1e{' '.join(_get_spoken_text(turn).split())}"


def _join_turns(turns: Sequence[str]) -> str:
    return "\x1f".join(turns)


def _get_spoken_text(turn: Message) -> str:
    if not turn.thinking and not turn.tool_calls:
        return turn.content
    calls = [json.dumps([call.name, call.arguments], sort_keys=True) for call in turn.tool_calls]
    return "\n".join([turn.thinking, turn.content, *calls])


def _format_tools(sample: Sample) -> str:
    return json.dumps(sample.tools, sort_keys=True) if sample.tools else ""


def describe_shape(values: dict[str, Any]) -> str:
    """Return the columns of a row with the types of their values: `a: string; b: list[{role, value}]`."""
    kinds = ((name, describe_type(value)) for name, value in sorted(values.items()))
    return "; ".join(f"{name}: {kind}" for name, kind in kinds if kind)


def describe_type(value: Any) -> str:
    """Return the type of a value, such as `list[string]`; "" for an empty one."""
    match value:
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return f"list[{describe_type(value[0])}]" if value else ""
        case dict():
            return f"{{{', '.join(sorted(map(str, value)))}}}"
    return ""
