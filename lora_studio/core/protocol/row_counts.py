"""The rows of a run in words."""

from __future__ import annotations

from collections.abc import Mapping

from lora_studio.core.messages import Text, text
from lora_studio.core.protocol import events
from lora_studio.core.training.classification import SHOWN_LABELS

#: What the rows of a task are.
TASKS: Mapping[str, str] = {
    "sft": "conversations (supervised fine-tuning)",
    "text": "plain text",
    "preference": "preference pairs",
    "kto": "answers labeled good or bad",
    "grpo": "prompts that the model answers for rewards",
    "embedding": "queries with the text to find",
    "classification": "texts with labels (classification)",
    "unsupported": "can't be used for training",
}


def describe_row_counts(event: events.RowCounts) -> Text:
    """Return how many rows a run has, what they are, and why others are skipped."""
    parts = [
        text(
            "Dataset: {task}; {read} rows read, {train} for training, {validation} for validation, "
            "{skipped} skipped",
            task=TASKS[event.task],
            read=event.rows_read,
            train=event.rows_train,
            validation=event.rows_validation,
            skipped=sum(item.count for item in event.skipped),
        )
    ]
    parts += [
        text("{count} × {reason}", count=item.count, reason=item.reason) for item in event.skipped
    ]
    if event.rows_cut:
        parts.append(text("{rows} truncated to the maximum sequence length", rows=event.rows_cut))
    if event.labels:
        labels = tuple(
            text("{label} {rows}", label=label, rows=rows)
            for label, rows in list(event.labels.items())[:SHOWN_LABELS]
        )
        return text(
            "{parts}. {count} labels: {labels}.",
            count=len(event.labels),
            parts=tuple(parts),
            labels=labels,
        )
    if event.task in ("grpo", "embedding"):
        return text("{parts}.", parts=tuple(parts))
    return text(
        "{parts}. Trained tokens per epoch: {tokens:count}.",
        parts=tuple(parts),
        tokens=event.trained_tokens,
    )
