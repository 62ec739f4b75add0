"""The evaluation of a model that doesn't write answers, in words."""

from __future__ import annotations

from lora_studio.core.messages import Text, text
from lora_studio.core.protocol import events
from lora_studio.core.training.retrieval import MRR, RECALLS


def describe_predictions(event: events.Evaluated) -> Text | None:
    """Return how well an embedding model finds texts or a classifier predicts labels, None for other training."""
    if {MRR, *RECALLS.values()} <= event.figures.keys():
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
        one=event.figures[RECALLS[1]],
        five=event.figures[RECALLS[5]],
        ten=event.figures[RECALLS[10]],
        mrr=event.figures[MRR],
    )
    if event.step == 0:
        return text("Before training: {found}.", found=found)
    return text(
        "Evaluation after step {step}: loss {loss:loss}, {found}.",
        step=event.step,
        loss=event.loss,
        found=found,
    )
