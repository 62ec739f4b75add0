"""Rows become conversations: shapes, their detection, unusable rows by reason, the split."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_studio.core.dataset import DatasetSpec, Message, Role, RowFormat
from lora_studio.core.events import Skipped
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.samples import UnusableRow
from lora_studio.engine.channel import Job
from lora_studio.engine.row_files import RawRow, read_rows

#: Rows that the shape of a dataset is told from, and row numbers named per reason.
_EVIDENCE_ROWS = 200
_NAMED_ROWS = 10

_ROLES: dict[str, Role] = {
    "system": "system", "developer": "system",
    "human": "user", "user": "user", "prompter": "user", "instruction": "user",
    "gpt": "assistant", "assistant": "assistant", "bot": "assistant", "chatgpt": "assistant",
    "model": "assistant", "bing": "assistant", "bard": "assistant", "claude": "assistant",
}  # fmt: skip
_SHAPES = (
    "Alpaca rows need instruction and output, sharegpt rows a list conversations of from and value, "
    "messages rows a list messages of role and content."
)
_QUESTIONS = ("instruction", "prompt", "question", "query")
_ANSWERS = ("output", "response", "answer", "completion")


@dataclass(frozen=True)
class Row:
    """One usable row. `number` counts from 1 over all rows of the file."""

    number: int
    messages: tuple[Message, ...]
    line: int | None = None


@dataclass
class SkippedRows:
    """Rows left out, by reason."""

    rows: dict[str, list[int]] = field(default_factory=dict)

    def add(self, reason: str, number: int) -> None:
        """Notes one row."""
        self.rows.setdefault(reason, []).append(number)

    def include(self, other: SkippedRows) -> None:
        """Notes all rows of another such list."""
        for reason, numbers in other.rows.items():
            self.rows.setdefault(reason, []).extend(numbers)

    def __len__(self) -> int:
        """How many rows were left out."""
        return sum(len(numbers) for numbers in self.rows.values())

    def summary(self) -> tuple[Skipped, ...]:
        """Reasons with counts and the first row numbers, most frequent first."""
        found = sorted(self.rows.items(), key=lambda item: -len(item[1]))
        return tuple(
            Skipped(reason=reason, count=len(numbers), rows=tuple(sorted(numbers)[:_NAMED_ROWS]))
            for reason, numbers in found
        )


@dataclass
class Conversations:
    """What a file holds: rows_read = len(rows) + len(skipped). `evidence` says why this shape."""

    format: RowFormat
    evidence: str
    columns: tuple[str, ...]
    rows_read: int
    rows: list[Row]
    skipped: SkippedRows


def read(spec: DatasetSpec, job: Job) -> Conversations:
    """Every row of the dataset as a conversation; raises ProblemError when none is usable."""
    file, chosen = Path(spec.sources[0].path), spec.sources[0].format
    raw = read_rows(file, job)
    columns = Counter(key for row in raw if row.values is not None for key in row.values)
    shape, evidence = (chosen, "chosen") if chosen != "auto" else detect(raw, file)
    found = Conversations(shape, evidence, tuple(columns), len(raw), [], SkippedRows())
    for row in raw:
        if row.number % 1000 == 0:
            job.progress("reading rows", row.number, len(raw), "rows")
        try:
            found.rows.append(Row(row.number, _messages(row, shape, spec), row.line))
        except UnusableRow as verdict:
            found.skipped.add(str(verdict), row.number)
    if not found.rows:
        raise no_usable_rows(file, found.rows_read, found.skipped)
    return found


def no_usable_rows(file: Path, rows_read: int, skipped: SkippedRows) -> ProblemError:
    """The problem of a dataset from which nothing is left."""
    reasons = "; ".join(
        f"{entry.reason} ({entry.count} rows, the first is row {entry.rows[0]})"
        for entry in skipped.summary()[:3]
    )
    remedy = _SHAPES
    if "tokens" in reasons:
        remedy = "Allow more tokens with “Longest row”, or shorten the rows."
    elif "template" in reasons:
        remedy = "Change the rows to what the model's chat template allows, or choose ChatML."
    return fail(
        "dataset.no_usable_rows",
        f"None of the {rows_read} rows of {file.name} can be trained on"
        f"{': ' + reasons if reasons else ''}.",
        remedy,
        where=Where(step="dataset", field="sources", file=str(file)),
    )


def detect(rows: Sequence[RawRow], file: Path) -> tuple[RowFormat, str]:
    """The shape that most of the first rows have, and how many; raises ProblemError for none."""
    sample = [row.values for row in rows[:_EVIDENCE_ROWS] if row.values is not None]
    votes = Counter(shape for values in sample if (shape := _shape_of(values)) is not None)
    if not votes:
        columns = list(dict.fromkeys(key for values in sample for key in values))
        raise fail(
            "dataset.unknown_format",
            f"The rows of {file.name} have none of the known shapes. Their columns are: "
            f"{', '.join(columns) or 'none'}.",
            _SHAPES,
            where=Where(step="dataset", field="sources", file=str(file)),
        )
    shape, count = votes.most_common(1)[0]
    return shape, f"{count} of the first {len(sample)} rows have this shape"


def _shape_of(values: dict[str, Any]) -> RowFormat | None:
    turns = _turns(values)
    if turns:
        keys = set(turns[0]) if isinstance(turns[0], dict) else set()
        if {"role", "content"} <= keys:
            return "messages"
        if {"from", "value"} <= keys:
            return "sharegpt"
    if _first_key(values, _QUESTIONS) and _first_key(values, _ANSWERS):
        return "alpaca"
    return None


def _turns(values: dict[str, Any]) -> list[Any] | None:
    for name in ("messages", "conversations", "conversation"):
        if isinstance(values.get(name), list):
            return values[name]
    return None


def _first_key(values: dict[str, Any], names: Iterable[str]) -> str | None:
    return next((name for name in names if name in values), None)


# --- one row ----------------------------------------------------------------------------------


def _messages(row: RawRow, shape: RowFormat, spec: DatasetSpec) -> tuple[Message, ...]:
    """The conversation of a row; raises UnusableRow."""
    if row.values is None:
        raise UnusableRow(row.fault or "the row is not an object")
    turns = _alpaca(row.values) if shape == "alpaca" else _chat(row.values, shape)
    # What stands after the last answer can teach nothing.
    while turns and turns[-1].role != "assistant":
        turns.pop()
    if not any(turn.trained for turn in turns):
        raise UnusableRow("there is no answer in it")
    if spec.system_prompt and turns[0].role != "system":
        turns.insert(0, Message(role="system", content=spec.system_prompt))
    return tuple(turns)


def _alpaca(values: dict[str, Any]) -> list[Message]:
    question, answer = _first_key(values, _QUESTIONS), _first_key(values, _ANSWERS)
    if question is None or answer is None:
        raise UnusableRow(f"it has no {'instruction' if question is None else 'output'}")
    turns: list[Message] = []
    if values.get("system"):
        turns.append(Message(role="system", content=_text(values["system"])))
    for pair in values.get("history") or []:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise UnusableRow("its history is not a list of pairs")
        turns += [_turn("user", pair[0]), _turn("assistant", pair[1])]
    asked = _text(values[question])
    if added := _text(values.get("input") or ""):
        asked = f"{asked}\n\n{added}" if asked.strip() else added
    return [*turns, _turn("user", asked), _turn("assistant", values[answer])]


def _chat(values: dict[str, Any], shape: RowFormat) -> list[Message]:
    turns = _turns(values)
    if turns is None:
        raise UnusableRow(f"it has no list of {'messages' if shape == 'messages' else 'turns'}")
    who, what = ("role", "content") if shape == "messages" else ("from", "value")
    found: list[Message] = []
    if isinstance(values.get("system"), str) and values["system"].strip():
        found.append(Message(role="system", content=_text(values["system"])))
    for turn in turns:
        if not isinstance(turn, dict) or who not in turn or what not in turn:
            raise UnusableRow(f"one of its turns has no {who} or no {what}")
        name = str(turn[who])
        role = _ROLES.get(name.strip().lower())
        if role is None:
            raise UnusableRow(f"it has a turn of the role {name!r}, which is not used here")
        if turn.get("tool_calls"):
            raise UnusableRow("it has tool calls, which are not used here")
        message = _turn(role, turn[what])
        if turn.get("weight") == 0:
            message = message.model_copy(update={"trained": False})
        found.append(message)
    return found


def _turn(role: Role, value: Any) -> Message:
    content = _text(value)
    if not content.strip() and role != "system":
        raise UnusableRow("an answer is empty" if role == "assistant" else "a question is empty")
    return Message(role=role, content=content, trained=role == "assistant")


def _text(value: Any) -> str:
    """The text of a turn; content in parts is joined. Raises UnusableRow for anything else."""
    if isinstance(value, list):
        if not all(isinstance(part, dict) and part.get("type") == "text" for part in value):
            raise UnusableRow("a turn holds something other than text")
        value = "".join(str(part.get("text", "")) for part in value)
    if not isinstance(value, str):
        raise UnusableRow("a turn is not text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise UnusableRow("a turn holds half of a character (a lone surrogate)") from None
    return value


# --- the split --------------------------------------------------------------------------------


def split(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """(training, validation) in the file's order; `share` of the rows, at least one of each side.

    Which side a row falls on follows from its content and the seed: adding or moving other rows
    hardly changes it, and equal rows stay together.
    """
    wanted = round(share * len(rows))
    if share > 0 and len(rows) > 1:
        wanted = min(max(wanted, 1), len(rows) - 1)
    ranked = sorted(rows, key=lambda row: (_rank(row, seed), row.number))
    kept_out = {row.number for row in ranked[:wanted]}
    training = [row for row in rows if row.number not in kept_out]
    return training, [row for row in rows if row.number in kept_out]


def _rank(row: Row, seed: int) -> bytes:
    content = "\x1f".join(f"{turn.role}\x1e{turn.content}" for turn in row.messages)
    return hashlib.sha256(f"{seed}\x1f{content}".encode()).digest()
