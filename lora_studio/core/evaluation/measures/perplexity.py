"""Perplexity of the reference: how surprised the model is by the expected answer."""

from __future__ import annotations

import math

from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.measures.base import LogprobMeasure, Logprobs


class Perplexity(LogprobMeasure):
    """exp(−log p(reference | prompt) / tokens); 1 is certainty, lower is better."""

    is_binary = False
    lower_is_better = True

    def score_logprobs(self, item: EvaluationItem, logprobs: Logprobs) -> float | None:
        """Return the perplexity per token; None without a reference, and where it is infinite."""
        if logprobs.reference is None or not logprobs.reference_tokens:
            return None
        try:
            perplexity = math.exp(-logprobs.reference / logprobs.reference_tokens)
        except OverflowError:
            return None
        return perplexity if math.isfinite(perplexity) else None
