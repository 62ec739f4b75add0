"""The rules of the data check: title, text, severity and repair by the code of a finding.

`quality.lint` finds the rows. Clean data has no findings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lora_studio.core.dataset.faults import Fault
from lora_studio.core.dataset.spec import Repair
from lora_studio.core.messages import Template

Severity = Literal["error", "warning", "hint"]

#: The gravest first.
GRAVITY: dict[Severity, int] = {"error": 0, "warning": 1, "hint": 2}


@dataclass(frozen=True)
class LintRule:
    """The texts of findings with one code.

    `what` is a template with the fields `rows` ("1 row", "1,240 rows") and, where the finding has
    them, its own values.
    """

    title: Template
    what: Template
    severity: Severity = "warning"
    fix: Repair | None = None


RULES: dict[str, LintRule] = {
    "lint.left_out": LintRule("Skipped rows", "{rows} can't be used for training: {reason}."),
    "lint.empty_turns": LintRule(
        "Empty turns",
        "A question or an answer is empty in {rows}. The model would learn to answer nothing.",
        fix="drop_empty_turns",
    ),
    "lint.role_order": LintRule(
        "Turns out of order",
        "In {rows}, an answer comes first, a system message is in the middle, or the last turn is not an "
        "answer. Many chat templates reject this or render it incorrectly.",
        fix="drop_role_order",
    ),
    "lint.repeated_roles": LintRule(
        "Same role twice in a row",
        "The same role appears twice in a row in {rows}. Many chat templates reject this.",
        fix="merge_turns",
    ),
    "lint.encoding": LintRule(
        "Wrongly decoded characters",
        "Text was decoded with the wrong encoding in {rows}, such as “Ã©” for “é”. The model would "
        "learn to write it.",
        fix="repair_encoding",
    ),
    "lint.control_characters": LintRule(
        "Control characters",
        "There are invisible control characters in {rows}. The model would learn to write them.",
        fix="repair_encoding",
    ),
    "lint.lost_characters": LintRule(
        "Lost characters",
        "There is “\ufffd” in {rows}, which replaces a character that was lost earlier. It can't be "
        "restored.",
        fix="drop_lost_characters",
    ),
    "lint.markers": LintRule(
        "Chat template markers in the text",
        "There are control tokens of a chat template in {rows}, such as <|im_end|> or [INST]. The model "
        "would learn to write them in its answers.",
        fix="remove_markers",
    ),
    "lint.media": LintRule(
        "Images, audio, or video",
        "There are images, audio, video, or placeholders for them such as <image> in {rows}. LoRA Studio "
        "can't train on them yet, so these rows are skipped. Use them as text only if their texts make "
        "sense without what they refer to.",
        fix="remove_media",
    ),
    "lint.personal_data": LintRule(
        "Personal data",
        "There are e-mail addresses, phone, card, or account numbers, or access keys in {rows}. The model "
        "could repeat them to anyone. Masking replaces them with words such as [EMAIL].",
        fix="mask_personal_data",
    ),
    "lint.refusals": LintRule(
        "Refusals",
        "An answer refuses, or calls itself an AI model, in {rows}. Leave these rows out unless you want "
        "the model to learn that.",
        "hint",
        "drop_refusals",
    ),
    "lint.contradictions": LintRule(
        "Contradictions",
        "In {rows}, the same answer is both the preferred and the rejected one, in the same row or in "
        "another.",
        fix="drop_contradictions",
    ),
    "lint.conflicting_answers": LintRule(
        "Same question, different answers",
        "In {rows}, the question has a different answer in another row. That is fine if answers are "
        "meant to vary.",
        "hint",
    ),
    "lint.other_shape": LintRule(
        "Rows with different columns",
        "In {rows}, columns or value types differ from the rest of the source: {shape}.",
        fix="drop_minority_schema",
    ),
    "lint.outliers": LintRule(
        "Extremely long rows",
        "There are up to {longest} characters in {rows}, but half of all rows have at most {median}. The "
        "longest row determines how much memory training uses.",
        fix="drop_outliers",
    ),
    "lint.leaked": LintRule(
        "Validation rows in training",
        "The text of a validation row is also in {rows}, exactly or nearly. The eval loss would "
        "look better than it is.",
        "error",
        "drop_leaked",
    ),
    "lint.duplicates": LintRule(
        "Duplicate rows",
        "An earlier row is repeated in {rows}, except for spacing. The model would memorize them.",
        fix="drop_duplicates",
    ),
    "lint.near_duplicates": LintRule(
        "Near-duplicate rows",
        "An earlier row is nearly repeated in {rows}: at most about one word in eight differs. Validation "
        "rows are chosen so that none resembles a training row.",
        "hint",
        "drop_near_duplicates",
    ),
    "lint.one_label": LintRule(
        "Only one label",
        "The label is the same in {rows}: {label}. Training needs good and bad answers.",
        "error",
    ),
    "lint.rare_label": LintRule(
        "Unbalanced labels", "The label is “{label}” in only {rows}, and “{other}” in {others}."
    ),
    "lint.single_class": LintRule(
        "Only one label",
        "The label is the same in {rows}: “{label}”. Add rows with other labels, or map another column to "
        "“label”.",
        "error",
    ),
    "lint.class_spellings": LintRule(
        "Labels that differ only in case or spaces",
        "In {rows}, the label is spelled differently from a more frequent one: {spellings}. Each spelling "
        "would be trained as a label of its own.",
        fix="merge_labels",
    ),
    "lint.class_conflicts": LintRule(
        "Same text, different labels",
        "In {rows}, the text has a different label in another row. A text can have only one label, so the "
        "classifier can't learn both.",
    ),
    "lint.few_rows": LintRule(
        "Labels with very few rows",
        "These labels have fewer than {limit} rows each: {labels} ({rows}). Add rows, or remove these labels: "
        "a classifier needs dozens of rows to learn a label.",
    ),
    "lint.unbalanced_classes": LintRule(
        "Unbalanced labels",
        "“{common}” is the label of {most} of {total}. Rare labels: {rare} ({rows}). Add rows with rare labels, "
        "or set “Label weights” on the Train page to “Balanced”.",
        "hint",
    ),
    "lint.class_not_trained": LintRule(
        "Labels without training rows",
        "No training row has these labels: {labels} ({rows} for validation or too long). The classifier can't "
        "learn them.",
    ),
    "lint.class_not_validated": LintRule(
        "Labels without validation rows",
        "No validation row has these labels: {labels} ({rows} for training). The evaluation can't show how well "
        "they are predicted.",
        "hint",
    ),
    "lint.identical_pairs": LintRule(
        "Query and passage are the same",
        "In {rows}, the query and the passage to find are the same text, so there is nothing to learn.",
        fix="drop_identical_pairs",
    ),
    "lint.shared_passages": LintRule(
        "Passages that several queries should find",
        "In {rows}, the passage is also the one that another query should find ({passages:d} different passages). "
        "Rows with the same passage aren't negatives of each other, so a batch has fewer negatives.",
        "hint",
    ),
    "lint.cut_answers": LintRule(
        "Truncated answers",
        "An answer in {rows} is longer than {limit} tokens, so the model doesn't see its end.",
    ),
    "lint.nothing_to_train": LintRule(
        "Nothing to train",
        "The answer starts after the limit of {limit} tokens in {rows}, so there is nothing to train.",
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
    "lint.personal_data": "personal_data",
    "lint.refusals": "refusal",
    "lint.identical_pairs": "identical_pair",
}
COMPARED: tuple[str, ...] = (
    "lint.leaked", "lint.contradictions", "lint.other_shape", "lint.outliers", "lint.duplicates",
    "lint.near_duplicates",
)  # fmt: skip
