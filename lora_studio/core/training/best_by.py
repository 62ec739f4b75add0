"""What decides which evaluation of a training is the best one."""

from __future__ import annotations

from typing import Literal

BestBy = Literal["loss", "exact", "contains", "number", "token_f1", "rouge_l", "chrf"]

#: The title of each; all but the loss are metrics of generated answers (core/evaluation/metrics).
TITLES: dict[str, str] = {
    "loss": "Eval loss",
    "exact": "Exact match",
    "contains": "Contains",
    "number": "Number",
    "token_f1": "Token F1",
    "rouge_l": "ROUGE-L",
    "chrf": "chrF",
}
