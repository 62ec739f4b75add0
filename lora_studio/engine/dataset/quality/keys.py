"""The parts of a row that are compared: sides for near duplicates, 64-bit keys for equal parts, its shape."""

from __future__ import annotations

import json
from typing import Any

from lora_studio.core.tasks.samples import Message, Sample
from lora_studio.core.tasks.table import TASKS
from lora_studio.engine.dataset.quality.near_duplicates import Sides, normalize
from lora_studio.engine.dataset.rows.store import hash_text


def normalize_sides(sample: Sample) -> Sides:
    """Return the question and the answers of a row, normalized for comparing.

    Earlier answers that are not trained belong to the question: rows of one conversation have nearly
    the same turns, and each trains a different answer.
    """
    task = TASKS[sample.task]
    if task.is_document:
        return (normalize(sample.text),)
    prompt = [
        turn
        for turn in sample.messages
        if turn.role != "system" and (turn.role != "assistant" or not turn.trained)
    ]
    parts = [prompt, *task.get_answers(sample)]
    return tuple(normalize("\n".join(map(_get_spoken_text, turns))) for turns in parts)


def get_context(sample: Sample) -> str:
    """Return the parts that have to be equal in near duplicates: task, system message, tools and label."""
    system = [_join_exactly(turn) for turn in sample.messages if turn.role == "system"]
    label = TASKS[sample.task].get_label(sample) or str(sample.label)
    return "\x1d".join([sample.task, *system, label, _format_tools(sample)])


def get_keys(sample: Sample) -> dict[str, int]:
    """Return hashes of a row and its parts, regardless of spacing; 0 for a missing part."""
    task = TASKS[sample.task]
    prompt, answer, rejected = (
        "\x1f".join(map(_join_exactly, turns))
        for turns in (*task.split_last_answer(sample), sample.rejected)
    )
    tools, text = _format_tools(sample), " ".join(sample.text.split())
    content = "\x1d".join([text, prompt, answer, rejected, str(sample.label), tools])
    return {
        "length": len(content),
        "exact": hash_text(content),
        "prompt": hash_text(prompt and prompt + tools),
        # Labels that differ in spaces are different ones.
        "answer": hash_text(task.get_label(sample) or answer),
        "other": hash_text(rejected),
        "label": -1 if sample.label is None else int(sample.label),
    }


def _join_exactly(turn: Message) -> str:
    return f"{turn.role}\x1e{' '.join(_get_spoken_text(turn).split())}"


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
