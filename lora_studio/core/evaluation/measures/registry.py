"""Every measure by its name, and which ones suit a test set."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.measures import matching, overlap, structured
from lora_studio.core.evaluation.measures.base import (
    AnswerMeasure,
    LogprobMeasure,
    ReferenceMeasure,
)
from lora_studio.core.evaluation.measures.normalization import list_words
from lora_studio.core.evaluation.measures.perplexity import Perplexity
from lora_studio.core.messages import Text, text
from lora_studio.core.problems import fail

#: Share of the references that must look alike to choose measures for all of them.
_MOST = 0.8
#: Words up to which an answer is a label or a name, and up to which it is a sentence.
_LABEL_WORDS, _SENTENCE_WORDS = 4, 40


@dataclass(frozen=True)
class MeasureInfo:
    """A measure to choose: its name, title, and description, and an example of a parameter."""

    kind: str
    title: Text
    about: Text
    type: type[ReferenceMeasure] | type[LogprobMeasure]
    example: str = ""

    @property
    def needs_parameter(self) -> bool:
        """Whether the measure can't be used without a parameter."""
        return self.kind in ("regex", "json_schema")


_MEASURES = (
    MeasureInfo(
        "exact", text("Exact match"),
        text("Equal to the reference, apart from case, spaces, quotes, and final punctuation."),
        matching.Exact, "verbatim",
    ),
    MeasureInfo(
        "contains", text("Contains"),
        text("The words of the reference occur in the answer, in this order."), matching.Contains,
    ),
    MeasureInfo(
        "regex", text("Regular expression"), text("A pattern matches somewhere in the answer."),
        matching.Pattern, "^(yes|no)$",
    ),
    MeasureInfo(
        "number", text("Number"),
        text("The last number of the answer is that of the reference, within a tolerance."),
        matching.Number, "0.01",
    ),
    MeasureInfo(
        "choice", text("Multiple choice"), text("The right choice is the most likely one."),
        matching.Choice,
    ),
    MeasureInfo(
        "choice_norm", text("Multiple choice, length-normalized"),
        text("The right choice is the most likely one per character."), matching.NormalizedChoice,
    ),
    MeasureInfo(
        "json", text("Valid JSON"), text("The answer can be parsed as JSON."), structured.ValidJson,
    ),
    MeasureInfo(
        "json_schema", text("JSON schema"), text("The answer follows a JSON schema."),
        structured.JsonSchema, "schema.json",
    ),
    MeasureInfo(
        "fields", text("Equal JSON fields"),
        text("The share of JSON fields that equal those of the reference."),
        structured.EqualFields, "name,total",
    ),
    MeasureInfo(
        "token_f1", text("Token F1"), text("Words in common with the reference, in any order."),
        overlap.TokenF1,
    ),
    MeasureInfo(
        "rouge_l", text("ROUGE-L"), text("Words in common with the reference, in the same order."),
        overlap.RougeL,
    ),
    MeasureInfo(
        "chrf", text("chrF"), text("Character sequences in common with the reference."),
        overlap.ChrF,
    ),
    MeasureInfo(
        "perplexity", text("Perplexity of the reference"),
        text("How surprising the reference is to the model; lower is better."), Perplexity,
    ),
)  # fmt: skip

#: Every measure by its name without a parameter.
MEASURES: dict[str, MeasureInfo] = {info.kind: info for info in _MEASURES}


def measure_by_name(spec: str) -> AnswerMeasure:
    """Return the measure that a name such as "contains" or "number:0.01" stands for.

    Raises ProblemError for an unknown name or an invalid parameter.
    """
    kind, _, parameter = spec.strip().partition(":")
    info = MEASURES.get(kind)
    if info is None:
        raise fail(
            "evaluation.unknown_measure",
            "Unknown measure: {name}.",
            "Choose one of these: {known}.",
            name=kind,
            known=", ".join(MEASURES),
        )
    if parameter and not info.type.has_parameter:
        raise fail(
            "evaluation.invalid_parameter",
            "The measure {measure} has no option {parameter}.",
            "Use its name alone.",
            measure=kind,
            parameter=parameter,
        )
    return info.type(kind, info.title, parameter)


def suggest_measures(items: Sequence[EvaluationItem]) -> tuple[str, ...]:
    """Return the names of the measures that suit the references of some items, the main one first.

    Items that name their own measure aren't considered. () without a reference.
    """
    open_items = [item for item in items if not item.measure]
    choices = [item for item in open_items if item.choices and item.correct is not None]
    if open_items and len(choices) >= _MOST * len(open_items):
        return ("choice", "choice_norm")
    asked = [item for item in open_items if not item.is_text]
    references = [item.reference for item in asked if item.reference and item.reference.strip()]
    if not references:
        return ("perplexity",) if any(item.is_text and item.reference for item in items) else ()
    return _suggest_for_references(references)


def _suggest_for_references(references: Sequence[str]) -> tuple[str, ...]:
    enough = _MOST * len(references)
    if sum(structured.is_json_object(reference) for reference in references) >= enough:
        return ("fields", "json", "exact")
    if sum(map(_ends_with_number, references)) >= enough:
        return ("number", "exact")
    length = statistics.median(len(list_words(reference)) for reference in references)
    if length <= _LABEL_WORDS:
        return ("exact", "contains", "token_f1")
    if length <= _SENTENCE_WORDS:
        return ("token_f1", "rouge_l", "chrf", "perplexity")
    return ("rouge_l", "chrf", "perplexity")


def _ends_with_number(reference: str) -> bool:
    """Return whether a reference is a number with at most a unit, or ends with one as in GSM8K."""
    if "####" in reference:
        return bool(matching.find_numbers(reference))
    words = reference.split()
    return len(words) <= 2 and bool(matching.find_numbers(reference)) and reference.strip()[:1] in "+-−$€£0123456789.,"  # fmt: skip
