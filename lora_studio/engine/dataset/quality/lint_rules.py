"""What each code of a finding means, in words; `engine.lint` finds the rows.

Those about cut answers and rows with nothing to train take a model. Clean data has no findings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lora_studio.core.dataset.faults import Fault
from lora_studio.core.dataset.spec import Fix

Severity = Literal["error", "warning", "hint"]

#: The gravest first.
GRAVITY: dict[Severity, int] = {"error": 0, "warning": 1, "hint": 2}


@dataclass(frozen=True)
class LintRule:
    """What is said of findings with one code; `{rows}` in it is "1 row" or "1,240 rows"."""

    title: str
    what: str
    severity: Severity = "warning"
    fix: Fix | None = None


KINDS: dict[str, LintRule] = {
    "lint.left_out": LintRule(
        "Rows left out", "Nothing can be made of {rows}, which no training sees: {reason}."
    ),
    "lint.empty_turns": LintRule(
        "Empty turns",
        "In {rows} a question or an answer is empty, and the model would learn to say nothing.",
        fix="drop_empty_turns",
    ),
    "lint.role_order": LintRule(
        "Turns out of order",
        "In {rows} an answer comes first, a system message comes in the middle or no answer comes "
        "last. Many chat templates refuse that or write it wrongly.",
        fix="drop_role_order",
    ),
    "lint.repeated_roles": LintRule(
        "One role twice in a row",
        "In {rows} a role speaks twice in a row, which many chat templates refuse.",
        fix="merge_turns",
    ),
    "lint.encoding": LintRule(
        "Misread characters",
        "In {rows} characters were read in the wrong encoding, such as “Ã©” for “é”. The model "
        "would learn to write them.",
        fix="repair_encoding",
    ),
    "lint.control_characters": LintRule(
        "Control characters",
        "In {rows} there are invisible control characters. The model would learn to write them.",
        fix="repair_encoding",
    ),
    "lint.lost_characters": LintRule(
        "Lost characters",
        "In {rows} there is “\ufffd”, which stands for a character that was lost before. It cannot "
        "be brought back.",
        fix="drop_lost_characters",
    ),
    "lint.markers": LintRule(
        "Template markers in the text",
        "In {rows} there are control tokens of a chat template, such as <|im_end|> or [INST]. The "
        "model would learn to write them into its answers.",
        fix="remove_markers",
    ),
    "lint.media_marks": LintRule(
        "Marks of pictures, films or sounds",
        "In {rows} there is a mark such as <image>, for which other programs put a picture, a film or "
        "a sound. Here it is text: the model would answer to what it does not see. Take these rows out "
        "of your file unless the mark is meant as text.",
    ),
    "lint.refusals": LintRule(
        "Refusals",
        "In {rows} an answer refuses, or speaks of itself as an AI model. Leave them out unless "
        "that is to be learned.",
        "hint",
        "drop_refusals",
    ),
    "lint.contradictions": LintRule(
        "Contradictions",
        "In {rows} the same answer is both the better and the worse one, there or in another row.",
        fix="drop_contradictions",
    ),
    "lint.conflicting_answers": LintRule(
        "One question, several answers",
        "In {rows} the question is one that another row answers otherwise. That is fine where "
        "answers are meant to vary.",
        "hint",
    ),
    "lint.other_shape": LintRule(
        "Rows of another shape",
        "In {rows} there are other columns, or other kinds of values, than in the rest of the "
        "source: {reason}.",
        fix="drop_minority_schema",
    ),
    "lint.outliers": LintRule(
        "Extremely long rows",
        "In {rows} there is far more text than in the rest: {reason}. The longest row decides how "
        "much memory training takes.",
        fix="drop_outliers",
    ),
    "lint.leaked": LintRule(
        "Validation rows in training",
        "In {rows} stands what a row of the validation file has too, in the same words or nearly. "
        "The validation loss would look better than it is.",
        "error",
        "drop_leaked",
    ),
    "lint.duplicates": LintRule(
        "Equal rows",
        "There are {rows} that equal an earlier one but for spacing. The model would learn them by "
        "heart.",
        fix="drop_duplicates",
    ),
    "lint.near_duplicates": LintRule(
        "Nearly equal rows",
        "There are {rows} that nearly equal an earlier one: about one word in eight is another at "
        "most. Validation rows are chosen so that none resembles a training row.",
        "hint",
        "drop_near_duplicates",
    ),
    "lint.one_label": LintRule(
        "Only one label",
        "The label of all {rows} is {reason}. Nothing can be learned without answers of both kinds.",
        "error",
    ),
    "lint.rare_label": LintRule(
        "Unbalanced labels", "There are only {rows} whose label is {reason}."
    ),
    "lint.cut_answers": LintRule(
        "Answers cut off",
        "In {rows} an answer does not end within {reason} tokens, so the model does not see it end.",
    ),
    "lint.nothing_to_train": LintRule(
        "Nothing to train",
        "In {rows} there is nothing to train: {reason}.",
    ),
}

#: Faults of single rows and repairs of the whole dataset, by the code they are reported under.
FAULTS: dict[str, Fault] = {
    "lint.empty_turns": "empty_turn",
    "lint.role_order": "role_order",
    "lint.repeated_roles": "role_twice",
    "lint.encoding": "mojibake",
    "lint.control_characters": "control_characters",
    "lint.lost_characters": "lost_characters",
    "lint.markers": "markers",
    "lint.media_marks": "media_marks",
    "lint.refusals": "refusal",
}
COMPARED: tuple[str, ...] = (
    "lint.leaked", "lint.contradictions", "lint.other_shape", "lint.outliers", "lint.duplicates",
    "lint.near_duplicates",
)  # fmt: skip
