"""How well queries find their texts: the metrics of an evaluation of embedding training."""

from __future__ import annotations

#: The names of recall@k among the metrics of an evaluation, by k, and of the mean reciprocal rank. Those of
#: step 0 are from before training.
RECALLS = {1: "recall_at_1", 5: "recall_at_5", 10: "recall_at_10"}
MRR = "mrr"
