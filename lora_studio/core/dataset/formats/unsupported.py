"""Recognize data that cannot be trained on by its columns, and say why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lora_studio.core.dataset.formats import columns as formats_columns
from lora_studio.core.dataset.formats.column_names import CLASSES
from lora_studio.core.dataset.formats.columns import (
    Columns,
    DataColumn,
    find_column,
    find_columns,
    profile_columns,
)
from lora_studio.core.dataset.formats.paired_columns import find_column_pairs
from lora_studio.core.dataset.formats.row_shapes import refuse_shape
from lora_studio.core.dataset.formats.turns import detect_style
from lora_studio.core.dataset.samples import dataset_error, dataset_warning, quote_names
from lora_studio.core.dataset.spec import Repair
from lora_studio.core.messages import Text, counted, text
from lora_studio.core.problems import Fix, Problem

Rows = Sequence[Mapping[str, Any]]

_STEPS = ("completions", "steps", "stepwise", "solutions", "trajectory")
_STEP_LABELS = ("labels", "stepwiselabels", "ratings", "steplabels", "rewards")
_TOKENS = ("inputids", "tokenids", "tokens", "attentionmask", "inputidschosen", "promptinputids")
_COLUMNS_SHOWN = 12


def find_unsupported(rows: Rows, columns: Columns) -> Problem | None:
    """Return why these rows are refused, even though a column could be read as an answer."""
    return refuse_shape(columns) or _find_stepwise(rows, columns)


def explain_mismatch(rows: Rows, columns: Columns) -> Problem:
    """Return why rows that no format fits cannot be trained on."""
    for explain in (*_BEFORE_CLASSES, _find_tokens, _find_questions_alone):
        if problem := explain(rows, columns):
            return problem
    filled = tuple(text("{name}", name=item.name) for item in columns if item.filled)
    return dataset_error(
        "unknown_format",
        "We couldn't tell which columns hold the prompt and the answer. The columns are: {columns}."
        if filled
        else "We couldn't tell which columns hold the prompt and the answer. All columns are empty.",
        "Choose a format and map the columns, or rename them: instruction and output, messages, "
        "prompt and completion, question and answer, text, text and label, or prompt, chosen, and rejected.",
        columns=filled[:_COLUMNS_SHOWN],
    )


def has_other_purpose(rows: Rows, columns: Columns) -> bool:
    """Return whether texts with labels are data of another kind, such as pairs to compare."""
    return any(explain(rows, columns) for explain in _BEFORE_CLASSES)


def describe_empty() -> Problem:
    """Return the problem of a source without readable rows."""
    return dataset_error("no_rows", "The dataset has no rows.", "Choose data with rows.")


def describe_media(count: int, rows: Rows, fixes: Sequence[Repair], *, is_all: bool) -> Problem:
    """Return the problem of rows with media: a warning, or an error if no other rows can be used."""
    columns = [item for item in profile_columns(rows) if item.kinds["media"]]
    named = (
        counted(
            count,
            "{n} row of {rows} checked contains images, audio, or video ({columns}). LoRA Studio can't "
            "train on them yet.",
            "{n} rows of {rows} checked contain images, audio, or video ({columns}). LoRA Studio can't "
            "train on them yet.",
            rows=len(rows),
            columns=_format_names(columns),
        )
        if columns
        else counted(
            count,
            "{n} row of {rows} checked contains images, audio, or video, or refers to one with a "
            "placeholder such as <image>. LoRA Studio can't train on them yet.",
            "{n} rows of {rows} checked contain images, audio, or video, or refer to them with "
            "placeholders such as <image>. LoRA Studio can't train on them yet.",
            rows=len(rows),
        )
    )
    remedy = text(
        "Choose a text dataset. If the texts make sense without what they refer to, turn on the repair "
        "“Use rows with images, audio, or video as text only” (remove_media)."
        if is_all
        else "These rows are skipped. If their texts make sense without what they refer to, turn on the "
        "repair “Use rows with images, audio, or video as text only” (remove_media)."
    )
    build = dataset_error if is_all else dataset_warning
    problem = build("media" if is_all else "media_rows", named, remedy)
    fix = Fix(
        label=text("Use as text only"),
        step="dataset",
        field="fixes",
        value=[*fixes, "remove_media"],
    )
    return problem.model_copy(update={"fix": fix})


def _find_media(rows: Rows, columns: Columns) -> Problem | None:
    media = [item for item in columns if 2 * item.kinds["media"] > len(rows)]
    if not media:
        return None
    return dataset_error(
        "media",
        "The rows consist of images, audio, or video ({columns}). LoRA Studio can't train on them yet.",
        "Choose a text dataset.",
        columns=_format_names(media),
    )


def _find_stepwise(rows: Rows, columns: Columns) -> Problem | None:
    steps = find_column(columns, _STEPS, "texts", "list", "turns")
    labels = find_column(columns, _STEP_LABELS, "flags", "numbers")
    if steps is None:
        return None
    inner = _compute_share(rows, steps.name, _is_labeled)
    if inner <= 0.5 and (
        labels is None or _compute_parallel_share(rows, steps.name, labels.name) <= 0.5
    ):
        return None
    return dataset_error(
        "stepwise",
        "Each step of an answer has its own label (stepwise supervision, {columns}). This trains a "
        "reward model, which LoRA Studio doesn't support.",
        "Choose data with one answer per prompt, or with a chosen and a rejected answer.",
        columns=_format_names([steps]),
    )


def _find_single_turns(rows: Rows, columns: Columns) -> Problem | None:
    if not formats_columns.is_single_turn(columns):
        return None
    return dataset_error(
        "single_turns",
        "Each row is a single turn with its role. No row has both a question and its answer.",
        'Put all turns of a conversation in one row: {"messages": [{"role": …, "content": …}, …]}.',
    )


def _find_languages(rows: Rows, columns: Columns) -> Problem | None:
    """Return the problem of one text in several languages when no column is marked as the answer."""
    column = find_column(columns, ("translation", "translations"), "object")
    one = next((row[column.name] for row in rows if column and row.get(column.name)), None)
    if column is None or not isinstance(one, dict) or len(one) < 2:
        return None
    question, answer = [f"{column.name}.{name}" for name in list(one)[:2]]
    return dataset_error(
        "languages",
        "Each row is one text in several languages ({columns}). We couldn't tell which is the answer.",
        "Choose the format “Question and answer”. Map question to {question} and answer to {answer}, or "
        "the other way round.",
        columns=_format_names([column]),
        question=question,
        answer=answer,
    )


def find_unclear_pairs(rows: Rows, columns: Columns) -> Problem | None:
    """Return the problem of two answers without a column that names the better one."""
    questions = formats_columns.find_questions(columns) or formats_columns.find_conversations(
        columns
    )
    if not questions or not (couple := next(find_column_pairs(columns), None)):
        return None
    (_, one), (_, other) = couple
    return dataset_error(
        "unclear_pair",
        "Each prompt has two answers ({columns}). We couldn't tell which one is preferred.",
        "Choose the format “Preference”. Map chosen to {first} and rejected to {second}. Map better to "
        "a column that is 1 or true where {first} is preferred, or to two score columns in braces with "
        "> between them.",
        columns=_format_names([one, other]),
        first=one.name,
        second=other.name,
    )


def _find_embeddings(rows: Rows, columns: Columns) -> Problem | None:
    if not formats_columns.is_compared(columns):
        return None
    return dataset_error(
        "embeddings",
        "The rows contain text pairs with a score or a label, or vectors, which LoRA Studio doesn't train on.",
        "If both texts of each row belong together, choose the format “Pairs for search” to train embeddings. "
        "To learn the label of a pair, choose the format “Texts with labels”, and map “text” to a template with "
        "both columns.",
    )


def _find_scored_texts(rows: Rows, columns: Columns) -> Problem | None:
    scores = [item for item in find_columns(columns, CLASSES) if item.fractions]
    texts = formats_columns.find_free_texts(columns)
    if not scores or not texts or formats_columns.find_questions(columns):
        return None
    return dataset_error(
        "scored_texts",
        "The texts have scores ({columns}), not labels. LoRA Studio doesn't train on scores.",
        "Write a label for each text, such as one for scores above a limit. To train on the texts alone, choose the "
        "format “Plain text”.",
        columns=_format_names(scores),
    )


def _find_tokens(rows: Rows, columns: Columns) -> Problem | None:
    tokens = [item for item in find_columns(columns, _TOKENS) if item.kind in ("numbers", "number")]
    if not tokens or (len(tokens) == 1 and tokens[0].kind == "number"):
        return None
    return dataset_error(
        "tokenized",
        "The rows are already tokenized ({columns}), possibly with a different tokenizer than your "
        "model's.",
        "Choose the original data as text.",
        columns=_format_names(tokens),
    )


def _find_questions_in_turns(rows: Rows, columns: Columns) -> Problem | None:
    turns = find_column(columns, ("turns",), "texts")
    return None if turns is None else _describe_prompts_only([turns])


def _find_questions_alone(rows: Rows, columns: Columns) -> Problem | None:
    questions = formats_columns.find_questions(columns) or formats_columns.find_conversations(
        columns
    )
    return _describe_prompts_only(questions) if questions else None


def _describe_prompts_only(questions: Sequence[DataColumn]) -> Problem:
    return dataset_error(
        "prompts_only",
        "There are prompts ({columns}) but no answers, so there is nothing to learn.",
        "Add a column with the answers. If they are in a column with another name, choose a format and "
        "map that column to the answer. To let the model answer and learn from rewards, choose the format "
        "“Prompts for rewards”.",
        columns=_format_names(questions[:1]),
    )


_BEFORE_CLASSES = (
    _find_media, _find_questions_in_turns, _find_single_turns, _find_languages, find_unclear_pairs, _find_embeddings, _find_scored_texts,
)  # fmt: skip


def _compute_share(rows: Rows, name: str, holds: Callable[[Any], bool]) -> float:
    return sum(holds(row.get(name)) for row in rows) / max(1, len(rows))


def _is_labeled(value: Any) -> bool:
    """Return whether a value is a list of steps, each an object with its own rating."""
    return (
        isinstance(value, list)
        and bool(value)
        and detect_style(value) is None
        and all(
            isinstance(item, dict) and {"label", "rating", "correct"} & set(item) for item in value
        )
    )


def _compute_parallel_share(rows: Rows, steps: str, labels: str) -> float:
    def alike(row: Mapping[str, Any]) -> bool:
        one, other = row.get(steps), row.get(labels)
        return isinstance(one, list) and isinstance(other, list) and len(one) == len(other) > 0

    return sum(map(alike, rows)) / max(1, len(rows))


def _format_names(columns: Sequence[DataColumn]) -> Text:
    names = quote_names([column.name for column in columns])
    return counted(len(columns), "column {names}", "columns {names}", names=names)
