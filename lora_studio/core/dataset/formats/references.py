"""Reference answers next to generated ones: people wrote or checked the former, so they are trained."""

from __future__ import annotations

import re

from lora_studio.core.dataset.formats.columns import Columns, DataColumn

#: Names that say that an answer is right, and those that only say that it is for comparison.
_CHECKED = re.compile(
    r"gold(en|label|answers?|responses?|outputs?|standard)?|(expected|correct|ideal|human|expert)(answers?|responses?|"
    r"outputs?|completions?)|expected|groundtruths?"
)
_COMPARED = re.compile(
    r"reference(s|answers?|responses?|outputs?)?|targets?|target(answers?|outputs?|responses?)|truth"
)
_GENERATED = re.compile(
    r"responses?|predictions?|predicted\w*|generat(ed|ion)\w*|model\w*|outputs?|completions?|llm\w*|candidates?|hypothes[ie]s|"
    r"(bot|gpt\w*|chatgpt|assistant|ai)(answers?|responses?|outputs?|reply)?"
)


def prefer_references(columns: Columns, answers: list[DataColumn]) -> list[DataColumn]:
    """Return the candidates for the answer with reference answers before generated ones.

    A reference of single words next to whole sentences, as a final result next to its derivation, stays
    a rival: which of the two is meant is the user's choice. So does `reference` next to `answer`.
    """
    texts = [item for item in columns if item.kind in ("text", "texts") and item.filled]
    checked = [item for item in texts if _CHECKED.fullmatch(item.key)]
    references = checked + [item for item in texts if _COMPARED.fullmatch(item.key)]
    generated = [
        item for item in texts if _GENERATED.fullmatch(item.key) and item not in references
    ]
    if not references:
        return answers
    if not answers:
        return references + generated if generated else answers
    first = answers[0]
    rest = [item for item in answers if item not in references]
    is_neutral = first.key in ("answer", "answers")
    better = references if first in generated else checked if is_neutral else []
    better = [item for item in better if not _is_result_of(item, first)]
    if "solution" in first.key or not better:
        return answers + [item for item in references if item not in answers]
    return [*better, *rest, *(item for item in references if item not in better)]


def _is_result_of(reference: DataColumn, answer: DataColumn) -> bool:
    """Return whether the references are single words, and the answers sentences."""
    is_short = reference.kind == "text" and 2 * reference.phrased <= reference.filled
    return is_short and answer.kind == "text" and 2 * answer.phrased > answer.filled
