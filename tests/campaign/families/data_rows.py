"""Rows of any shape: each converts to a sample or gives a reason, and a list of them gets a verdict."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from lora_studio.core.dataset.formats.detection import convert, detect
from lora_studio.core.dataset.repairs import repair
from lora_studio.core.dataset.spec import FORMATS
from lora_studio.core.protocol.events import RowPreview, Warned, to_line
from lora_studio.core.tasks.samples import UnusableRow
from tests.campaign.family import SimpleFamily, WrongResultError
from tests.campaign.mutation import NUMBERS, change_value, draw_text, dump

_TALK = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes.", "weight": 1}]
_CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": '{"a": 1}'}}],
}
_SEEDS: list[dict[str, Any]] = [
    {"messages": _TALK, "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
    {"messages": [_TALK[0], _CALL, {"role": "tool", "content": "3", "tool_call_id": "1"}, _TALK[1]]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}]}]},
    {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "system": "s"},
    {"instruction": "Do.", "input": "x", "output": "Done.", "history": [["a", "b"]]},
    {"question": "Is it?", "answer": "Yes.", "context": ["c"]},
    {"prompt": "a", "chosen": "b", "rejected": "c"}, {"prompt": _TALK[:1], "chosen": _TALK, "rejected": _TALK},
    {"prompt": "a", "completion": "b", "label": True}, {"prompt": "a", "responses": ["b", "c"], "scores": [1, 2]},
    {"text": "some text"}, {"text": "### Human: a\n### Assistant: b"}, {"segments": [{"label": True, "text": "x"}]},
    {"question": "q", "choices": {"label": ["A", "B"], "text": ["x", "y"]}, "answerKey": "B"},
    {"role": "prompter", "text": "q", "replies": [{"role": "assistant", "text": "a", "rank": 0, "replies": []}]},
    {"title": "T", "paragraphs": [{"context": "C", "qas": [{"question": "Q", "answers": [{"text": "A"}]}]}]},
    {"query": "q", "positive": "p", "negative": ["n"]}, {"translation": {"en": "a", "de": "b"}},
]  # fmt: skip
_NAMES = sorted(
    {key for row in _SEEDS for key in row}
    | {"role", "content", "from", "value", "thinking", "feedback", "score", "id"}
)
_TEXTS = (
    "", " ", "user", "assistant", "gpt", "human", "system", "tool", "ipython", "function_call", "<think>a</think>b", "\ud800", "\0",
    "\n\nHuman: a\n\nAssistant: b", '[{"role": "user", "content": "x"}]', "{a}", "[1", "{'a': 1}", "[[1]]", "image.png", "👎", "True",
    '{"name": "f", "arguments": "x"}', "<|im_start|>user\na<|im_end|>", "[INST] a [/INST] b", "A", "(B)", "1", "9" * 5000, "a\r\nb",
    "[" * 3000, "User: a\nAssistant: b" * 50, "\u2028", "<tool_call>{}</tool_call>", "nan", "{" * 500,
)  # fmt: skip


def _draw(rng: random.Random) -> Any:
    match rng.randrange(6):
        case 0 | 1:
            return rng.choice(_TEXTS)
        case 2:
            return rng.choice((None, *NUMBERS))
        case 3:
            return {rng.choice(_NAMES): rng.choice(_TEXTS) for _ in range(rng.randrange(3))}
        case 4:
            return [
                rng.choice((rng.choice(_TEXTS), rng.choice(_TALK))) for _ in range(rng.randrange(4))
            ]
        case _:
            return draw_text(rng)


def generate_rows(rng: random.Random) -> bytes:
    """Return a JSON list of rows."""
    rows: list[Any] = []
    seed = rng.choice(_SEEDS)
    for _ in range(rng.randrange(1, 4)):
        row: Any = seed if rng.random() < 0.8 else rng.choice(_SEEDS)
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            row = change_value(rng, row, _draw)
        if rng.random() < 0.2 and isinstance(row, dict) and row:
            row = {**row, rng.choice(_NAMES): row[rng.choice(list(row))]}
        rows.append(row)
    return dump(rows)


def run_rows(content: bytes, sandbox: Path) -> str:
    """Decide on the format of the rows, and convert each by it and by one other format."""
    try:
        rows = json.loads(content)
    except (ValueError, RecursionError):
        return "noise"
    rows = rows if isinstance(rows, list) else [rows]
    verdict = detect(rows)
    if not 0.0 <= verdict.confidence <= 1.0 or (verdict.format is None) != (verdict.task is None):
        raise WrongResultError("a verdict contradicts itself")
    if (verdict.format is None) != any(item.severity == "error" for item in verdict.problems):
        raise WrongResultError("a verdict has no format and no reason")
    for problem in verdict.problems:
        str(problem)
        to_line(Warned(problem=problem)).encode()
    formats = list(FORMATS)
    other = formats[len(content) % len(formats)]
    used = 0
    for row in rows:
        for row_format, mapping in ((verdict.format, verdict.mapping), (other, None)):
            if row_format is None:
                continue
            try:
                sample = convert(row, row_format, mapping)
                to_line(
                    RowPreview(
                        row=1, messages=sample.messages, chosen=sample.chosen, rejected=sample.rejected,
                        label=sample.label, text=sample.text,
                    )
                ).encode()  # fmt: skip
                repair(sample, ("merge_turns", "remove_markers", "repair_encoding"))
            except UnusableRow as reason:
                str(reason).encode()
                continue
            used += 1
            if sample.task != FORMATS[row_format].task:
                raise WrongResultError("a sample has another task than its format")
    return "used" if used else "unusable"


FAMILIES = [SimpleFamily("rows", generate_rows, run_rows, weight=2, smoke=80)]
