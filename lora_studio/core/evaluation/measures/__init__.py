"""Measures of answers. `measure_by_name` returns one; `suggest_measures` chooses for a test set."""

from lora_studio.core.evaluation.measures.base import AnswerMeasure, Logprobs
from lora_studio.core.evaluation.measures.registry import (
    MEASURES,
    MeasureInfo,
    measure_by_name,
    suggest_measures,
)

__all__ = [
    "MEASURES",
    "AnswerMeasure",
    "Logprobs",
    "MeasureInfo",
    "measure_by_name",
    "suggest_measures",
]
