"""How well queries find their texts: the figures of an evaluation of embedding training."""

from __future__ import annotations

from collections.abc import Mapping

from lora_studio.core.messages import Text, text

#: The names of recall@k among the figures of an evaluation, by k, and of the mean reciprocal rank. Those of
#: step 0 are from before training.
RECALLS = {1: "recall_at_1", 5: "recall_at_5", 10: "recall_at_10"}
MRR = "mrr"


def describe_retrieval(figures: Mapping[str, float]) -> Text | None:
    """Return recall and mean reciprocal rank as a phrase, None for figures of another task."""
    if not {MRR, *RECALLS.values()} <= figures.keys():
        return None
    return text(
        "recall@1 {one:percent}, @5 {five:percent}, @10 {ten:percent}, MRR {mrr:small}",
        one=figures[RECALLS[1]],
        five=figures[RECALLS[5]],
        ten=figures[RECALLS[10]],
        mrr=figures[MRR],
    )


def describe_evaluation(step: int, loss: float, figures: Mapping[str, float]) -> Text | None:
    """Return an evaluation of embedding training as a sentence, None for figures of another task."""
    if (found := describe_retrieval(figures)) is None:
        return None
    if step == 0:
        return text("Before training: {found}.", found=found)
    return text(
        "Evaluation after step {step}: loss {loss:loss}, {found}.",
        step=step,
        loss=loss,
        found=found,
    )
