"""The evaluation of a model that doesn't write answers, in words."""

from __future__ import annotations

from lora_studio.core.messages import Text, text
from lora_studio.core.protocol import events
from lora_studio.core.tasks.classification import SHOWN_LABELS
from lora_studio.core.tasks.table import TASKS
from lora_studio.core.training.retrieval import MRR, RECALLS


def describe_predictions(event: events.Evaluated) -> Text | None:
    """Return how well an embedding model finds texts or a classifier predicts labels, None for other training."""
    if {MRR, *RECALLS.values()} <= event.metrics.keys():
        return _describe_retrieval(event)
    if (report := event.classification) is None:
        return None
    return text(
        "Evaluation after step {step}: loss {loss:loss}, accuracy {accuracy:percent}, macro F1 {f1:percent}.",
        step=event.step,
        loss=event.loss,
        accuracy=report.accuracy,
        f1=report.macro_f1,
    )


def _describe_retrieval(event: events.Evaluated) -> Text:
    found = text(
        "recall@1 {one:percent}, @5 {five:percent}, @10 {ten:percent}, MRR {mrr:small}",
        one=event.metrics[RECALLS[1]],
        five=event.metrics[RECALLS[5]],
        ten=event.metrics[RECALLS[10]],
        mrr=event.metrics[MRR],
    )
    if event.step == 0:
        return text("Before training: {found}.", found=found)
    return text(
        "Evaluation after step {step}: loss {loss:loss}, {found}.",
        step=event.step,
        loss=event.loss,
        found=found,
    )


def describe_row_counts(event: events.RowCounts) -> Text:
    """Return how many rows a run has, what they are, and why others are skipped."""
    parts = [
        text(
            "Dataset: {task}; {read} rows read, {train} for training, {validation} for validation, "
            "{skipped} skipped",
            task=TASKS[event.task].title,
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
    if not TASKS[event.task].counts_tokens:
        return text("{parts}.", parts=tuple(parts))
    return text(
        "{parts}. Trained tokens per epoch: {tokens:count}.",
        parts=tuple(parts),
        tokens=event.trained_tokens,
    )
